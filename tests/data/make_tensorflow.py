"""Make tiny bilm-tf training checkpoints, and what simple_elmo and TensorFlow compute with them.

    pip install: see benchmarks/requirements-simple-elmo.txt   (simple_elmo 0.9.2, tensorflow 2.21.0, tf_keras 2.21.0)
    python tests/data/make_tensorflow.py tests/data            (after make_allennlp.py: it caches words of highway2)

writes OUT/tensorflow/{highway,plain}/, OUT/allennlp-token/{trained,cached}/ and OUT/allennlp-char/plain/. The package's
own `train` writes each checkpoint (two steps, so with Adagrad's slots, global_step and train_perplexity); then every
variable gets random values from SEED and the same Saver writes it again. The vectors come from the HDF5 file that the
package's own `dump_weights` makes, the logits from its language model.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # Keras 3 has no tf.compat.v1.nn.rnn_cell
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import make_common as common
import numpy as np
import tensorflow as tf

tf.compat.v1.disable_resource_variables()  # the stateful graph relies on the old order of reads and assignments
tf.compat.v1.disable_eager_execution()

from simple_elmo import ElmoModel  # noqa: E402
from simple_elmo.data import BidirectionalLMDataset, TokenBatcher  # noqa: E402
from simple_elmo.model import BidirectionalLanguageModel, dump_token_embeddings  # noqa: E402
from simple_elmo.training import dump_weights, load_vocab, train  # noqa: E402

SEED = 20180215
MAX_BATCH = 8
LSTM = {"cell_clip": 1.5, "proj_clip": 0.7, "dim": 10, "n_layers": 2, "projection_dim": 6, "use_skip_connections": True}
CHARS = {"filters": [[1, 4], [2, 6]], "embedding": {"dim": 3}, "n_characters": 261, "max_characters_per_token": 50}

# plain leaves out all that bilm-tf lets one leave out: highway, both projections (dim == projection_dim == number of
# filters) and residual connections. `train` writes n_characters 261, `ElmoModel.load` wants 262; the file has 261 rows.
MODELS: dict[str, dict] = {
    "highway": {"char_cnn": CHARS | {"activation": "relu", "n_highway": 1}, "lstm": LSTM},
    "plain": {
        "char_cnn": CHARS | {"activation": "tanh", "max_characters_per_token": 20},
        "lstm": LSTM | {"dim": 10, "projection_dim": 10, "use_skip_connections": False},
    },
    "trained": {"lstm": LSTM},  # words in, through a table that is trained with the rest
}
TRAINING = {
    "bidirectional": True,
    "dropout": 0.1,
    "n_epochs": 1,
    "batch_size": 2,
    "unroll_steps": 3,
    "n_train_tokens": 12,
}
SAMPLING = {"all_clip_norm_val": 10.0, "n_negative_samples_batch": 8}


@contextlib.contextmanager
def session() -> Iterator[tf.compat.v1.Session]:
    tf.compat.v1.reset_default_graph()
    with tf.compat.v1.Session() as s:
        yield s


def vocabulary() -> list[str]:
    """By falling count, as training needs it. The words of other sentences stay unknown."""
    counts = Counter(w for i in (0, 1, 3, 4) for w in common.SENTENCES[i])
    return ["<S>", "</S>", "<UNK>", *sorted(counts, key=lambda w: (-counts[w], w))]


def train_checkpoint(name: str, folder: Path, scratch: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8", newline="\n")
    text = scratch / "train.txt"
    text.write_text("".join(" ".join(s) + "\n" for s in common.SENTENCES), encoding="utf-8")
    options = TRAINING | SAMPLING | {"n_tokens_vocab": len(vocabulary())} | MODELS[name]
    max_characters = options.get("char_cnn", {}).get("max_characters_per_token")
    with session():
        vocab = load_vocab(str(folder / "vocab.txt"), max_characters)
        train(options, BidirectionalLMDataset(str(text), vocab), 1, str(scratch), str(scratch / "log"))
    (folder / "options.json").write_bytes((scratch / "options.json").read_bytes())

    latest = tf.train.latest_checkpoint(str(scratch))
    with session() as s:
        saver = tf.compat.v1.train.import_meta_graph(latest + ".meta", clear_devices=True)
        saver.restore(s, latest)
        for v in tf.compat.v1.global_variables():
            v.load(random_value(v.op.name, v.shape.as_list(), s.run(v), rng), s)
        saver.save(s, str(folder / Path(latest).name), write_meta_graph=False)


def random_value(name: str, shape: list[int], old: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if name in ("global_step", "train_perplexity"):
        return old
    if name.endswith("/Adagrad"):
        return 1 + rng.random(shape)
    if name.endswith(("bias", "softmax/b")) or "/b_" in name:
        return rng.standard_normal(shape) * 0.5
    scale = 1.0 if name.endswith(("char_embed", "embedding", "softmax/W")) else 0.4
    return rng.standard_normal(shape) * scale


def shard(folder: Path) -> None:
    """Rewrite the checkpoint as two data files, as Saver(sharded=True) does when the variables sit on two devices."""
    latest = Path(tf.train.latest_checkpoint(str(folder)))
    reader = tf.train.load_checkpoint(str(latest))
    names = sorted(reader.get_variable_to_shape_map())
    values = {n: reader.get_tensor(n) for n in names}
    for file in folder.glob(latest.name + ".*"):
        file.unlink()
    with session() as s, tempfile.TemporaryDirectory() as parts:
        halves = [f"{parts}/half{i}" for i in range(2)]
        for i, half in enumerate(halves):
            part = {n: values[n] for n in names[i::2]}
            save = tf.raw_ops.SaveV2(
                prefix=half, tensor_names=[*part], shape_and_slices=[""] * len(part), tensors=[*part.values()]
            )
            s.run(save)
        s.run(tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=halves, destination_prefix=str(latest)))


def hand_over(folder: Path, scratch: Path) -> str:
    """A folder that `ElmoModel.load` accepts: the HDF5 file of `dump_weights`, and 262 in options.json."""
    out = scratch / "hdf5"
    out.mkdir()
    with session():
        dump_weights(str(folder), str(out / "model.hdf5"))
    options = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    options.get("char_cnn", {})["n_characters"] = 262
    (out / "options.json").write_text(json.dumps(options), encoding="utf-8")
    (out / "vocab.txt").write_bytes((folder / "vocab.txt").read_bytes())
    return str(out)


def run_calls(s: tf.compat.v1.Session, ids: tf.Tensor, layers: tf.Tensor, batcher) -> dict[str, list[np.ndarray]]:
    """All sentences from zero (initializing the variables sets the states to zero), then the calls that carry."""

    def call(rows: list[int]) -> list[np.ndarray]:
        sentences = [common.SENTENCES[i] for i in rows]
        out = s.run(layers, {ids: batcher.batch_sentences(sentences)})
        return [out[i, :, : len(x)] for i, x in enumerate(sentences)]

    s.run(tf.compat.v1.global_variables_initializer())
    together = call(list(range(len(common.SENTENCES))))
    s.run(tf.compat.v1.global_variables_initializer())
    return {"zero": together, "carry": [a for rows in common.CARRY_CALLS for a in call(rows)]}


def expect_vectors(directory: str) -> dict[str, list[np.ndarray]]:
    with session() as s:
        elmo = ElmoModel()
        elmo.load(directory, max_batch_size=MAX_BATCH)
        arrays = run_calls(s, elmo.sentence_character_ids, elmo.sentence_embeddings_op["lm_embeddings"], elmo.batcher)
        dense = elmo.get_elmo_vectors(common.SENTENCES, warmup=False, layers="all")  # its own session: from zero
        if any(np.abs(dense[i, :, : a.shape[1]] - a).max() > 1e-6 for i, a in enumerate(arrays["zero"])):
            raise SystemExit("get_elmo_vectors says something else")
        return arrays


def expect_token_vectors(options: Path, weights: Path, table: Path, vocab: Path) -> dict[str, list[np.ndarray]]:
    with session() as s:
        ids = tf.compat.v1.placeholder("int32", shape=(None, None))
        model = BidirectionalLanguageModel(
            str(options), str(weights), use_character_inputs=False, embedding_weight_file=str(table),
            max_batch_size=MAX_BATCH,
        )  # fmt: skip
        return run_calls(s, ids, model(ids)["lm_embeddings"], TokenBatcher(str(vocab)))


def expect_logits(folder: Path) -> dict[str, list[np.ndarray]]:
    """Softmax scores (T + 1, V) of each sentence from zero state. Forward reads <S> w1..wn and scores w1..wn </S>;
    backward reads </S> wn..w1 and scores wn..w1 <S>; both rows are in reading order."""
    with session():
        elmo = ElmoModel()
        elmo.load(str(folder), max_batch_size=1, full=True)
        model, out = elmo.model, {"logits_forward": [], "logits_backward": []}
        for sentence in common.SENTENCES:
            streams = [
                elmo.vocab.encode_chars(sentence, split=False),
                elmo.vocab.encode_chars(sentence[::-1], reverse=True, split=False),
            ]
            states, steps = elmo.init_state_values, []
            for t in range(len(sentence) + 1):
                feed = dict(zip(elmo.init_state_tensors, states, strict=True))
                feed[model.tokens_characters] = streams[0][None, None, t]
                feed[model.tokens_characters_reverse] = streams[1][None, None, t]
                states, scores = elmo.session.run([elmo.final_state_tensors, model.output_scores], feed)
                steps.append(np.stack(scores))
            both = np.concatenate(steps, axis=1)
            out["logits_forward"].append(both[0])
            out["logits_backward"].append(both[1])
        elmo.session.close()
        return out


def main(root: Path) -> None:
    rng = np.random.default_rng(SEED)
    about = {
        "computed_by": "simple_elmo, zero state and carried state, no warm-up",
        "versions": common.versions("simple_elmo", "tensorflow", "tf_keras", "numpy", "h5py"),
        "sentences": common.SENTENCES,
        "carry_calls": common.CARRY_CALLS,
    }
    for name in ("highway", "plain"):
        folder = root / "tensorflow" / name
        with tempfile.TemporaryDirectory() as temporary:
            train_checkpoint(name, folder, Path(temporary), rng)
            if name == "plain":
                shard(folder)
            arrays = expect_logits(folder) | expect_vectors(hand_over(folder, Path(temporary)))
            if name == "plain":  # AllenNLP cannot read such a file, so it is worth keeping
                dumped, kept = Path(temporary) / "hdf5", root / "allennlp-char" / name
                kept.mkdir(exist_ok=True)
                (kept / "weights.hdf5").write_bytes((dumped / "model.hdf5").read_bytes())
                (kept / "options.json").write_bytes((dumped / "options.json").read_bytes())
        if name == "plain":  # small on purpose
            del arrays["carry"]
        common.save_expected(folder, arrays, about)
        # What Saver writes depends on how it was called: a bare name, or the training machine's own folder.
        where = {"highway": "model.ckpt-2", "plain": "/no/such/folder/model.ckpt-2"}[name]
        text = f'model_checkpoint_path: "{where}"\nall_model_checkpoint_paths: "{where}"\n'
        (folder / "checkpoint").write_text(text, encoding="utf-8")

    tokens = root / "allennlp-token"
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        train_checkpoint("trained", scratch / "words", scratch, rng)
        made, folder = Path(hand_over(scratch / "words", scratch)), tokens / "trained"
        folder.mkdir(parents=True, exist_ok=True)
        for source, target in (
            ("options.json", "options.json"),
            ("vocab.txt", "vocab.txt"),
            ("model.hdf5", "weights.hdf5"),
        ):
            (folder / target).write_bytes((made / source).read_bytes())
    files = folder / "options.json", folder / "weights.hdf5", folder / "weights.hdf5", folder / "vocab.txt"
    common.save_expected(folder, expect_token_vectors(*files), about)

    folder, source = tokens / "cached", root / "allennlp-char" / "highway2"
    folder.mkdir(parents=True, exist_ok=True)
    vocab, table = folder / "vocab.txt", folder / "token_embeddings.hdf5"
    vocab.write_text("\n".join(vocabulary()) + "\n", encoding="utf-8", newline="\n")
    with session():
        dump_token_embeddings(str(vocab), str(source / "options.json"), str(source / "weights.hdf5"), str(table))
    arrays = expect_token_vectors(source / "options.json", source / "weights.hdf5", table, vocab)
    del arrays["carry"]  # small on purpose
    common.save_expected(folder, arrays, about | {"model": "allennlp-char/highway2"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
