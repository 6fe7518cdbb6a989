"""Ask pip what an install of Polyseme with these extras would bring; refuse packages that break the torch beside them.

    python .ci/resolve.py            every extra of pyproject.toml at once
    python .ci/resolve.py data dev   these

Only metadata is fetched; nothing is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

# They want a torch of their own; a stray torchvision also breaks `import torchmetrics`.
FORBIDDEN = {"torchvision", "torchaudio", "litdata", "mosaicml", "mosaicml-streaming", "lightning", "pytorch-lightning"}


def resolved(extras: list[str]) -> dict[str, str]:
    """Name -> version of everything that `pip install polyseme[extras]` would put on an empty machine."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--constraint", "constraints.txt", "--report", str(report), f".[{','.join(extras)}]"]
        subprocess.run(command, check=True)
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {item["metadata"]["name"].lower(): item["metadata"]["version"] for item in installs}


def main(extras: list[str]) -> int:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = resolved(extras or list(project["optional-dependencies"]))
    bad = sorted(FORBIDDEN & found.keys())
    sys.stdout.write(f"{len(found)} packages, torch {found['torch']}, forbidden: {', '.join(bad) or 'none'}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
