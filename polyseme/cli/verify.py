"""`polyseme verify`: is a model sound, and are its vectors what they were?"""

from __future__ import annotations

from dataclasses import asdict

import typer

from polyseme.cli import options as opt
from polyseme.cli.output import PROBLEM, Meter, emit, quoted, say, say_error, table

EXAMPLE = "\b\nExample:\n  polyseme verify elmo-small"
WORDS = {True: "ok", False: "FAILED", None: "-"}


def verify(model: opt.ModelArgument, json: opt.Json = False) -> None:
    """Check that a model is sound: exit code 0 if it is, 1 if a check fails.

    Weights are finite and of the configured shapes; vectors are those stored with the model, those of the plain
    implementation, and the same in any order and batch and on any number of threads, to 1e-5.
    """
    with Meter() as meter:
        meter.step("starting")
        from polyseme import verify as library
        from polyseme.fetch import resolve
        from polyseme.formats.folder import layout_of, open_model

        path = resolve(model, progress=lambda done, total: meter.update(done, total or 0, "bytes"))
        meter.step(f"opening {path}")
        layout = layout_of(path).name
        opened = open_model(path)
        meter.step("checking")
        checks = list(library.verify(opened, path if path.is_dir() else None))
    failed = [check.name for check in checks if check.passed is False]
    native = layout == "polyseme folder"
    following = (
        "" if failed else quoted(["polyseme", "embed", "TEXT", "-o", "vectors.safetensors", "--model", str(path)])
    )
    if not failed and not native:
        following = quoted(["polyseme", "convert", str(path), "FOLDER"])
    if json:
        report = [{**asdict(check), "difference": _finite(check.difference)} for check in checks]
        emit({"model": str(path), "layout": layout, "passed": not failed, "checks": report, "next": following})
    else:
        say(table([(f"{WORDS[check.passed]:<6}  {check.name}", check.finding) for check in checks]))
        if following:
            say(f"\n{path} is sound. Next: {following}")
    if failed:
        say_error(f"{path}: {', '.join(failed)} failed; fetch the model again, and report this if that is no help.")
        raise typer.Exit(PROBLEM)


def _finite(value: float | None) -> float | None:
    """JSON has no infinity."""
    return None if value is None or value in (float("inf"), float("-inf")) or value != value else value
