"""What `train`, `adapt` and `static fit` share: what a run reads, how it is told of, stopped, and gone on with."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from polyseme.cli.output import Meter, again, warn
from polyseme.errors import InputError, OptionError, ResumeError

if TYPE_CHECKING:
    from polyseme.formats.model import Model
    from polyseme.text.chars import Characters
    from polyseme.text.prepare import PrepareOptions
    from polyseme.text.shards import Corpus
    from polyseme.train import Event
    from polyseme.training.board import Board
    from polyseme.training.processes import Processes

WITHOUT_HELDOUT = "or --heldout 0 to train without a held-out part"


def opened_model(model: str, meter: Meter) -> Model:
    """A model to go on from: a path, an address, or the name of one in the package."""
    from polyseme.fetch import resolve
    from polyseme.formats.folder import open_model

    path = resolve(model, progress=lambda done, total: meter.update(done, total or 0, "bytes"))
    meter.step(f"opening {path}")
    return open_model(path)


def again_launched(processes: Processes, *more: str) -> str:
    """The command line of this run, with its launcher."""
    launcher = f"torchrun --nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', processes.world)} -m "
    return (launcher if processes.world > 1 else "") + again(*more)


def prepared(text: list[str]) -> bool:
    """Whether a prepared corpus was given instead of text."""
    return len(text) == 1 and (Path(text[0]) / "corpus.json").is_file()


def refuse_text_options(text: list[str], values: dict[str, Any], heldout_text: list[str]) -> None:
    """What was decided when a corpus was prepared is not decided again. Raises `OptionError`; text may have options."""
    from polyseme.text.prepare import PrepareOptions

    corpora = [each for each in text if prepared([each])]
    if not corpora:
        return
    if len(text) > 1:
        raise OptionError(f"{corpora[0]} is a prepared corpus: give it alone, or prepare all texts as one")
    usual = PrepareOptions()
    given = [name for name, value in values.items() if name != "seed" and value != getattr(usual, name)]
    given += ["heldout_text"] if heldout_text else []
    if given:
        name = "lang" if given[0] == "language" else given[0].replace("_", "-")
        raise OptionError(f"{text[0]} is prepared already, so --{name} comes too late: leave it out, or prepare again")


def refuse_no_heldout(text: list[str], share: float, heldout_text: list[str] | None) -> None:
    """Raises `OptionError` for a run that nothing could measure."""
    if not share and not heldout_text and not prepared(text):
        raise OptionError(
            "nothing would say how well the model does: give --heldout a share above 0, or --heldout-text"
        )


def corpus_of(
    text: list[str],
    folder: Path,
    options: PrepareOptions,
    heldout_text: list[str],
    processes: Processes,
    meter: Meter,
    *,
    resume: bool,
    characters: Characters | None = None,
) -> Corpus:
    """Opens the corpus that was given, or prepares the text into MODEL/corpus first, by `characters` if given."""
    from polyseme.text.prepare import prepare
    from polyseme.text.shards import Corpus
    from polyseme.training.outcome import CORPUS

    if prepared(text):
        return Corpus.open(text[0])
    where = folder / CORPUS
    if processes.first and not (resume and text == ["-"] and where.is_dir()):  # a pipe is read once
        meter.step("preparing the text")
        fresh = not folder.exists()
        try:
            report = prepare(
                text,
                where,
                options,
                heldout_texts=heldout_text,
                resume=True,  # a text that was prepared for --plan, or before a stop, is not prepared again
                progress=lambda p: meter.update(p.done, p.total, p.unit),
                characters=characters,
            )
        except InputError as error:
            # Only here is it known that training cannot do without.
            raise InputError(str(error).replace(WITHOUT_HELDOUT, "or --heldout-text with other text")) from error
        except ResumeError as error:
            raise ResumeError(
                f"{where} was prepared from other text or with other options: delete it, or give another folder"
            ) from error
        finally:
            if fresh:
                with suppress(OSError):
                    folder.rmdir()  # nothing came of it
        for warning in report.warnings:
            warn(warning)
    processes.wait()
    return Corpus.open(where)


def device_of(device: str, threads: int | None, processes: Processes) -> str:
    """Sets torch's threads, and gives the device of this process."""
    import torch

    from polyseme.nn.device import device_named

    if threads is not None:
        torch.set_num_threads(threads)
    if processes.world > 1 and device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{processes.local}"
    return str(device_named(device))


def board_of(folder: Path) -> Board:
    """TensorBoard's files, in MODEL/tensorboard. Raises `MissingExtraError` without the extra."""
    from polyseme.training.board import Board

    return Board(folder)


class Interrupt:
    """Ctrl-C, or a polite kill, asks the run to save and end; the second one ends it at once.

    Several processes hear of one Ctrl-C twice, from the terminal and from torchrun, which soon kills who does not end.
    """

    def __init__(self, processes: Processes) -> None:
        self.asked, self.alone = False, processes.world == 1

    def __enter__(self) -> Interrupt:
        self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked and self.alone:
            raise KeyboardInterrupt
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


class Teller:
    """Shows events to people: training as the meter, what should stay as lines."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def __call__(self, event: Event) -> None:
        kind = event["event"]
        if kind == "train":
            self.meter.update(event["update"], event["of"], "updates")
        elif kind == "validation":
            said = event["heldout"]
            best = "the best so far" if event["best"] else "not better"
            self.meter.note(
                f"update {event['update']:,}: held-out perplexity forward {said['forward']:.2f}, backward "
                f"{said['backward']:.2f}, mean {said['mean']:.2f} ({event['heldout_targets']:,} targets), {best}"
            )
            if event["contexts"]:
                self.meter.note("  most alike: " + "  |  ".join(event["contexts"]))
        elif kind == "rollback":
            self.meter.note(
                f"update {event['update']:,}: {event['why']}; back to update {event['to']:,} at "
                f"{event['rate_scale']:g} of the learning rate"
            )
