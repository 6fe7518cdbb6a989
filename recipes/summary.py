"""The result file of a recipe: what was run, on what, and the exact perplexities. Usage: summary.py NAME OUT"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import polyseme


def processor() -> str:
    """The name of the CPU, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def facts(path: Path) -> dict[str, Any]:
    """What `polyseme evaluate --json` measured, without the paths of this machine."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key not in ("model", "next")}


def main(name: str, out: Path) -> None:
    """Prints one JSON object."""
    config = json.loads((out / "model" / "config.json").read_text(encoding="utf-8"))
    log = [json.loads(line) for line in (out / "model" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    end = [event for event in log if event["event"] == "end"][-1]
    result = {
        "recipe": name,
        "command": config["card"]["recipe"].replace(str(out), "OUT"),
        "architecture": config["architecture"],
        "dev": facts(out / "dev.json"),
        "test": facts(out / "test.json"),
        "updates": end["update"],
        "training_seconds": end["seconds"],
        "versions": {"polyseme": polyseme.__version__, **end["versions"], "python": platform.python_version()},
        "machine": {"cpu": processor(), "cores": os.cpu_count(), "system": platform.platform()},
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
