"""Write what `polyseme VERB --help` prints into the blocks of docs/*.md that follow `<!-- help: VERB -->`.

    python docs/quote_help.py

tests/test_docs.py fails while a quoted block differs from what the program prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

# Plain text of one width, whatever the terminal and the locale.
PLAIN = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb", "PYTHONUTF8": "1"}


def verbs() -> list[str]:
    """The verbs of the program; those of a group of verbs as two words, beside the group itself."""
    from typer.main import get_group

    from polyseme.cli.main import app

    found = get_group(app).commands
    inner = [f"{name} {verb}" for name, each in found.items() for verb in getattr(each, "commands", ())]
    return sorted([*found, *inner])


@cache
def help_of(verb: str) -> str:
    """What `polyseme VERB --help` prints, without spaces at line ends."""
    command = [sys.executable, "-m", "polyseme", *verb.split(), "--help"]
    printed = subprocess.run(
        command, capture_output=True, encoding="utf-8", env={**os.environ, **PLAIN}, check=True
    ).stdout
    return "\n".join(line.rstrip() for line in printed.strip().splitlines()) + "\n"


def main() -> None:
    for page in sorted(Path(__file__).parent.glob("*.md")):
        old = page.read_text(encoding="utf-8")
        new = re.sub(
            r"(<!-- help: ([\w ]+) -->\s*```text\n).*?(^```$)",
            lambda found: found[1] + help_of(found[2]) + found[3],
            old,
            flags=re.M | re.S,
        )
        if new != old:
            page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
