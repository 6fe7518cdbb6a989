"""`polyseme info`: what a model is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.cli import options as opt
from polyseme.cli.output import Meter, emit, quoted, say, size, table

if TYPE_CHECKING:
    from torch import nn

    from polyseme.formats.model import Model

EXAMPLE = "\b\nExample:\n  polyseme info elmo-small"


def info(model: opt.ModelArgument, json: opt.Json = False) -> None:
    """Show what a model is: layout, architecture, sizes, words, text pipeline, origin, state, hash."""
    with Meter() as meter:
        meter.step("starting")
        from polyseme.fetch import resolve
        from polyseme.formats.folder import layout_of, open_model

        path = resolve(model, progress=lambda done, total: meter.update(done, total or 0, "bytes"))
        meter.step(f"opening {path}")
        layout = layout_of(path).name
        opened = open_model(path)
        meter.step("adding up")
        facts = {"model": str(path), "layout": layout, "bytes": _bytes(path), **_facts(opened)}
    target = ["verify", str(path)] if layout == "polyseme folder" else ["convert", str(path), "FOLDER"]
    facts["next"] = quoted(["polyseme", *target])
    if json:
        emit(facts)
    else:
        say(table(_rows(facts)))


def _facts(model: Model) -> dict[str, Any]:
    config, characters = model.bilm.config, model.characters
    alphabet = None
    if characters is not None:
        kind = f"{len(characters.alphabet):,} characters" if characters.alphabet else "UTF-8 bytes"
        alphabet = {"kind": kind, "rows": characters.n_rows, "longest_word": characters.room}
    state: dict[str, Any] = {"kind": "none", "stored": False, "residual": None}
    if config.layers == "lstm":
        state = {"kind": "settled", "stored": model.settled is not None, "residual": model.settled_residual}
    return {
        "architecture": {**asdict(config), "width": config.width},
        "parameters": _parameters(model),
        "vocabulary": len(model.vocabulary) if model.vocabulary is not None else None,
        "word_table": len(model.words.words) if model.words is not None else None,
        "alphabet": alphabet,
        "text": asdict(model.text),
        "card": asdict(model.card),
        "state": state,
        "hash": model.hash(),
    }


def _parameters(model: Model) -> dict[str, int]:
    """Trainable numbers by part; the softmax is often most of them."""
    bilm = model.bilm
    parts: dict[str, list[nn.Module]] = {
        "encoder": [bilm.encoder],
        bilm.config.layers: [bilm.forward_layers, bilm.backward_layers],
        "softmax": [bilm.softmax] if bilm.softmax is not None else [],
    }
    counts = {
        name: sum(parameter.numel() for module in modules for parameter in module.parameters())
        for name, modules in parts.items()
    }
    return {**counts, "total": sum(counts.values())}


def _bytes(path: Path) -> int:
    """What lies at `path`; a file's neighbours (options, vocabulary) are not counted."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The table for people."""
    config, alphabet, state, text = facts["architecture"], facts["alphabet"], facts["state"], facts["text"]
    reads = []
    if alphabet:
        reads.append(f"{alphabet['kind']}, words up to {alphabet['longest_word']} of them")
    if facts["word_table"]:
        reads.append(f"a table of {facts['word_table']:,} words")
    counts = [f"{name} {count:,}" for name, count in facts["parameters"].items() if count]
    vocabulary = f"{facts['vocabulary']:,} words" if facts["vocabulary"] else "none"
    softmax = f"a softmax over {config['softmax_size']:,}" if config["softmax_size"] else "no softmax"
    rows = [
        ("model", f"{facts['model']}  ({facts['layout']}, {size(facts['bytes'])})"),
        ("network", _network(config)),
        ("vectors", f"{config['n_layers'] + 1} layers of {config['width']} numbers"),
        ("parameters", ", ".join(counts)),
        ("reads", "; ".join(reads)),
        ("vocabulary", f"{vocabulary}; {softmax}"),
        ("text", _text(text)),
        ("card", "\n".join(f"{name}: {value}" for name, value in facts["card"].items() if value) or "not known"),
        ("state", _state(state)),
        ("hash", facts["hash"]),
    ]
    return [*rows, ("next", facts["next"])]


def _network(config: dict[str, Any]) -> str:
    parts = [f"{config['encoder']} encoder"]
    if cnn := config["char_cnn"]:
        filters = sum(count for _, count in cnn["filters"])
        parts[0] += f" ({filters} filters, {cnn['n_highway']} highway layers, {cnn['activation']})"
    inner = config["transformer"]
    if inner:
        heads, context = inner["n_heads"], inner["context"]
        parts.append(f"{config['n_layers']} Transformer layers of {config['projection_size']} a direction")
        parts.append(f"{heads} heads, up to {context:,} words a sentence")
    else:
        parts.append(
            f"{config['n_layers']} LSTM layers of {config['cell_size']} cells, projected to {config['projection_size']}"
        )
        parts.append(f"clips {config['cell_clip']} (cell), {config['projection_clip']} (projection)")
        parts.append("residual" if config["residual"] else "no residual")
    return "; ".join(parts)


def _text(text: dict[str, Any]) -> str:
    steps = [name.replace("_", " ") for name in ("lowercase", "remove_stop_words", "stem") if text[name]]
    tokenizer = text["tokenizer"] or "not known: chosen by --lang or the script of the text"
    languages = ", ".join(text["languages"]) or "not known"
    return "; ".join([f"tokenizer {tokenizer}", f"languages {languages}", *steps])


def _state(state: dict[str, Any]) -> str:
    if state["kind"] == "none":
        return "a Transformer carries none"
    if not state["stored"]:
        return "the settled state is not stored; it is computed when the model is opened"
    return f"settled, stored (residual {state['residual']:.2g})" if state["residual"] is not None else "settled, stored"
