"""`python quick_polyseme.py train ...`: the program with a preset `tiny` that is tiny indeed, and a short trial.

With $QUICK_PIDS, each process writes its number into a file there, named by its rank.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

import alice

from polyseme.cli.main import run
from polyseme.training import config, plan

if __name__ == "__main__":
    torch.set_num_threads(1)
    plan.TRIAL_SECONDS = 0.1
    config.SIZES["tiny"] = alice.LSTM
    if folder := os.environ.get("QUICK_PIDS"):
        Path(folder, os.environ.get("RANK", "0")).write_text(str(os.getpid()), encoding="utf-8")
    run()
