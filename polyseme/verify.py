"""Is this model what its files say, and are its vectors what they were? The library half of `polyseme verify`.

Two roads lead to a sentence's vectors: the plain one, `BiLM.forward` over one sentence alone, which a reader can follow
against the paper, and the fast one that users take (`embedder.py`). A sound model gives the same numbers on both, in
any order and batch, on any number of threads. A native folder also keeps what the plain road gave on the machine that
wrote it, in `reference.safetensors`, so that a copy can be compared with its origin.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from polyseme.embedder import Embedder
from polyseme.embedding import FloatArray
from polyseme.engine import with_boundaries
from polyseme.errors import DamagedModelError, NotConvergedError
from polyseme.formats.model import REFETCH, Model, damage_named
from polyseme.formats.native import write_tensors
from polyseme.nn.lstm import LSTMState
from polyseme.settle import encode_boundaries, settled_states

Sentence = tuple[str, ...]

LIMIT = 1e-5  # float32; the promise of DESIGN
REFERENCE = "reference.safetensors"
REFERENCE_FORMAT = "polyseme-reference"

# Four scripts; a word with a hyphen, one of a single mark, one that is longer than any published model reads.
SENTENCES: tuple[Sentence, ...] = (
    ("The", "bank", "raised", "its", "rates", ",", "did", "n't", "it", "?"),
    ("我们", "坐", "在", "河", "岸", "上", "。"),
    ("Он", "не", "сразу", "понял", "Donaudampfschifffahrtsgesellschaftskapitänsmütze-" * 2, "!"),
    ("ذهب", "الولد", "إلى", "المدرسة"),
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `passed` is None where there is nothing to look at; `finding` is for people."""

    name: str
    passed: bool | None
    finding: str
    difference: float | None = None

    @classmethod
    def within(cls, name: str, difference: float, what: str) -> Check:
        """A check that compares numbers; a difference that is no number fails."""
        passed = difference <= LIMIT
        finding = f"{what}: max |difference| {difference:.2g}, {LIMIT:g} is allowed"
        return cls(name, passed, finding, difference)


def verify(model: Model, folder: Path | None = None) -> Iterator[Check]:
    """Every check of `model`, one by one as it is done. `folder`: where reference vectors may lie.

    After a failed check of the weights nothing else is tried. Raises `DamagedModelError` for a broken reference file.
    """
    finite = _finite(model)
    yield finite
    if not finite.passed:
        return
    given = _shorter(SENTENCES, model)
    plain = plain_layers(model, given)
    one = Embedder(model, state=_zero(model), threads=1)
    fast = _layers(one, given)
    yield _reference(one, model, folder)
    yield Check.within(
        "fast path", difference(plain, fast), "the fast path against BiLM.forward, one sentence at a time"
    )
    yield _settled(model)
    yield from _invariance(model, one, given, fast)


def plain_layers(model: Model, sentences: Sequence[Sentence]) -> list[FloatArray]:
    """Each sentence alone through `BiLM.forward` from zero, without <S> and </S>. *Shape:* (L + 1, T, 2P) each."""
    device = next(model.bilm.parameters()).device
    found = []
    for sentence in sentences:
        words = with_boundaries(sentence, model)
        characters = torch.from_numpy(model.characters.encode(words)).to(device)[None] if model.characters else None
        rows = torch.from_numpy(model.words.rows(words)).to(device)[None] if model.words else None
        with torch.inference_mode():
            layers = model.bilm(characters, rows, torch.tensor([len(words)], device=device)).layers
        found.append(np.asarray(torch.stack(layers)[:, 0, 1:-1].cpu().contiguous().numpy(), dtype=np.float32))
    return found


def difference(first: Sequence[FloatArray], second: Sequence[FloatArray]) -> float:
    """The largest |difference| of any two numbers; infinite where the shapes differ, NaN where one is no number."""
    if [a.shape for a in first] != [b.shape for b in second]:
        return float("inf")
    largest = [float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True) if a.size]
    return float(np.max(largest)) if largest else 0.0


def compare(first: Model, second: Model) -> float:
    """How far the vectors of two models lie apart on the built-in sentences, on the plain road."""
    given = _shorter(_shorter(SENTENCES, first), second)
    return difference(plain_layers(first, given), plain_layers(second, given))


def smallest_cosine(first: Model, second: Model) -> float:
    """Between two models' vectors of the built-in sentences, word by word and layer by layer; 1 where both are zero."""
    given = _shorter(_shorter(SENTENCES, first), second)
    smallest = 1.0
    for a, b in zip(plain_layers(first, given), plain_layers(second, given), strict=True):
        lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        cosines = np.where(lengths > 0, (a * b).sum(axis=-1) / np.where(lengths > 0, lengths, 1), 1)
        smallest = min(smallest, float(cosines.min(initial=1.0)))
    return smallest


# --- reference vectors


def write_reference(model: Model, folder: Path) -> None:
    """Stores the plain road's vectors of the built-in sentences in an existing model folder."""
    sentences = _shorter(SENTENCES, model)
    tensors = {str(number): torch.from_numpy(layers) for number, layers in enumerate(plain_layers(model, sentences))}
    metadata = {"format": REFERENCE_FORMAT, "sentences": json.dumps(sentences)}
    write_tensors(tensors, folder / REFERENCE, metadata)


def read_reference(folder: Path) -> tuple[list[Sentence], list[FloatArray]] | None:
    """What `write_reference` stored; None where there is nothing. Raises `DamagedModelError`."""
    file = folder / REFERENCE
    if not file.is_file():
        return None
    with damage_named(file, "reading the reference vectors"), safe_open(file, framework="np") as opened:
        metadata = opened.metadata() or {}
        if metadata.get("format") != REFERENCE_FORMAT:
            raise DamagedModelError(f"{file}: holds no reference vectors of Polyseme; {REFETCH}")
        sentences = [tuple(map(str, sentence)) for sentence in json.loads(metadata["sentences"])]
        layers = [opened.get_tensor(str(number)) for number in range(len(sentences))]
    return sentences, layers


# --- the checks


def _finite(model: Model) -> Check:
    """The shapes were compared with the configuration when the model was opened."""
    tensors = model.bilm.state_dict()
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        named = f"{len(bad)} of {len(tensors)} tensors, {bad[0]} among them"
        return Check("weights", False, f"{named}, hold values that are not finite numbers; {REFETCH}")
    return Check("weights", True, f"{len(tensors)} tensors, shapes as configured, all values finite")


def _reference(embedder: Embedder, model: Model, folder: Path | None) -> Check:
    stored = read_reference(folder) if folder is not None else None
    if stored is None:
        return Check("reference", None, "the model brings no reference vectors; `polyseme convert` stores some")
    sentences, layers = stored
    what = f"{len(sentences)} sentences against the vectors stored with the model"
    return Check.within("reference", difference(layers, _layers(embedder, _shorter(sentences, model))), what)


def _settled(model: Model) -> Check:
    """Reads the boundaries once more from the state in which sentences start: it must stay where it is."""
    if model.bilm.config.layers != "lstm":
        return Check("settled state", None, "a Transformer carries no state")
    if model.settled is not None and model.settled_residual is None:
        return Check("settled state", None, "stored: the mean state in which sentences of the training text begin")
    if model.settled is not None and (model.settled_residual or 0.0) > LIMIT:
        what = f"stored; it drifts by {model.settled_residual:.2g} a reading, and sentences start from it all the same"
        return Check("settled state", None, what)
    try:
        states = model.settled or settled_states(model)[0]
    except NotConvergedError as error:
        return Check("settled state", None, str(error))
    boundaries = encode_boundaries(model)
    with torch.inference_mode():
        after = model.bilm.contextualize(boundaries, torch.tensor([2], device=boundaries.device), states).states
    assert after is not None
    moved = max(map(_distance, after, states))
    where = "stored" if model.settled else "computed here"
    return Check.within("settled state", moved, f"{where}; sentence boundaries read once more from it")


def _distance(after: LSTMState, before: LSTMState) -> float:
    return max(float((new - old).abs().max()) for new, old in zip(after, before, strict=True))


def _invariance(model: Model, one: Embedder, given: Sequence[Sentence], fast: list[FloatArray]) -> Iterator[Check]:
    """The same sentences in another order, in other company, alone, on more threads."""
    backwards = _layers(one, given[::-1])[::-1]
    yield Check.within("order", difference(fast, backwards), "sentences in reverse order")
    company = [*(sentence[::-1] for sentence in given), *given, *(sentence[:2] for sentence in given)]
    together = _layers(one, company)[len(given) : 2 * len(given)]
    alone = _layers(one, given, batch_size=1)
    apart = max(difference(fast, together), difference(fast, alone))
    yield Check.within("batches", apart, f"{len(company)} sentences in a batch, and each alone")
    two = Embedder(model, state=_zero(model), threads=2)
    threaded = _layers(two, given)
    yield Check.within("threads", difference(fast, threaded), "one thread and two")
    same = all(
        np.array_equal(a[0], b[0])
        for other in (backwards, together, alone, threaded)
        for a, b in zip(fast, other, strict=True)
    )
    finding = "context-free vectors (layer 0) bit-identical in all of these"
    yield Check(
        "words", same, finding if same else "context-free vectors (layer 0) are not bit-identical in all of these"
    )


def _layers(embedder: Embedder, sentences: Sequence[Sentence], batch_size: int | None = None) -> list[FloatArray]:
    return [embedding.layers for embedding in embedder.embed(sentences, batch_size=batch_size)]


def _zero(model: Model) -> str | None:
    """Zero states: what the plain road starts from, and needs no convergence."""
    return "zero" if model.bilm.config.layers == "lstm" else None


def _shorter(sentences: Sequence[Sentence], model: Model) -> list[Sentence]:
    """The sentences cut to what a Transformer can read."""
    transformer = model.bilm.config.transformer
    room = transformer.context - 2 if transformer else None
    return [tuple(sentence[:room]) for sentence in sentences]
