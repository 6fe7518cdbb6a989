"""A trained task as one folder, written whole or not at all: network, labels, how text is read, which vectors it needs.

config.json         the kind of task, sizes, labels, the names and identities of the vectors, and how training went
model.safetensors   the network's weights, and the scales of the vectors' layers
bilm/               a biLM that was fine-tuned for the task, as any model's folder

A biLM that was not tuned, and static vectors, stay where they are. Their identity (SHA-256 of all their numbers) is
checked on opening, since with other vectors every answer would be wrong without a sign of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from polyseme import publish
from polyseme._version import __version__
from polyseme.embedder import Embedder
from polyseme.errors import DamagedModelError, OptionError, OutputError, UnknownFormatError, UnsupportedModelError
from polyseme.fetch import ready_tasks
from polyseme.formats.folder import write_model
from polyseme.tasks import classify, tag
from polyseme.tasks.classify import Classifier, Reading
from polyseme.tasks.features import CONTEXTUAL, Features, Source, open_features
from polyseme.tasks.heads import HeadConfig
from polyseme.tasks.tag import TagConfig, Tagger
from polyseme.tasks.tune import OWN

FORMAT, VERSION = "polyseme task", 1
CONFIG, TENSORS = "config.json", "model.safetensors"
KINDS = ("classify", "tag", "nli")

Task = Classifier | Tagger


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises `OutputError` where something stands that would be lost; a task's folder gives way to `overwrite`."""
    publish.refuse_existing(path, {CONFIG, TENSORS, OWN}, "a task", overwrite=overwrite)


def locate(task: str | Path) -> Path:
    """The folder that a path or a name of `fetch.ready_tasks()` stands for; what lies on the disk wins."""
    return Path(task) if Path(task).exists() else ready_tasks().get(str(task), Path(task))


def save(
    task: Task,
    path: str | Path,
    *,
    report: Mapping[str, Any] | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> None:
    """Writes the folder; `report` is kept in its config.json, weights in float16 if `half`. Raises `OutputError`."""
    path = Path(path)
    refuse_existing(path, overwrite)
    config: dict[str, Any] = {"format": FORMAT, "version": VERSION, "polyseme": __version__, "kind": task.kind}
    config["features"] = [_source_facts(source) for source in task.features.sources]
    config["network"] = asdict(task.config)
    if isinstance(task, Tagger):
        config["labels"] = list(task.tags)
    else:
        config |= {"labels": list(task.labels), "texts": task.n_texts, "multi_label": task.multi_label}
        config["reading"] = asdict(task.reading)
    config["report"] = dict(report or {})
    try:
        with publish.whole_folder(path) as working:
            tensors = {name: value.detach().cpu().contiguous() for name, value in task.network.state_dict().items()}
            if half:
                tensors = {name: each.half() if each.is_floating_point() else each for name, each in tensors.items()}
            save_file(tensors, working / TENSORS)
            # In ASCII: the path of a model may hold bytes that are no UTF-8.
            (working / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
            publish.make_public(working / TENSORS)
            for source in task.features.sources:
                if source.path == OWN and isinstance(source.embedder, Embedder):
                    write_model(source.embedder.model, working / OWN)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be written ({error}); nothing was changed there") from error


def read_config(path: str | Path) -> dict[str, Any]:
    """config.json of a task's folder. Raises `UnknownFormatError`, `DamagedModelError`, `UnsupportedModelError`."""
    file = locate(path) / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnknownFormatError(
            f"{path} is no folder of a task: it has no {CONFIG}; `task fit` makes one"
            + (f", and with the package come {', '.join(ready_tasks())}" if ready_tasks() else "")
        ) from error
    except (OSError, ValueError) as error:
        raise DamagedModelError(f"{file}: damaged ({error}); fit the task again") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UnknownFormatError(f"{file} does not describe a task; `task fit` makes one that does")
    if config.get("version") != VERSION:
        raise UnsupportedModelError(
            f"{file}: version {config.get('version')!r}, this Polyseme reads {VERSION}; install a newer one"
        )
    return config


def open_task(
    path: str | Path,
    *,
    kind: str | None = None,
    model: str | Path | None = None,
    vectors: Mapping[str, str | Path] | None = None,
    threads: int | None = None,
    device: str = "cpu",
    cache: Path | None = None,
) -> Task:
    """The task of a folder or a name. `model`, `vectors`: where its biLM and vectors lie now, if elsewhere.

    Raises `UnknownFormatError`, `DamagedModelError`, `UnsupportedModelError` (also for other vectors than those that
    it was trained on), `OptionError` where the folder holds another `kind`, and what opening the vectors raises.
    """
    path = locate(path)
    config = read_config(path)
    if kind is not None and config.get("kind") != kind:
        raise OptionError(f"{path} holds a task of the kind {config.get('kind')!r}; say that instead of {kind!r}")
    features = _features(path, config, model, dict(vectors or {}), threads, device, cache)
    try:
        with torch.random.fork_rng():  # the network is made with random weights first
            task = _task(config, features, device)
        task.network.load_state_dict(load_file(path / TENSORS))
    except (KeyError, TypeError, ValueError, AttributeError, OSError, RuntimeError, SafetensorError) as error:
        raise DamagedModelError(f"{path}: damaged ({type(error).__name__}: {_first_line(error)}); fit again") from error
    task.network.eval()
    return task


def _task(config: Mapping[str, Any], features: Features, device: str) -> Task:
    scales = [torch.ones(source.n_layers) for source in features.sources]
    labels: tuple[str, ...] = tuple(config["labels"])
    if config["kind"] == "tag":
        sizes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in config["network"].items()
        }
        tag_config = TagConfig(**sizes)
        return Tagger(tag.network_of(features, scales, labels, tag_config), tag_config, labels, features, device)
    head = HeadConfig(**config["network"])
    network: nn.Module = classify.network_of(features, scales, len(labels), config["texts"], head)
    return Classifier(
        network,
        head,
        labels,
        features,
        Reading(**config["reading"]),
        n_texts=config["texts"],
        multi_label=config["multi_label"],
        device=device,
    )


def _source_facts(source: Source) -> dict[str, Any]:
    return {
        "name": source.name, "path": _lasting(source.path), "identity": source.identity, "layers": source.n_layers,
        "width": source.width, "state": source.state,
    }  # fmt: skip


def _first_line(error: Exception) -> str:
    """torch lists every tensor that does not fit, a line each."""
    return (str(error).splitlines() or [""])[0].strip()


def _lasting(path: str) -> str:
    """A path that holds from every working folder; a name of a model stays a name."""
    return str(Path(path).resolve()) if path != OWN and Path(path).exists() else path


def _features(
    path: Path,
    config: Mapping[str, Any],
    model: str | Path | None,
    vectors: dict[str, str | Path],
    threads: int | None,
    device: str,
    cache: Path | None,
) -> Features:
    """The vectors that the task was trained on. Raises `UnsupportedModelError` where others lie at their path."""
    try:
        known: dict[str, dict[str, Any]] = {str(each["name"]): each for each in config["features"]}
        paths = {name: vectors.pop(name, each["path"]) for name, each in known.items()}
        paths = {name: path / OWN if each == OWN else each for name, each in paths.items()}
        state = known[CONTEXTUAL]["state"] if CONTEXTUAL in known else None
    except (KeyError, TypeError) as error:
        raise DamagedModelError(f"{path}: damaged ({CONFIG} lacks {error}); fit the task again") from error
    if vectors:
        raise OptionError(f"vectors were given for {sorted(vectors)[0]!r}; the task reads {', '.join(known)}")
    asked = (model or paths.pop(CONTEXTUAL)) if CONTEXTUAL in known else None
    paths.pop(CONTEXTUAL, None)
    features = open_features(
        "+".join(known), model=asked, vectors=paths, state=state, threads=threads, device=device, cache=cache
    )
    for source in features.sources:
        if source.identity != known[source.name]["identity"]:
            option = "--model" if source.contextual else f"--vectors {source.name}=PATH"
            raise UnsupportedModelError(
                f"{path} was trained on other {source.name} vectors than those at {source.path}; give the old "
                f"ones with {option}, or fit the task again"
            )
    return features
