"""`polyseme convert`: any published ELMo in, one folder out, compared with its source before it appears."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from polyseme.cli import options as opt
from polyseme.cli.output import Meter, emit, quoted, say, size, table, warn
from polyseme.errors import ModelError, NotConvergedError, OptionError, OutputError

if TYPE_CHECKING:
    from polyseme.formats.compact import Weights
    from polyseme.formats.model import Model

EXAMPLE = "\b\nExample:\n  polyseme convert downloads/elmo_small/ elmo-small"


def convert(
    source: opt.Source,
    destination: opt.Destination,
    to: opt.To = opt.Target.native,
    weights: opt.Weights = opt.WeightsName.float32,
    overwrite: opt.Overwrite = False,
    json: opt.Json = False,
) -> None:
    """Save a model as a Polyseme folder, or in the layout of AllenNLP and bilm-tf.

    The new folder is opened again and its vectors compared with those of SRC before it appears under its name. A
    Polyseme folder also keeps the settled state, and reference vectors for `polyseme verify`. Weights of int8 are
    rounded first, and the change is told.
    """
    if Path(destination).exists() and not overwrite:
        raise OutputError(f"{destination} exists already; choose another name or pass --overwrite")
    with Meter() as meter:
        meter.step("starting")
        from polyseme.fetch import resolve
        from polyseme.formats.compact import rounded
        from polyseme.formats.folder import layout_of, open_model
        from polyseme.verify import smallest_cosine

        path = resolve(source, progress=lambda done, total: meter.update(done, total or 0, "bytes"))
        _keep_apart(path, Path(destination))
        meter.step(f"opening {path}")
        layout = layout_of(path).name
        model = open_model(path)
        _check_room(model, Path(destination))
        notes: list[str] = []
        rounds, source_model = weights is opt.WeightsName.int8, model
        model = rounded(model) if rounds else model
        if to is opt.Target.native:
            meter.step("reading sentence boundaries until the state settles")
            # A state that drifts is stored by training only; the rounded model then gets its own.
            model = _settle(model, notes, must_converge=source_model.settled is None)
        meter.step(f"writing {destination}, and comparing")
        lost, difference = _write(model, Path(destination), to.value, "int8" if rounds else "float32", overwrite)
        cosine = smallest_cosine(source_model, model) if rounds else None
    _tell(str(path), layout, Path(destination), to.value, lost, difference, cosine, notes, json=json)


def _keep_apart(source: Path, destination: Path) -> None:
    """Replacing DST must not remove what is being read."""
    real, target = source.resolve(), destination.resolve()
    if real == target or target in real.parents:
        raise OptionError(f"SRC lies in DST ({destination}), which would be replaced; choose another name for DST")


def _check_room(model: Model, destination: Path) -> None:
    from polyseme.store.layout import free_bytes

    needed = sum(tensor.numel() * tensor.element_size() for tensor in model.bilm.state_dict().values())
    free = free_bytes(destination)
    if free < needed:
        raise OutputError(
            f"{destination}: about {needed:,} bytes are needed and {free:,} are free there; "
            f"free some space or choose another place"
        )


def _settle(model: Model, notes: list[str], *, must_converge: bool) -> Model:
    """The model with its settled state; without, and a note, where there is none."""
    from polyseme.settle import settled_states

    if model.bilm.config.layers != "lstm" or model.settled is not None:
        return model
    try:
        states, residual = settled_states(model, must_converge=must_converge)
    except NotConvergedError as error:
        notes.append(str(error))
        return model
    return replace(model, settled=states, settled_residual=residual)


def _write(model: Model, destination: Path, to: str, weights: Weights, overwrite: bool) -> tuple[list[str], float]:
    """Writes and compares; raises `ModelError`, and leaves everything as it was, where the vectors differ."""
    from polyseme.formats.folder import open_model, write_model
    from polyseme.verify import LIMIT, compare, write_reference

    found: list[float] = []

    def finish(working: Path) -> None:
        if to == "native":
            write_reference(model, working)
        found.append(compare(model, open_model(working)))
        if not found[0] <= LIMIT:
            raise ModelError(
                f"the converted model's vectors differ from the source's by {found[0]:.2g} ({LIMIT:g} is allowed), so "
                f"{destination} was not written; please report this with the output of `polyseme info`"
            )

    return write_model(model, destination, to, weights=weights, overwrite=overwrite, finish=finish), found[0]


def _tell(
    source: str,
    layout: str,
    destination: Path,
    to: str,
    lost: list[str],
    difference: float,
    cosine: float | None,
    notes: list[str],
    *,
    json: bool,
) -> None:
    files = sorted(destination.iterdir())
    following = quoted(["polyseme", "verify" if to == "native" else "info", str(destination)])
    for note in notes:
        warn(f"no settled state is stored: {note}")
    if json:
        emit(
            {
                "source": source,
                "source_layout": layout,
                "to": to,
                "wrote": [str(file) for file in files],
                "bytes": sum(file.stat().st_size for file in files),
                "not_held": lost,
                "max_difference": difference,
                "smallest_cosine": cosine,
                "warnings": notes,
                "next": following,
            }
        )
        return
    wrote = "\n".join(f"{file}  ({size(file.stat().st_size)})" for file in files)
    rows = [("read", f"{source}  ({layout})")]
    rows.append(("compared", f"vectors of source and destination: max |difference| {difference:.2g}"))
    if cosine is not None:
        rows.append(("rounded", f"to int8: smallest cosine between a vector before and after {cosine:.6f}"))
    if lost:
        rows.append(("not held", "\n".join(lost)))
    say(table([*rows, ("wrote", wrote), ("next", following)]))
