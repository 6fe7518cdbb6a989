"""Which sentences are computed together: a matter of lengths and options only, so a resumed run plans the same."""

from __future__ import annotations

from collections.abc import Sequence


def plan(
    lengths: Sequence[int], max_tokens: int, max_rows: int | None = None, *, padded: bool = False
) -> list[list[int]]:
    """Places of the sentences of each batch, longest sentences first.

    A batch holds at most `max_tokens` tokens (counted with padding where `padded`) and `max_rows` sentences, but always
    at least one sentence. Equal lengths stay in input order.
    """
    batches: list[list[int]] = []
    size = 0
    for place in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        cost = lengths[batches[-1][0]] if padded and batches else lengths[place]
        full = not batches or size + cost > max_tokens or (max_rows is not None and len(batches[-1]) >= max_rows)
        if full:
            batches.append([])
            size, cost = 0, lengths[place]
        batches[-1].append(place)
        size += cost
    return batches


def rows_in_order(n_sentences: int, batch_size: int) -> list[list[int]]:
    """Batches of `batch_size` sentences in input order, for carried state: row i of each goes on from row i before."""
    return [list(range(at, min(at + batch_size, n_sentences))) for at in range(0, n_sentences, batch_size)]
