"""How this process uses the machine while it trains; only a program may decide that, never the library."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

# malloc.h of the GNU C library
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def settle_in() -> None:
    """Call before torch is imported.

    Memory that was freed is kept for the next window instead of being given back and asked for again, page by page: a
    fifth of the time of training a small model on a CPU. A thread that waits for another spins for microseconds, then
    sleeps: longer spinning halves the speed on a machine that does other work too, and with none a quiet one loses a
    fifth (docs/log.md). oneDNN keeps the code it made for a shape of product, and each batch has shapes of its own: a
    thousand of them are a gigabyte, and few are met again.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library than GNU's does without
            library = ctypes.CDLL("libc.so.6")
            library.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            library.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
