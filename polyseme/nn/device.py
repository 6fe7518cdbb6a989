"""Names of devices: "cpu", "cuda:1", "mps", and "auto" for the fastest one of this machine."""

from __future__ import annotations

import torch

from polyseme.errors import OptionError


def device_named(name: str) -> torch.device:
    """Raises `OptionError` for a device that torch does not know or this machine does not have."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device {name!r} cannot be used here: {error}") from error
    return device
