"""The tagger: its CRF against brute force over all sequences, its network against padding, and what it learns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from tasks_data import embedder_of_words

from polyseme.errors import InputError
from polyseme.tasks.conll import Tagged, TaggedData
from polyseme.tasks.features import Features, Inputs
from polyseme.tasks.layers import TokenInput
from polyseme.tasks.loop import LoopConfig
from polyseme.tasks.metrics import span_f1, tag_scores
from polyseme.tasks.spans import first_violation
from polyseme.tasks.tag import TagConfig, Tagger, TagNetwork, allowed_transitions, conditional_random_field, fit
from polyseme.text.tokenize import tokenizer_for

TAGS = ("B-X", "B-Y", "I-X", "I-Y", "O")


def sequence_score(crf: torch.nn.Module, scores: torch.Tensor, tags: Sequence[int]) -> torch.Tensor:
    """The score of one sequence (Lample et al. 2016, 2.2), added up term by term. *Shape:* (T, K)."""
    total = crf.start_transitions[tags[0]] + crf.end_transitions[tags[-1]]
    total = total + sum(scores[at, tag] for at, tag in enumerate(tags))
    return total + sum(crf.transitions[a, b] for a, b in itertools.pairwise(tags))


def test_the_crf_has_the_likelihood_and_the_gradient_of_brute_force() -> None:
    torch.manual_seed(1)
    crf = conditional_random_field(3).double()
    scores = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    tags, lengths = torch.tensor([[0, 2, 1, 1], [1, 0, 0, 0]]), [4, 2]
    mask = torch.arange(4)[None] < torch.tensor(lengths)[:, None]
    found = crf(scores, tags, mask=mask, reduction="none")
    expected = []
    for row, n in enumerate(lengths):
        every = [sequence_score(crf, scores[row], some) for some in itertools.product(range(3), repeat=n)]
        expected.append(
            sequence_score(crf, scores[row], tags[row, :n].tolist()) - torch.logsumexp(torch.stack(every), 0)
        )
    given = [scores, *crf.parameters()]
    torch.testing.assert_close(found, torch.stack(expected))
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), given), torch.autograd.grad(torch.stack(expected).sum(), given)
    )


def network(n_tags: int = 5, elmo_output: bool = False) -> TagNetwork:
    torch.manual_seed(2)
    scales = [torch.ones(3), torch.full((1,), 2.0)]
    config = TagConfig(cells=(4, 3), elmo_output=elmo_output)
    again = TokenInput([5, 2], scales, 0.5, chosen=[0]) if elmo_output else None
    found = TagNetwork(TokenInput([5, 2], scales, 0.5), again, allowed_transitions(TAGS[:n_tags]), config).eval()
    for parameter in found.crf.parameters():
        torch.nn.init.normal_(parameter)
    return found


def inputs(lengths: Sequence[int], width: int) -> Inputs:
    """Random vectors, the same for the same sentence at any padding; garbage where there is no word."""
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    made = [torch.full((len(lengths), width, *shape), 7.0) for shape in ((3, 5), (1, 2))]
    for row, n in enumerate(lengths):
        generator = torch.Generator().manual_seed(row)
        for each in made:
            each[row, :n] = torch.randn(n, *each.shape[2:], generator=generator)
    return Inputs(tuple(made), mask)


def test_decoding_finds_the_best_sequence_that_the_scheme_allows() -> None:
    tagger, given = network(), inputs([4, 1, 3], 4)
    with torch.no_grad():
        scores = tagger.scores(given)
        for row, found in enumerate(tagger.decode(given)):
            valid = [
                some
                for some in itertools.product(range(5), repeat=len(found))
                if first_violation([TAGS[tag] for tag in some], "bio") is None
            ]
            best = max(valid, key=lambda some: float(sequence_score(tagger.crf, scores[row], some)))
            assert tuple(found) == best


@pytest.mark.parametrize("elmo_output", [False, True])
def test_a_sentence_has_the_same_scores_alone_and_in_any_padding(elmo_output: bool) -> None:
    tagger = network(elmo_output=elmo_output)
    with torch.no_grad():
        together = tagger.scores(inputs([2, 5, 3], 9))
        alone = tagger.scores(inputs([2], 2))
    torch.testing.assert_close(together[0, :2], alone[0], rtol=0, atol=1e-6)


def tagged(rows: Sequence[tuple[str, str]]) -> TaggedData:
    sentences = [
        Tagged(tuple(w.split()), tuple(t.split()), "a.conll", tuple(range(1, 99))[: len(w.split())]) for w, t in rows
    ]
    return TaggedData(tuple(sentences), "bio")


DATA = tagged(
    [("Ann met Bob", "B-P O B-P"), ("Bob left New York", "B-P O B-L I-L"), ("New York met Ann", "B-L I-L O B-P")] * 4
)


def test_a_small_set_is_learned_by_heart_and_the_same_seed_gives_the_same_tagger() -> None:
    features = Features([embedder_of_words()])
    config, loop = TagConfig(cells=(16,), input_dropout=0, dropout=0), LoopConfig(1e-2, batch_size=4, max_epochs=25)
    first, reports = fit(DATA, DATA, features, config, loop, seeds=(3, 4))
    assert max(report.best.dev for report in reports) == 1.0
    assert [report.seed for report in reports] == [3, 4]
    second, again = fit(DATA, DATA, features, config, loop, seeds=(3,))
    assert again[0] == reports[0]
    assert first.evaluate(DATA.sentences).f1 == 1.0
    (found,) = second.tag_text("Bob met New York ", tokenizer_for("whitespace"))
    assert [(each.label, each.start, each.end, each.text) for each in found.entities] == [
        ("P", 0, 3, "Bob"),
        ("L", 8, 16, "New York"),
    ]


def test_an_unknown_tag_at_test_is_an_error_with_its_line() -> None:
    tagger = Tagger(network(), TagConfig(), TAGS, Features([embedder_of_words()]))
    with pytest.raises(InputError, match=r"a\.conll, line 2: the tag 'B-Z' was not in the training data"):
        tagger.evaluate(tagged([("Ann met", "O B-Z")]).sentences)
    with pytest.raises(InputError, match=r"a\.conll, line 1: all words .* one tag \('O'\)"):
        fit(tagged([("Ann met", "O O")]), DATA, Features([embedder_of_words()]))


def test_span_scores_are_those_of_arithmetic() -> None:
    truth = [("B-X", "I-X", "O", "B-Y"), ("O", "B-X")]
    found = [("B-X", "O", "O", "B-Y"), ("B-X", "B-X")]  # right: Y, and X of the second sentence
    scores = tag_scores(truth, found, spans=True)
    assert (scores.precision, scores.recall) == (2 / 4, 2 / 3)
    assert scores.f1 == span_f1(truth, found) == pytest.approx(4 / 7)
    assert scores.accuracy == 4 / 6
    assert {kind: each.support for kind, each in scores.spans.items()} == {"X": 2, "Y": 1}
