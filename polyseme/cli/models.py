"""`polyseme models`: which models ship with Polyseme, which are known by name, which lie on this machine."""

from __future__ import annotations

import json as json_format
from contextlib import suppress
from pathlib import Path
from typing import Any

from polyseme.cli import options as opt
from polyseme.cli.output import emit, quoted, say, size, table

EXAMPLE = "\b\nExample:\n  polyseme models --json"
BYTES_A_PARAMETER = 4  # published weights are float32


def models(json: opt.Json = False) -> None:
    """List the models that ship with Polyseme, those known by name, and those already downloaded.

    Any of these names can be given as --model; so can paths, addresses and hub ids.
    """
    from polyseme import fetch

    inside = [_shipped(name, folder) for name, folder in fetch.shipped().items()]
    here: list[dict[str, Any]] = [
        {"source": each.source, "path": str(each.path), "bytes": each.bytes, "complete": each.whole}
        for each in fetch.downloads()
    ]
    complete = {each["source"] for each in here if each["complete"]}
    tasks = [_task(name, folder) for name, folder in fetch.ready_tasks().items()]
    known = [_published(name, name in complete) for name in fetch.PUBLISHED]
    first = inside[0]["name"] if inside else next((name for name in fetch.PUBLISHED if name in complete), "elmo-small")
    following = quoted(["polyseme", "info", first])
    if json:
        facts = {"shipped": inside, "tasks": tasks, "published": known, "downloaded": here, "folder": str(fetch.home())}
        emit({**facts, "next": following})
        return
    say("With the package:")
    say(_lines([_row(each) for each in inside] or [("none", "no model ships with this version of Polyseme")]))
    say("\nTasks with the package, for `polyseme task predict`:")
    say(_lines([_task_row(each) for each in tasks] or [("none", "no task ships with this version of Polyseme")]))
    say("\nKnown by name, fetched when first used:")
    say(_lines([_row(each) for each in known]))
    say(f"\nDownloaded, in {fetch.home()}:")
    rows = [(each["source"], size(each["bytes"]) + ("" if each["complete"] else ", not complete")) for each in here]
    say(_lines(rows or [("none", "")]))
    say(f"\nnext  {following}")


def _shipped(name: str, folder: Path) -> dict[str, Any]:
    """From its configuration, without opening the weights."""
    about: Any = {}
    with suppress(OSError, ValueError):
        about = json_format.loads((folder / "config.json").read_text(encoding="utf-8"))
    about = about if isinstance(about, dict) else {}
    card, text = (part if isinstance(part, dict) else {} for part in (about.get("card"), about.get("text")))
    n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "name": name,
        "path": str(folder),
        "bytes": n_bytes,
        "languages": list(text.get("languages") or []),
        "data": str(card.get("data") or ""),
        "licence": str(card.get("licence") or "not stated"),
        "perplexity": str(card.get("perplexity") or ""),
    }


def _task(name: str, folder: Path) -> dict[str, Any]:
    """From its configuration, without opening the weights."""
    about = json_format.loads((folder / "config.json").read_text(encoding="utf-8"))
    report, n_bytes = about["report"], sum(file.stat().st_size for file in folder.iterdir())
    metric = report["metric"]
    return {
        "name": name, "path": str(folder), "bytes": n_bytes, "kind": about["kind"], "labels": about["labels"],
        "data": report["data"], "licence": report["licence"], "metric": metric, "test": report["test"][metric],
        "model": about["features"][0]["path"],
    }  # fmt: skip


def _task_row(task: dict[str, Any]) -> tuple[str, str]:
    score = f"{task['metric']} {task['test']:.3f} on the test set"
    parts = (
        size(task["bytes"]),
        task["kind"],
        f"on {task['model']}",
        task["data"],
        f"licence {task['licence']}",
        score,
    )
    return task["name"], "; ".join(parts)


def _published(name: str, downloaded: bool) -> dict[str, Any]:
    from polyseme.fetch import ABOUT, BUCKETS, PUBLISHED

    about = ABOUT[name]
    n_bytes = round(about.parameters * 1e6) * BYTES_A_PARAMETER if about.parameters else None
    return {
        "name": name,
        "addresses": [BUCKETS[0] + path for path in PUBLISHED[name]],
        "bytes": n_bytes,
        "languages": [about.language],
        "data": about.data,
        "licence": about.licence,
        "downloaded": downloaded,
    }


def _row(model: dict[str, Any]) -> tuple[str, str]:
    about = "about " if "downloaded" in model else ""
    parts = [about + size(model["bytes"]) if model["bytes"] else "size not known"]
    parts += [" ".join(model["languages"]) or "language not known", model["data"], f"licence {model['licence']}"]
    if model.get("perplexity"):
        parts.append(f"perplexity {model['perplexity']}")
    if model.get("downloaded"):
        parts.append("downloaded")
    return model["name"], "; ".join(part for part in parts if part)


def _lines(rows: list[tuple[str, str]]) -> str:
    """An indented table without spaces at line ends."""
    return "\n".join(f"  {line}".rstrip() for line in table(rows).split("\n"))
