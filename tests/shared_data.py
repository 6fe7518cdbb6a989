"""Where the data is that the repository does not hold."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_folder() -> Path:
    """Data too large, or not ours, to keep in the repository: $POLYSEME_SHARED, or `shared` beside the checkout."""
    return Path(os.environ.get("POLYSEME_SHARED") or REPOSITORY.parent / "shared")
