"""Where every sentence starts: one state of the model, so that a sentence's vectors depend on the sentence alone.

The published systems start a sentence with whatever the sentence before left behind, so the same text gets other
vectors each time. Here the forward direction starts from zero, reads (<S>, </S>) again and again and keeps the state
AFTER </S>, where a sentence would begin; the backward direction reads (</S>, <S>) and keeps the state AFTER <S>. On
published weights the state stops moving after about 60 passes. One row, the model's own precision, the plain layers of
`nn/lstm.py`.

A model that `polyseme train` makes stores another one: the mean of the states in which sentences of its text begin. It
was trained with carried states, and nothing but boundaries is no text that it ever read: `en-small` drifts on it for
thousands of passes, into a corner from which it predicts sentences worse than from zeros (docs/log.md).

Legend: `L` layers, `P` projection width, `H` cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polyseme.bilm import BiLM
from polyseme.errors import NotConvergedError, OptionError
from polyseme.formats.model import Model
from polyseme.nn.lstm import LSTMStack, LSTMState

BLOCK = 32  # passages read together


@torch.no_grad()
def settled_states(
    model: Model, tolerance: float = 1e-6, max_passes: int = 1000, *, must_converge: bool = True
) -> tuple[tuple[LSTMState, LSTMState], float]:
    """The fixed points of the forward and the backward direction, and how far the last pass still moved them.

    Some models that read little text drift for tens of thousands of passes. Where a state will be stored beside the
    weights, any one serves, and `must_converge=False` gives that after the last pass.

    *Shape:* two states, hidden (L, 1, P) and cell (L, 1, H), on the model's device. Raises `NotConvergedError` where
    `max_passes` passes are not enough, `OptionError` for a Transformer, which has no state.
    """
    bilm = model.bilm
    if bilm.config.layers != "lstm":
        raise OptionError('a Transformer biLM has no state, so there is none to settle; leave out state="settled"')
    training = bilm.training
    bilm.eval()  # dropout would never settle
    try:
        boundaries = encode_boundaries(model)
        forward = _fixed_point(bilm, "forward", boundaries, tolerance, max_passes, must_converge)
        backward = _fixed_point(bilm, "backward", boundaries.flip(1), tolerance, max_passes, must_converge)
    finally:
        bilm.train(training)
    return (forward[0], backward[0]), max(forward[1], backward[1])


@torch.no_grad()
def mean_states(model: Model, passages: Sequence[Sequence[Sequence[str]]]) -> tuple[LSTMState, LSTMState]:
    """The mean state behind passages, lists of sentences that follow each other, each read from zero as in training.

    *Shape:* two states, hidden (L, 1, P) and cell (L, 1, H), on the model's device. Raises `OptionError` for a
    Transformer, and without any passage.
    """
    bilm, (start, end) = model.bilm, model.boundaries
    if not isinstance(bilm.forward_layers, LSTMStack) or not isinstance(bilm.backward_layers, LSTMStack):
        raise OptionError("a Transformer biLM has no state")
    if not passages:
        raise OptionError("the mean of no passage was asked for; give some text")
    training = bilm.training
    bilm.eval()
    try:
        forward = [[t for words in passage for t in (start, *words, end)] for passage in passages]
        backward = [[t for words in passage for t in (end, *reversed(words), start)] for passage in passages]
        return _mean(model, bilm.forward_layers, forward), _mean(model, bilm.backward_layers, backward)
    finally:
        bilm.train(training)


def _mean(model: Model, stack: LSTMStack, passages: Sequence[Sequence[str]]) -> LSTMState:
    """The mean of the states behind each of the passages."""
    states = []
    ordered = sorted(passages, key=len)  # like lengths together: the rest of a row is padding
    for block in (ordered[at : at + BLOCK] for at in range(0, len(ordered), BLOCK)):
        number = {word: row for row, word in enumerate(dict.fromkeys(word for words in block for word in words))}
        vectors = encode(model, list(number))
        lengths = torch.tensor([len(words) for words in block], device=vectors.device)
        x = vectors.new_zeros(len(block), int(lengths.max()), vectors.size(1))
        for row, words in enumerate(block):
            x[row, : len(words)] = vectors[[number[word] for word in words]]
        states.append(stack(x, lengths)[1])
    return LSTMState(*(torch.cat(parts, dim=1).mean(dim=1, keepdim=True) for parts in zip(*states, strict=True)))


def encode_boundaries(model: Model) -> Tensor:
    """x of <S> and </S>. *Shape:* (1, 2, P)."""
    return encode(model, model.boundaries).unsqueeze(0)


def encode(model: Model, words: Sequence[str]) -> Tensor:
    """x of any words, by the plain encoder. *Shape:* (n, P)."""
    device = next(model.bilm.parameters()).device
    characters = torch.from_numpy(model.characters.encode(words)).to(device) if model.characters else None
    rows = torch.from_numpy(model.words.rows(words)).to(device) if model.words else None
    encoded: Tensor = model.bilm.encoder(characters, rows)
    return encoded


def _fixed_point(
    bilm: BiLM, direction: str, x: Tensor, tolerance: float, max_passes: int, must_converge: bool
) -> tuple[LSTMState, float]:
    """The state after reading `x` until that no longer changes it, and the last change. *Shape:* (1, 2, P)."""
    stack = getattr(bilm, f"{direction}_layers")
    assert isinstance(stack, LSTMStack)
    lengths = torch.tensor([x.size(1)], device=x.device)
    state, moved = stack.zero_state(1), float("inf")
    for _ in range(max_passes):
        _, after = stack(x, lengths, state)
        moved = max(float((new - old).abs().max()) for new, old in zip(after, state, strict=True))
        state = after
        if moved <= tolerance:
            return state, moved
    if not must_converge:
        return state, moved
    raise NotConvergedError(
        f"the {direction} state still moves by {moved:.2g} after {max_passes} readings of the sentence boundaries "
        f'(tolerance {tolerance:g}); state="zero" starts every sentence from zeros instead'
    )
