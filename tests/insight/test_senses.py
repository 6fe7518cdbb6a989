"""Are same-sense contexts closer, and which go together? Against arithmetic by hand and independent formulas."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from polyseme.insight.neighbours import DoubleArray, cosines, nearest, unit
from polyseme.insight.senses import (
    Separation,
    average_linkage,
    by_size,
    cut,
    differences,
    group,
    separation,
    silhouettes,
    together,
)

# Five points on a line: 0 1 5 6 20.
LINE = np.asarray([0.0, 1.0, 5.0, 6.0, 20.0])
DISTANCES = np.abs(LINE[:, None] - LINE[None, :])


def random_distances(n: int, seed: int) -> DoubleArray:
    points = np.random.default_rng(seed).standard_normal((n, 4))
    return np.asarray(np.linalg.norm(points[:, None] - points[None, :], axis=2))


# --- cosines


def test_cosines_and_neighbours_by_hand() -> None:
    vectors = np.asarray([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0], [-3.0, -4.0]], dtype=np.float32)
    assert cosines(vectors) == pytest.approx(
        np.asarray([[1, 0.96, 0, -1], [0.96, 1, 0, -0.96], [0, 0, 0, 0], [-1, -0.96, 0, 1]]), abs=1e-12
    )
    assert unit(vectors)[0].tolist() == pytest.approx([0.6, 0.8])
    without = np.asarray([True, False, False, False])
    found = nearest(cosines(vectors)[0], 2, without)
    assert [(each.place, round(each.cosine, 2)) for each in found] == [(1, 0.96), (2, 0.0)]
    assert nearest(np.asarray([0.5, 0.9, 0.5]), 9)[1].place == 0  # ties in order, no more than there are


# --- known senses


def test_separation_by_hand() -> None:
    # Senses a a b: one same-sense pair (0.8), two others (0.5 and 0.9).
    similarities = np.asarray([[1.0, 0.8, 0.5], [0.8, 1.0, 0.9], [0.5, 0.9, 1.0]])
    found = separation(similarities, ["a", "a", "b"])
    assert found.same == pytest.approx(0.8)
    assert found.different == pytest.approx(0.7)
    assert found.closer
    # The triples are (0; 1 before 2) right and (1; 0 before 2) wrong; context 2 has no other of its sense.
    assert (found.ordered, found.triples, found.ordered_share) == (1.0, 2, 0.5)
    # Nearest: of 0 it is 1 (right), of 1 it is 2 (wrong), of 2 it is 1 (wrong); by chance 1/2, 1/2 and 0.
    assert (found.alike, found.contexts) == (1.0, 3)
    assert found.chance == pytest.approx(1 / 3)


def test_vectors_without_context_are_at_chance() -> None:
    found = separation(np.ones((8, 8)), [0, 0, 0, 0, 1, 1, 1, 1])
    assert (found.ordered_share, found.closer) == (0.5, False)
    assert found.alike_share == pytest.approx(3 / 7) == found.chance


def test_separation_against_a_loop_over_all_pairs_and_triples() -> None:
    rng = np.random.default_rng(3)
    similarities = cosines(rng.standard_normal((9, 3)))
    senses = [0, 1, 0, 2, 1, 0, 2, 2, 1]
    found = separation(similarities, senses)
    same = [similarities[i, j] for i, j in combinations(range(9), 2) if senses[i] == senses[j]]
    other = [similarities[i, j] for i, j in combinations(range(9), 2) if senses[i] != senses[j]]
    assert found.same == pytest.approx(np.mean(same))
    assert found.different == pytest.approx(np.mean(other))
    triples = [
        similarities[i, j] > similarities[i, k]
        for i in range(9)
        for j in range(9)
        for k in range(9)
        if i != j and senses[i] == senses[j] and senses[i] != senses[k]
    ]
    assert (found.triples, found.ordered) == (len(triples), sum(triples))


def test_words_together_are_sums() -> None:
    one = separation(cosines(np.eye(4) + 0.1), [0, 0, 1, 1])
    two = separation(np.ones((2, 2)), [0, 1])
    both = together([one, two])
    assert both.different_pairs == one.different_pairs + 1
    assert both.triples == one.triples
    nothing = together([])
    assert nothing == Separation()
    assert (nothing.same, nothing.ordered_share, nothing.alike_share, nothing.closer) == (None, None, None, False)
    assert separation(np.ones((1, 1)), ["a"]) == Separation()


# --- groups


def test_average_linkage_by_hand() -> None:
    # 0-1 and 5-6 at distance 1; then both pairs, (5 + 6 + 4 + 5) / 4 = 5 apart; then 20.
    assert average_linkage(DISTANCES) == [(0, 1), (2, 3), (0, 2), (0, 4)]
    merges = average_linkage(DISTANCES)
    assert cut(merges, 5, 3).tolist() == [0, 0, 1, 1, 2]
    assert cut(merges, 5, 2).tolist() == [0, 0, 0, 0, 1]
    assert cut(merges, 5, 5).tolist() == [0, 1, 2, 3, 4]
    assert cut(merges, 5, 1).tolist() == [0] * 5


@pytest.mark.parametrize("seed", range(5))
def test_average_linkage_merges_the_two_clusters_whose_members_are_nearest_in_the_mean(seed: int) -> None:
    distances = random_distances(14, seed)
    clusters = [[place] for place in range(14)]
    for a, b in average_linkage(distances):
        mean = {
            (i, j): distances[np.ix_(clusters[i], clusters[j])].mean() for i, j in combinations(range(len(clusters)), 2)
        }
        i, j = min(mean, key=lambda pair: mean[pair])
        assert {min(clusters[i]), min(clusters[j])} == {a, b}
        clusters[i] = clusters[i] + clusters.pop(j)


def test_silhouettes_by_hand() -> None:
    # Groups {0, 1}, {5, 6}, {20}: of 0: own 1, next (5 + 6) / 2 = 5.5, so 4.5 / 5.5; alone: 0.
    found = silhouettes(DISTANCES, np.asarray([0, 0, 1, 1, 2]))
    assert found == pytest.approx([4.5 / 5.5, 3.5 / 4.5, 3.5 / 4.5, 4.5 / 5.5, 0.0])


def test_silhouettes_against_a_loop() -> None:
    distances = random_distances(20, 9)
    labels = np.random.default_rng(9).integers(0, 3, 20)
    for place, found in enumerate(silhouettes(distances, labels)):
        mates = [other for other in range(20) if other != place and labels[other] == labels[place]]
        own = np.mean(distances[place, mates])
        others = min(distances[place, labels == each].mean() for each in range(3) if each != labels[place])
        assert found == pytest.approx((others - own) / max(own, others))


def test_two_senses_that_are_planted_are_found_and_the_larger_comes_first() -> None:
    rng = np.random.default_rng(0)
    shared, first, second = rng.standard_normal((3, 64))
    senses = [1] * 10 + [0] * 20
    vectors = np.stack([3 * shared + (first if sense else second) for sense in senses])
    vectors += 0.3 * rng.standard_normal(vectors.shape)
    found = group(1.0 - cosines(differences(vectors)))
    assert found.n == 2
    assert found.labels.tolist() == [1] * 10 + [0] * 20
    assert found.silhouette is not None
    assert found.silhouette > 0.7
    # The order of the contexts changes nothing but the numbering of equal groups.
    order = rng.permutation(30)
    assert group(1.0 - cosines(differences(vectors[order]))).labels.tolist() == found.labels[order].tolist()


def test_one_sense_is_one_group() -> None:
    vectors = np.random.default_rng(1).standard_normal((60, 200)) + 2.0
    found = group(1.0 - cosines(differences(vectors)))
    assert (found.n, set(found.labels.tolist())) == (1, {0})
    assert found.silhouette is not None
    assert found.silhouette < 0.25


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_contexts_are_one_group(n: int) -> None:
    found = group(1.0 - cosines(differences(np.eye(3)[:n])))
    assert (found.labels.tolist(), found.silhouette, found.n) == ([0] * n, None, min(n, 1))


def test_contexts_that_are_all_alike_are_one_group() -> None:
    assert group(1.0 - cosines(differences(np.ones((5, 4))))).n == 1


def test_groups_are_numbered_by_size_and_then_by_their_first_context() -> None:
    assert by_size(np.asarray([0, 1, 1, 2, 3, 3])).tolist() == [2, 0, 0, 3, 1, 1]
