"""An earlier ELMo system as a process: reads one JSON request a line, answers with the seconds it took.

Runs in that system's own environment (see requirements-*.txt), so it imports nothing of Polyseme.

    python worker.py allennlp|simple_elmo FOLDER THREADS      # FOLDER holds options.json and weights.hdf5
    {"sentences": [[...], ...], "batch": 32}  ->  {"wall": 1.2, "cpu": 1.1}
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path


def allennlp(folder: Path, threads: int):
    import torch

    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "data"))
    from make_common import prepare_allennlp

    prepare_allennlp()
    from allennlp.modules.elmo import Elmo, batch_to_ids

    torch.set_num_threads(threads)
    elmo = Elmo(str(folder / "options.json"), str(folder / "weights.hdf5"), 1, dropout=0.0).eval()

    def embed(batch):
        with torch.no_grad():
            return elmo(batch_to_ids(batch))["elmo_representations"][0].numpy()

    return embed


def simple_elmo(folder: Path, threads: int):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.compat.v1.disable_resource_variables()
    from simple_elmo import ElmoModel
    from simple_elmo.elmo import weight_layers

    here = Path(tempfile.mkdtemp())  # simple_elmo wants these two names and nothing else
    shutil.copy(folder / "options.json", here / "options.json")
    (here / "model.hdf5").symlink_to(folder / "weights.hdf5")
    model = ElmoModel()
    model.load(str(here), max_batch_size=32)
    # Without a session of ours every call would build the graph anew, which is no fair comparison.
    configured = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
    session = tf.compat.v1.Session(config=configured)
    with session.as_default():
        model.elmo_sentence_input = weight_layers("input", model.sentence_embeddings_op, use_layers="average")
        session.run(tf.compat.v1.global_variables_initializer())

    def embed(batch):
        return model.get_elmo_vectors(batch, warmup=False, layers="average", session=session)

    return embed


def main() -> None:
    system, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the system prints goes to stderr
    embed = {"allennlp": allennlp, "simple_elmo": simple_elmo}[system](folder, threads)
    embed([["Warm", "up", "."]] * 32)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        sentences, size = request["sentences"], request["batch"]
        wall, cpu = time.perf_counter(), time.process_time()
        for at in range(0, len(sentences), size):
            embed(sentences[at : at + size])
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(took), file=answers, flush=True)


if __name__ == "__main__":
    main()
