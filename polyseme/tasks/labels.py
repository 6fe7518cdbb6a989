"""What is known of labels before anything is learned: counts, the majority baseline, slips, a dev part."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from difflib import get_close_matches
from typing import TypeVar

from polyseme.errors import InputError, OptionError
from polyseme.tasks.conll import Tagged
from polyseme.tasks.data import Place, Text

Item = TypeVar("Item")
SLIP_RATIO = 20  # a label that is this much rarer than one it looks like is taken for a slip
LIKENESS = 0.8  # difflib's ratio


def label_counts(texts: Iterable[Text]) -> dict[str, int]:
    """How many texts have each label, the most frequent first; equal counts by name."""
    counts = Counter(label for text in texts for label in text.labels)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def tag_counts(sentences: Iterable[Tagged]) -> dict[str, int]:
    """How many words have each tag, the most frequent first; equal counts by name."""
    counts = Counter(tag for sentence in sentences for tag in sentence.tags)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def majority_accuracy(train: Sequence[Text], measured: Sequence[Text]) -> float:
    """The share of `measured` that is right when every text gets the most frequent label set of `train`."""
    most, _ = max(Counter(text.labels for text in train).items(), key=lambda item: (item[1], item[0]))
    return sum(text.labels == most for text in measured) / len(measured)


def label_set(texts: Sequence[Text]) -> tuple[str, ...]:
    """The labels in a fixed order. Raises `InputError` where there is only one, so that nothing can be learned."""
    labels = sorted({label for text in texts for label in text.labels})
    if len(labels) < 2:
        only = repr(labels[0]) if labels else "none"
        raise InputError(
            f"{texts[0].place}: all {len(texts):,} texts from here on have one label ({only}); give texts of at least "
            "two, or another --label-column"
        )
    return tuple(labels)


def check_known(texts: Iterable[Text], labels: Sequence[str]) -> None:
    """Raises `InputError` with the place of the first label that training did not have."""
    known = set(labels)
    for text in texts:
        for label in text.labels:
            if label not in known:
                near = get_close_matches(label, labels, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise InputError(
                    f"{text.place}: the label {label!r} was not in the training data, whose labels are "
                    f"{few(labels)}{hint}"
                )


def likely_slips(places: Sequence[tuple[str, Place]]) -> list[str]:
    """A sentence for every label that comes hardly ever and is spelled nearly as a frequent one."""
    counts = Counter(label for label, _ in places)
    first: dict[str, Place] = {}
    for label, place in places:
        first.setdefault(label, place)
    found = []
    for label, count in sorted(counts.items()):
        common = [other for other in counts if counts[other] >= SLIP_RATIO * count]
        same = [other for other in counts if other != label and other.casefold() == label.casefold()]
        near = [other for other in same if counts[other] > count] or get_close_matches(label, common, 1, LIKENESS)
        if near and not (label.isdigit() or near[0].isdigit()):
            times = "once" if count == 1 else f"{count} times"
            found.append(
                f"{first[label]}: the label {label!r} comes {times}, {near[0]!r} {counts[near[0]]:,} times; a slip?"
            )
    return found


def split_off(
    items: Sequence[Item],
    share: float,
    seed: int,
    *,
    stratum: Callable[[Item], Hashable],
    content: Callable[[Item], Hashable],
) -> tuple[list[Item], list[Item]]:
    """(train, dev): about `share` of every stratum is dev, in the old order; the same content stays on one side.

    A stratum of one item stays in train, so that train knows every label. Raises `OptionError` for a share outside
    0..1, `InputError` where nothing would be left on one side.
    """
    if not 0 < share < 1:
        raise OptionError(f"the share of the dev set must lie between 0 and 1, was: {share}")
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        groups[content(item)].append(place)
    strata: dict[Hashable, list[list[int]]] = defaultdict(list)
    for group in groups.values():
        strata[stratum(items[group[0]])].append(group)
    rng = random.Random(seed)
    dev: set[int] = set()
    owed = 0.0  # what rounding has left out, so that many small strata still give their share together
    for chosen in strata.values():
        owed += share * len(chosen)
        take = min(round(owed), len(chosen) - 1)
        owed -= take
        for group in rng.sample(chosen, max(take, 0)):
            dev.update(group)
    parts = [item for at, item in enumerate(items) if at not in dev], [items[at] for at in sorted(dev)]
    if not all(parts):
        raise InputError(f"{len(items):,} examples are too few to split a dev set off; give more, or a dev set")
    return parts


def few(names: Sequence[str], most: int = 8) -> str:
    """The first names, for a message."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
