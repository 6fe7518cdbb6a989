"""What a run leaves in its folder: the best model, log.jsonl, the training curve."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.bilm import BiLM
from polyseme.errors import OutputError
from polyseme.formats import native
from polyseme.formats.model import Model, ModelCard
from polyseme.lm.losses import LossSums
from polyseme.settle import mean_states
from polyseme.text.shards import Corpus
from polyseme.text.vocab import Vocabulary
from polyseme.training.checkpoint import FOLDER, clear_leftovers, found
from polyseme.training.start import word_counts

LOG = "log.jsonl"
PASSAGES, FOLLOWING, LONG = 256, 4, 100  # what the starting state is the mean of; words of a sentence
CORPUS = "corpus"  # what a folder may hold before its run begins: the text, prepared or half-prepared


class Outcome:
    """Writes into `folder`, if this process is the one that `writes`."""

    def __init__(self, folder: Path, corpus: Corpus, vocabulary: Vocabulary, card: ModelCard, *, writes: bool) -> None:
        self.folder, self.corpus, self.vocabulary, self.writes = folder, corpus, vocabulary, writes
        # Names of files, also where the locale could not decode them.
        said = {name: text.encode("utf-8", "surrogateescape") for name, text in vars(card).items()}
        self.card = ModelCard(**{name: text.decode("utf-8", "replace") for name, text in said.items()})

    def open(self) -> None:
        """Makes the folder, and removes what a killed run left half-written in it. Raises `OutputError`."""
        if not self.writes:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be made ({error.strerror or error}); give another place"
            ) from error
        for leftover in self.folder.glob(".model.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for leftover in self.folder.glob(".*.tmp"):
            with suppress(OSError):
                leftover.unlink()
        clear_leftovers(self.folder)

    def model(self, bilm: BiLM, of: str, losses: LossSums) -> None:
        """Replaces the model in the folder, file by file, the weights last. Raises `OutputError`.

        The card gets its losses `of` some text.
        """
        if not self.writes:
            return
        said = losses.perplexity
        perplexity = f"forward {said.forward:.2f}, backward {said.backward:.2f}, mean {said.mean:.2f}"
        card = replace(
            self.card, source_format="polyseme", perplexity=f"{perplexity} ({of}, {losses.targets:,} targets)"
        )
        model = Model(
            bilm,
            characters=self.corpus.characters,
            vocabulary=self.vocabulary,
            text=self.corpus.text,
            card=card,
            counts=self._counts,
        )
        working = None
        try:
            working = Path(tempfile.mkdtemp(prefix=".model.", dir=self.folder))
            native.write(rested(model, self.corpus), working)
            for file in sorted(working.iterdir(), key=lambda file: file.suffix == ".safetensors"):
                file.replace(self.folder / file.name)
        except (OSError, OutputError) as error:
            cause = error.__cause__ if isinstance(error, OutputError) else error
            reason = getattr(cause, "strerror", None) or error
            raise OutputError(
                f"{self.folder}: the model cannot be written ({reason}); make room and pass --resume"
            ) from error
        finally:
            if working is not None:
                shutil.rmtree(working, ignore_errors=True)

    @cached_property
    def _counts(self) -> npt.NDArray[np.int64]:
        """The same at every validation, over millions of word types."""
        return word_counts(self.corpus, self.vocabulary)

    def log(self, event: dict[str, Any]) -> None:
        """One line. Raises `OutputError`."""
        if not self.writes:
            return
        try:
            with (self.folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(_plain(event), allow_nan=False) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self.folder / LOG}: cannot be written ({error.strerror or error}); make room and pass --resume"
            ) from error

    def forget_after(self, update: int) -> None:
        """Drops what was logged after the checkpoint that a run goes on from, and its end: both will come again."""
        if not self.writes or not (self.folder / LOG).exists():
            return
        events = (event for event in read_log(self.folder) if event.get("event") != "end")
        kept = [event for event in events if event.get("update", 0) <= update]
        temporary = self.folder / f".{LOG}.{os.getpid()}.tmp"
        try:
            temporary.write_text("".join(json.dumps(event) + "\n" for event in kept), encoding="utf-8")
            temporary.replace(self.folder / LOG)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise OutputError(
                f"{self.folder / LOG}: cannot be written ({error.strerror or error}); make room and pass --resume"
            ) from error


def refuse_used(folder: Path) -> None:
    """Raises `OutputError` where a folder holds anything but its text: no run is ever written over."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} exists and is no folder; give another name")
    allowed = {CORPUS, f"{CORPUS}.partial"}
    if not found(folder):
        allowed.add(FOLDER)  # of a run that ended before its first one
    others = sorted(entry.name for entry in folder.iterdir() if entry.name not in allowed) if folder.is_dir() else []
    if others:
        hint = "pass --resume to go on with the run that is there, or " if found(folder) else ""
        raise OutputError(f"{folder} is not empty (it holds {others[0]!r}): {hint}give another folder")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All events; a last line that a killed process left unfinished is passed over."""
    events = []
    for line in (folder / LOG).read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                events.append(event)
    return events


def _plain(value: Any) -> Any:
    """Numbers that JSON does not know (a perplexity beyond all bounds) become null."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rested(model: Model, corpus: Corpus) -> Model:
    """With the state that sentences start from: the mean one in which sentences of the training text begin.

    Passages of four sentences from all over the text are read; long sentences are left out.
    """
    if model.bilm.config.layers != "lstm":
        return model
    part = corpus.train
    usual = np.flatnonzero(np.diff(part.starts) <= LONG)
    firsts = usual[np.linspace(0, len(usual) - 1, PASSAGES).astype(np.int64)] if len(usual) else usual
    passages = [
        [
            [corpus.words[word] for word in part.sentence(at)]
            for at in range(first, min(first + FOLLOWING, part.n_sentences))
        ]
        for first in dict.fromkeys(firsts.tolist())
    ]
    passages = [[words for words in passage if len(words) <= LONG] for passage in passages]
    if not passages:
        return model
    return replace(model, settled=mean_states(model, passages), settled_residual=None)
