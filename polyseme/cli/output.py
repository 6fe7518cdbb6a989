"""What every verb shares: how it speaks to people and to machines, how it shows progress, how it ends.

stdout  the result: lines for people, or with --json one JSON object and nothing else
stderr  progress, warnings, errors

Exit codes: 0 done; 1 a problem with the data or the model (any `PolysemeError`): one sentence, no traceback; 2 usage;
130 stopped by Ctrl-C; 141 nobody reads what is printed (a closed pipe), as other programs do.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from polyseme.errors import OptionError, OutputError, PolysemeError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PROBLEM, USAGE, STOPPED, CLOSED_PIPE = 1, 2, 130, 141
SECONDS_BETWEEN_LINES = 10.0


class Verbs(TyperGroup):
    """A group of verbs: turns what they raise into one sentence on stderr and an exit code, in one place."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer's own, older or newer, context class
        """Runs the verb. Errors that are not ours keep their traceback: they are bugs."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # so that a closed pipe shows here and not while Python shuts down
            return result
        except OptionError as error:
            say_error(f"{error}\n`{ctx.command_path} {ctx.invoked_subcommand or ''} --help` lists the options.")
            raise typer.Exit(USAGE) from error
        except PolysemeError as error:
            say_error(str(error))
            raise typer.Exit(PROBLEM) from error
        except BrokenPipeError as error:
            _silence_stdout()
            raise typer.Exit(CLOSED_PIPE) from error
        except (OSError, MemoryError) as error:
            say_error(_reason(error))
            raise typer.Exit(PROBLEM) from error
        except KeyboardInterrupt as error:
            say_error("stopped; nothing was written.")
            raise typer.Exit(STOPPED) from error


def _reason(error: OSError | MemoryError) -> str:
    """One sentence for what the system refuses before a reader or writer of ours could name it."""
    if isinstance(error, MemoryError):
        return "the memory of this machine does not suffice; close other programs, or give a smaller --max-tokens"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; check that the path exists and that you may read and write it"


def _silence_stdout() -> None:
    """Python flushes stdout once more on exit, and would complain about the closed pipe."""
    with suppress(OSError, ValueError):  # where stdout is no file, nothing will be flushed into one
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- text


def _readable(error: UnicodeError) -> tuple[bytes, int]:
    """For any text on any stream: file names byte for byte, other characters that it cannot spell as \\uXXXX."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    pieces = [
        bytes([ord(letter) - 0xDC00]) if "\udc80" <= letter <= "\udcff" else letter.encode("ascii", "backslashreplace")
        for letter in error.object[error.start : error.end]
    ]
    return b"".join(pieces), error.end


codecs.register_error("polyseme-readable", _readable)


def readable_streams() -> None:
    """For what is not printed here: usage errors, tracebacks, the bar."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="polyseme-readable")


def _echo(text: str, *, err: bool = False) -> None:
    stream = sys.stderr if err else sys.stdout
    typer.echo(text.encode(stream.encoding or "utf-8", "polyseme-readable"), err=err)


def say(text: str = "") -> None:
    """A line of the result, for people."""
    _echo(text)


def say_error(text: str) -> None:
    """The one sentence on stderr that explains an exit code."""
    _echo(f"Error: {text}", err=True)


def warn(text: str) -> None:
    """Something that a user should know before trusting the result."""
    _echo(f"Warning: {text}", err=True)


def as_typed(text: str) -> str:
    """Text of the command line, which is UTF-8, also where the locale could not decode it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def emit(value: Mapping[str, Any]) -> None:
    """The one JSON object of --json, in ASCII; file names as UTF-8, also where the locale could not decode them."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    typer.echo(json.dumps(json.loads(as_typed(text)), ensure_ascii=True))


def quoted(words: Sequence[str]) -> str:
    """A command line that can be pasted back into the shell of this system."""
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(words)
    from shlex import join

    return join(words)


def again(*more: str) -> str:
    """The command line of this run, to be pasted back, with other options after it."""
    return quoted(["polyseme", *(word for word in sys.argv[1:] if word not in more), *more])


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Two aligned columns; later lines of a value stand under its first."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}".replace("\n", "\n" + " " * (width + 2)) for name, value in rows)


def counted(number: int, noun: str) -> str:
    """1 word, 2,000 words."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(n_bytes: int) -> str:
    """1,234,567 -> 1.2 MB."""
    value, unit = float(n_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"


def write_lines(lines: Iterable[str], path: Path, what: str) -> None:
    """A file of text under a temporary name first. `what` it holds, for the `OutputError` where that fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: the {what} cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


# --- progress


class Meter:
    """Progress on stderr: a bar with rate and time left on a terminal, a plain line now and then in a pipe.

    with Meter() as meter:
        meter.step("opening the model")
        meter.update(done=100, total=1000, unit="tokens")
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, quiet: bool = False) -> None:
        """`quiet`: says nothing, in all but one of several processes."""
        self._clock, self._quiet = clock, quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._first: tuple[float, int] | None = None  # when the first update came, and how much was done by then
        self._done = 0
        self._last_line = float("-inf")

    def __enter__(self) -> Meter:
        if sys.stderr.isatty() and not self._quiet:
            self._bar = _bar()
            self._task = self._bar.add_task("", total=None, detail="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, text: str) -> None:
        """A new stage, whose length is not known."""
        if self._bar is not None and self._task is not None:
            self._bar.reset(self._task, total=None, description=text, detail="")
        elif not self._quiet:
            _echo(f"{text} ...", err=True)
        self._first, self._last_line = None, float("-inf")

    def note(self, text: str) -> None:
        """A line that stays, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif not self._quiet:
            _echo(text, err=True)

    def update(self, done: int, total: int, unit: str) -> None:
        """How far the stage is; `total` 0 where nobody knows."""
        now = self._clock()
        if self._first is None or done < self._done:  # what counts anew (the next file) has a rate of its own
            self._first = (now, done)
        self._done = done
        seconds, fresh = now - self._first[0], done - self._first[1]
        rate = fresh / seconds if seconds > 0 else 0.0
        detail = f"{rate:,.0f} {unit}/s" if rate else ""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=max(total, done) or None, detail=detail)
        elif done and now - self._last_line >= SECONDS_BETWEEN_LINES and not self._quiet:
            self._last_line = now
            _echo(_line(done, total, unit, rate, detail), err=True)


def _line(done: int, total: int, unit: str, rate: float, detail: str) -> str:
    parts = [f"  {done:,} {unit}"]
    if total >= done:
        parts = [f"  {done:,} of about {total:,} {unit} ({done / total:.0%})"]
    if detail:
        parts.append(detail)
    if rate and total > done:
        parts.append(f"about {duration((total - done) / rate)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """3,725 -> 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
