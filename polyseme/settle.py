"""Where every sentence starts: the state that an LSTM biLM reaches when it reads sentence boundaries and nothing else.

The published systems start a sentence with whatever the sentence before left behind, so the same text gets other
vectors each time. Here the forward direction starts from zero, reads (<S>, </S>) again and again and keeps the state
AFTER </S>, where a sentence would begin; the backward direction reads (</S>, <S>) and keeps the state AFTER <S>. On
published weights the state stops moving after about 60 passes. One row, the model's own precision, the plain layers of
`nn/lstm.py`.

Legend: `L` layers, `P` projection width, `H` cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polyseme.bilm import BiLM
from polyseme.errors import NotConvergedError, OptionError
from polyseme.formats.model import Model
from polyseme.nn.lstm import LSTMStack, LSTMState


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


def encode_boundaries(model: Model) -> Tensor:
    """x of <S> and </S>. *Shape:* (1, 2, P)."""
    device = next(model.bilm.parameters()).device
    characters = torch.from_numpy(model.characters.encode(model.boundaries)).to(device) if model.characters else None
    words = torch.from_numpy(model.words.rows(model.boundaries)).to(device) if model.words else None
    encoded: Tensor = model.bilm.encoder(characters, words)
    return encoded.unsqueeze(0)


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
