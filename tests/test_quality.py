"""The quality suite's parts: readers, noise, scores, caches, probes, tables; and one run from files to JSON."""

from __future__ import annotations

import json
import lzma
import math
import runpy
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lm_oracle import tiny_language_model
from tiny import HIGHWAY2, published_model

from polyseme.embedder import Embedder
from polyseme.embedding import Embedding
from polyseme.lm.network import Block, LanguageModel
from polyseme.lm.perplexity import evaluate
from polyseme.text.tokenize import tokenizer_for

pytest.importorskip("sklearn", reason="the quality suite needs benchmarks/requirements-quality.txt")
BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from quality import metrics, perplexity, probes, readers, senses, tables, tagger  # noqa: E402
from quality.cache import Cache, Pool, TokenVectors  # noqa: E402
from quality.readers import Mention, SenseMention, Tagged  # noqa: E402
from quality.vectors import AnyCase, FastTextFile, Source, TextFile, static  # noqa: E402

TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])


def write_xz(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(text.encode()))


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of shared data that the readers look into."""
    monkeypatch.setattr(readers, "SHARED", tmp_path)
    return tmp_path


# --- readers


def test_conllu_comes_without_comments_ranges_and_empty_nodes(shared: Path) -> None:
    lines = [
        "# text = 1 dogs don't bark", "1\tdogs\tdog\tNOUN", "2-3\tdon't\t_\t_", "2\tdo\tdo\tAUX", "3\tn't\tnot\tPART",
        "3.1\tever\tever\tADV", "4\t#\t#\tSYM", "", "",
    ]  # fmt: skip
    write_xz(shared / "data/tasks/pos/toy/test.conllu.xz", "\n".join(lines))
    assert readers.tagged("pos", "toy", "test") == [Tagged(("dogs", "do", "n't", "#"), ("NOUN", "AUX", "PART", "SYM"))]


def test_columns_keep_words_that_look_like_comments(shared: Path) -> None:
    text = "-DOCSTART- -X- -X- O\n\n# # B-NP O\n5 CD I-NP B-MONEY\n\n"
    write_xz(shared / "data/tasks/ner/toy/test.conll.xz", text)
    assert readers.tagged("ner", "toy", "test") == [Tagged(("#", "5"), ("O", "B-MONEY"))]


def test_a_set_without_dev_part_gives_a_tenth_of_its_training_part_to_dev(shared: Path) -> None:
    rows = [json.dumps({"label": "a", "text": f"word {number}"}) for number in range(50)]
    write_xz(shared / "data/tasks/topic/trec6/train.jsonl.xz", "\n".join(rows))
    english = tokenizer_for("en")
    train, dev = (readers.labelled_texts("topic", "trec6", split, english) for split in ("train", "dev"))
    assert len(dev) == 5
    assert Counter(text.raw for text in train + dev) == Counter(f"word {number}" for number in range(50))


def test_words_joined_by_underscores_become_words_again(shared: Path) -> None:
    row = {
        "tokens": ["It", "took_place", "there", "_"], "doc": "d1",
        "senses": [{"i": 1, "lemma": "take_place", "synset": "00339934-v"},
                   {"i": 2, "lemma": "there", "synset": "00109151-s"}],
    }  # fmt: skip
    write_xz(shared / "data/tasks/wsd/all_words/toy.jsonl.xz", json.dumps(row))
    words = ("It", "took", "place", "there", "_")
    assert readers.all_words("toy") == [
        ("d1", [
            SenseMention(Mention(words, 1, 3), "take_place.v", "00339934-v"),
            SenseMention(Mention(words, 3, 4), "there.a", "00109151-s"),
        ])
    ]  # fmt: skip


def test_usage_similarity_finds_the_marked_word(shared: Path) -> None:
    cells = ["7", "bank", "n", "money", "n", "the <b> bank </b> of the", "to <b> the money </b> </b>", "4.5", "1.0"]
    write_xz(shared / "data/tasks/similarity_in_context/scws/test.tsv.xz", "\t".join(cells) + "\n")
    (pair,) = readers.usage_similarity()
    assert pair.first == Mention(("the", "bank", "of", "the"), 1, 2)
    assert pair.second == Mention(("to", "the", "money"), 1, 3)
    assert pair.score == 4.5


def test_long_texts_are_cut_and_the_text_stays_in_sentences() -> None:
    text = readers.text_of("One two. " * 150, tokenizer_for("en"))
    assert sum(map(len, text.sentences)) == readers.MAX_TEXT_WORDS
    assert text.sentences[0] == ("One", "two", ".")


# --- the noise

sentences_of_words = st.lists(st.lists(st.text("aB中é9.-", min_size=1, max_size=6), max_size=5).map(tuple), max_size=5)


@given(sentences_of_words, st.floats(0, 1), st.integers(0, 3))
def test_noise_touches_no_more_characters_than_asked_and_no_other_words(
    sentences: list[tuple[str, ...]], rate: float, seed: int
) -> None:
    found = metrics.damaged(sentences, rate, seed)
    assert found == metrics.damaged(sentences, rate, seed)
    assert [len(words) for words in found] == [len(words) for words in sentences]
    pairs = [pair for before, after in zip(sentences, found, strict=True) for pair in zip(before, after, strict=True)]
    letters = sum(len(before) for before, _ in pairs if any(c.isalpha() for c in before))
    assert all(after for _, after in pairs)
    assert all(before == after for before, after in pairs if not any(c.isalpha() for c in before))
    assert sum(before != after for before, after in pairs) <= round(rate * letters)


def test_noise_damages_the_share_of_characters_that_was_asked() -> None:
    words = [tuple("abcdefghij" for _ in range(10)) for _ in range(40)]
    found = metrics.damaged(words, 0.1, seed=5)
    changed = [word for sentence in found for word in sentence if word != "abcdefghij"]
    # 400 of 4,000 characters over 400 words: a word stays whole with probability 0.9 ** 10.
    assert len(changed) / 400 == pytest.approx(1 - 0.9**10, abs=0.06)
    dropped = sum(10 - len(word) for word in changed)
    assert dropped / 400 == pytest.approx(1 / 3, abs=0.08)


# --- scores


def test_entities_by_hand() -> None:
    tags = ["I-PER", "I-PER", "B-PER", "I-LOC", "O", "B-LOC"]
    assert metrics.entities(tags) == {("PER", 0, 2), ("PER", 2, 3), ("LOC", 3, 4), ("LOC", 5, 6)}


@given(st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=4))
def test_entity_f1_is_that_of_seqeval(pairs: list[list[tuple[str, str]]]) -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    gold, said = ([[pair[side] for pair in sentence] for sentence in pairs] for side in (0, 1))
    assert metrics.entity_f1(gold, said) == pytest.approx(seqeval.f1_score(gold, said, zero_division=0))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = zip(*pairs, strict=True)
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert metrics.spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    else:
        assert metrics.spearman(first, second) == 0


def test_the_interval_of_a_share_is_wilsons() -> None:
    scipy = pytest.importorskip("scipy.stats")
    for right, n in ((8, 10), (0, 7), (700, 1400)):
        expected = scipy.binomtest(right, n).proportion_ci(0.95, method="wilson")
        assert metrics.wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = metrics.bootstrap(lambda drawn: float(values[drawn].mean()), len(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


# --- senses


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=12))
def test_no_threshold_is_better_than_the_one_found(pairs: list[tuple[int, bool]]) -> None:
    values = np.asarray([value for value, _ in pairs], dtype=np.float32)
    same = np.asarray([label for _, label in pairs])
    cut, share = senses.threshold(values, same.tolist())
    assert ((values > cut) == same).mean() == pytest.approx(share)
    assert share >= max(((values > cut) == same).mean() for cut in np.arange(-0.5, 7))


def sense(lemma: str, name: str) -> SenseMention:
    return SenseMention(Mention((lemma,), 0, 1), lemma, name)


def test_a_word_takes_the_sense_whose_mean_vector_is_nearest() -> None:
    training = [sense("bank", "money"), sense("bank", "money"), sense("bank", "river"), sense("play", "game")]
    rows = np.asarray([[2, 0], [2, 2], [0, 1], [5, 5]], dtype=np.float32)  # means: (2, 1), (0, 1), (5, 5)
    model = senses.SenseVectors(training, rows)
    asked = [sense("bank", "?")] * 3 + [sense("play", "?"), sense("never", "?")]
    where = np.asarray([[1, 0.6], [1, 3], [0, 0], [-1, 0], [1, 1]], dtype=np.float32)
    # The third vector is as near to both senses of bank: the more frequent one is taken.
    assert model.senses(asked, where) == ["money", "river", "money", "game", None]


def test_vectors_that_are_the_same_in_every_context_give_the_first_sense() -> None:
    rng = np.random.default_rng(1)
    training = [sense("w", name) for name in rng.choice(["a", "b", "c"], 60, p=[0.2, 0.5, 0.3])]
    row = rng.normal(size=(1, 40)).astype(np.float32)
    model = senses.SenseVectors(training, row.repeat(60, axis=0))
    assert model.senses([sense("w", "?")] * 5, row.repeat(5, axis=0)) == ["b"] * 5


# --- vectors and their cache


class Counting:
    """An embedder that counts what it is asked."""

    def __init__(self, inner: Embedder) -> None:
        self.inner, self.asked = inner, 0
        self.width = inner.width

    def embed(self, sentences: Sequence[Sequence[str]]) -> list[Embedding]:
        self.asked += len(sentences)
        return self.inner.embed(sentences)


SENTENCES = [("The", "bank", "raised"), ("its",), ("rates", ".", "river", "bank")]


@pytest.fixture(scope="module")
def tiny_source() -> Source:
    embedder = Counting(Embedder(published_model(), threads=1))
    return Source("tiny", "contextual", embedder, "tiny 1", ("layer 0", "layer 1", "layer 2"), True)


def test_a_data_set_is_embedded_once_and_comes_back_within_half_precision(tiny_source: Source, tmp_path: Path) -> None:
    embedder = tiny_source.embedder
    assert isinstance(embedder, Counting)
    said: list[str] = []
    store = Cache(tmp_path, said.append)
    first = store.tokens(tiny_source, SENTENCES)
    asked = embedder.asked
    again = store.tokens(tiny_source, SENTENCES)
    assert embedder.asked == asked
    assert np.array_equal(first.rows, again.rows)
    expected = np.concatenate([e.layers for e in embedder.inner.embed(SENTENCES)], axis=1).transpose(1, 0, 2)
    assert np.abs(again.rows - expected).max() < 1e-3 * np.abs(expected).max()
    assert again.starts.tolist() == [0, 3, 4, 8]
    store.tokens(tiny_source, SENTENCES[:2])  # other sentences are another entry
    assert embedder.asked == asked + 2
    assert len(said) == 2


def test_a_mention_is_the_mean_of_its_words(tiny_source: Source, tmp_path: Path) -> None:
    found = Cache(tmp_path, lambda _: None).mentions(tiny_source, [Mention(SENTENCES[2], 1, 3)])
    expected = tiny_source.embedder.embed(SENTENCES)[2].layers[:, 1:3].mean(axis=1)
    assert np.abs(found[0] - expected).max() < 1e-3 * np.abs(expected).max()


def test_texts_are_pooled_over_all_their_sentences(tiny_source: Source, tmp_path: Path) -> None:
    texts = [SENTENCES[:2], [], SENTENCES[2:]]
    pools = [Pool("mean"), Pool("max"), Pool("sif", {"The": 1e-3})]
    found = Cache(tmp_path, lambda _: None).texts(tiny_source, texts, pools)
    assert not found[1].any()
    words = np.concatenate([e.layers for e in tiny_source.embedder.embed(texts[0])], axis=1)
    weights = np.asarray([0.5, 1, 1, 1])  # a / (a + p), a = 1e-3
    for number, expected in enumerate(
        [words.mean(axis=1), words.max(axis=1), (words * weights[:, None]).sum(axis=1) / 4]
    ):
        assert np.abs(found[0, number] - expected).max() < 1e-3 * np.abs(words).max()


def test_a_text_file_of_vectors_tries_lower_case_and_gives_zeros_else(tmp_path: Path) -> None:
    for name, head in (("word2vec.txt", "2 3\n"), ("glove.txt", "")):
        path = tmp_path / name
        path.write_text(head + "bank 1 2 3\nBank 4 5 6\n", encoding="utf-8")
        (found,) = TextFile(path).embed([["bank", "Bank", "BANK", "river"]])
        assert found.layers[0].tolist() == [[1, 2, 3], [4, 5, 6], [1, 2, 3], [0, 0, 0]]


def test_a_word_without_a_vector_is_looked_up_in_lower_case(tmp_path: Path) -> None:
    class Known(TextFile):
        def __contains__(self, word: object) -> bool:
            return word in ("bank", "May")

    path = tmp_path / "v.txt"
    path.write_text("bank 1 2\nMay 3 4\nNEVER 5 6\n", encoding="utf-8")
    (found,) = AnyCase(Known(path)).embed([["Bank", "May", "NEVER"]])
    assert found.layers[0].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found.tokens == ("Bank", "May", "NEVER")


def test_a_fasttext_file_has_vectors_for_words_never_seen(tmp_path: Path) -> None:
    fasttext = pytest.importorskip("gensim.models.fasttext")
    texts = [["the", "bank", "of", "the", "river"]] * 20
    model = fasttext.FastText(texts, vector_size=8, min_count=1, bucket=1000, epochs=1, workers=1, seed=1)
    fasttext.save_facebook_model(model, str(tmp_path / "v.bin"))
    source = static("fasttext", tmp_path / "v.bin")
    assert isinstance(source.embedder, FastTextFile)
    assert source.subwords
    (found,) = source.embedder.embed([["bank", "banks"]])
    assert np.allclose(found.layers[0, 0], model.wv["bank"], atol=1e-6)
    assert np.allclose(found.layers[0, 1], model.wv["banks"], atol=1e-6)
    assert found.layers[0, 1].any()


# --- probes and tagger


def test_a_window_holds_the_neighbours_within_the_sentence() -> None:
    vectors = TokenVectors(np.arange(1, 6, dtype=np.float32).reshape(5, 1, 1), np.asarray([0, 3, 5]))
    assert probes.windows(vectors, 2).tolist() == [
        [0, 0, 1, 2, 3], [0, 1, 2, 3, 0], [1, 2, 3, 0, 0], [0, 0, 4, 5, 0], [0, 4, 5, 0, 0],
    ]  # fmt: skip


def test_a_probe_does_not_depend_on_the_scale_of_its_features() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    labels = ["yes" if row[0] + 0.5 * row[1] > 0 else "no" for row in rows]
    scale = np.asarray([1, 1000, 0.01, 7], dtype=np.float32)
    found = []
    for factor in (np.ones(4, dtype=np.float32), scale):
        train, dev = (probes.Examples(rows[part] * factor, labels[part]) for part in (slice(0, 200), slice(200, 300)))
        probe, share = probes.Probe.fitted(train, dev)
        assert probe.accuracy(dev) == share > 0.9
        found.append(probe.labels(dev.rows))
    assert found[0] == found[1]


def part(rows: np.ndarray, tags: list[tuple[str, ...]], names: list[str]) -> tagger.Part:
    starts = np.concatenate([[0], np.cumsum([len(each) for each in tags])])
    ids = np.asarray([names.index(tag) for each in tags for tag in each])
    return tagger.Part(TokenVectors(rows, starts), tags, ids)


def neighbour_task(n: int, seed: int) -> tagger.Part:
    """A word's tag is the sign of the first feature, in layer 1 only, of the word before it."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 7, n)
    rows = rng.normal(size=(int(lengths.sum()), 2, 3)).astype(np.float32)
    tags = []
    at = 0
    for length in lengths:
        signs = ["+" if value > 0 else "-" for value in rows[at : at + length, 1, 0]]
        tags.append(("+", *signs[:-1]))
        at += length
    return part(rows, tags, ["+", "-"])


def test_the_tagger_reads_neighbours_and_its_mix_finds_the_layer_that_knows() -> None:
    config = tagger.TaggerConfig(cells=12, dropout=0.0, learning_rate=0.02, max_epochs=12)
    train, dev = neighbour_task(200, 0), neighbour_task(60, 1)
    trained = tagger.train(train, dev, ["+", "-"], metrics.accuracy, config, seed=0)
    assert metrics.accuracy(dev.tags, trained.tag(dev)) > 0.9
    weights = trained.tagger.mix.weights().tolist()
    assert weights[1] > weights[0]
    # Padding: a sentence alone gets the tags that it gets in a batch.
    assert trained.tag(dev, batch_sentences=1) == trained.tag(dev, batch_sentences=60)


def test_the_scale_of_the_vectors_does_not_change_the_tagger() -> None:
    config = tagger.TaggerConfig(cells=4, max_epochs=2)
    found = []
    for factor in (1.0, 64.0):
        train = neighbour_task(30, 0)
        scaled = part(train.vectors.rows * np.float32(factor), list(train.tags), ["+", "-"])
        trained = tagger.train(scaled, scaled, ["+", "-"], metrics.accuracy, config, seed=3)
        found.append(trained.tagger.state_dict())
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=1e-5), name


# --- perplexity


@pytest.mark.parametrize("kind", ["characters", "transformer"])
def test_perplexity_is_that_of_evaluate_and_documents_add_up_to_it(kind: str) -> None:
    lm = LanguageModel(tiny_language_model(kind), threads=1)
    documents = [[("The", "bank"), ("river",)]] * 7 + [[("raised", "never", "its"), ("rates", ".")]] * 5
    sentences = [words for document in documents for words in document]
    found = perplexity.of_documents(lm, documents)
    expected = evaluate(lm, sentences)
    assert found["targets"] == expected.targets
    assert found["perplexity"]["mean"] == pytest.approx(expected.perplexity.mean, rel=1e-6)
    assert found["perplexity"]["backward"] == pytest.approx(expected.perplexity.backward, rel=1e-6)
    assert found["unknown_share"] == expected.unknown_share > 0
    low, high = found["interval"]
    assert low < expected.perplexity.mean < high
    assert (found["drawn"], found["units"]) == ("documents", 12)


def test_the_losses_of_units_add_up_to_the_whole() -> None:
    lm = LanguageModel(tiny_language_model(), threads=1)
    block = Block.of(lm, [("The", "bank"), (), ("river", "rates", ".")])
    losses, _ = lm.directions.carried(block.text, None)
    sums = losses.sums(block.n_targets)
    loss, targets = perplexity.per_unit(block, losses, np.asarray([0, 0, 1]))
    assert targets.tolist() == [4, 4]
    assert loss.sum() == pytest.approx((sums.forward + sums.backward) / 2)
    alone = Block.of(lm, [("The", "bank"), ()])
    first = lm.directions.carried(alone.text, None)[0].sums(alone.n_targets)
    assert loss[0] == pytest.approx((first.forward + first.backward) / 2, rel=1e-5)


# --- tables


def row(vectors: str, metric: str, value: float, view: str = "", chosen: bool = True) -> dict[str, object]:
    return {
        "data": "toy", "vectors": vectors, "view": view, "metric": metric, "value": value, "values": [], "n": 10,
        "interval": None, "deviation": 0.01, "chosen": chosen, "facts": {},
    }  # fmt: skip


def test_the_tables_show_error_reduction_and_loss_as_worked_out_by_hand() -> None:
    scores = [
        row("elmo", "accuracy", 0.95), row("w2v", "accuracy", 0.90), row("ft", "accuracy", 0.92),
        row("elmo", "accuracy, damaged words", 0.85), row("w2v", "accuracy, damaged words", 0.70),
        row("ft", "accuracy, damaged words", 0.84),
    ]  # fmt: skip
    layers = [row("elmo", "accuracy", 0.5 + n / 10, f"layer {n}", chosen=n == 1) for n in range(3)]
    report = {
        "command": "python", "tasks": {"taggers": {"data": {}, "scores": scores},
                                       "tag_probes": {"data": {}, "scores": layers}},
        "vectors": [{"name": "elmo", "kind": "contextual", "subwords": True},
                    {"name": "w2v", "kind": "static", "subwords": False},
                    {"name": "ft", "kind": "static", "subwords": True}],
    }  # fmt: skip
    # 8 % of fastText's words are wrong and 5 % of ELMo's; ELMo loses 10 points where word2vec loses 20.
    assert tables.error_reductions(report, "elmo", ["w2v", "ft"]) == {"toy": ("ft", pytest.approx(0.375))}
    assert tables.losses_of_accuracy(report, "elmo", ["w2v"]) == {
        "BiLSTM tagger, toy": (pytest.approx(0.5), pytest.approx(0.5))
    }
    assert tables.above_static(report, "elmo", ["w2v", "ft"]) == (["BiLSTM tagger (toy)"], [])
    text = tables.tables(report)
    assert "| BiLSTM tagger | toy | accuracy | **95.0 ± 1.0** | 90.0 ± 1.0 | 92.0 ± 1.0 |" in text
    assert "| linear probe of words | toy | accuracy | 50.0 ± 1.0 | 60.0 ± 1.0 | **70.0 ± 1.0** |" in text
    assert "| BiLSTM tagger | toy | accuracy | -10.0 (85.0) | -20.0 (70.0) | -8.0 (84.0) |" in text
    assert "| the mean of these | 20 % or more | 37.5 % |" in text


# --- the whole


def wic_line(label: str, first: str, second: str) -> str:
    places = [text.split().index("bank") for text in (first, second)]
    return json.dumps({"word": "bank", "i1": places[0], "i2": places[1], "sentence1": first, "sentence2": second,
                       "label": label})  # fmt: skip


def test_a_run_writes_its_results_and_a_resumed_one_leaves_them_alone(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [wic_line("T", "The bank raised its rates", "its bank rates"), wic_line("F", "river bank", "bank its .")]
    for split in ("dev", "test"):
        write_xz(shared / f"data/tasks/similarity_in_context/wic/{split}.jsonl.xz", "\n".join(lines) + "\n")
    (shared / "v.txt").write_text("bank 1 0\nriver 0 1\n", encoding="utf-8")
    out = shared / "results" / "quality.json"
    command = [
        "quality.py", "--model", str(HIGHWAY2), "--static", f"toy={shared / 'v.txt'}", "--tasks", "wic",
        "--cache", str(shared / "cache"), "--out", str(out),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    main = runpy.run_path(str(BENCHMARKS / "quality.py"))["main"]
    main()
    report = json.loads(out.read_text(encoding="utf-8"))
    assert [about["name"] for about in report["vectors"]] == ["highway2", "toy"]
    scores = report["tasks"]["wic"]["scores"]
    assert {score["view"] for score in scores if score["vectors"] == "highway2"} == {
        "layer 0", "layer 1", "layer 2", "average"
    }  # fmt: skip
    assert Counter(score["vectors"] for score in scores if score["chosen"]) == {"highway2": 1, "toy": 1}
    assert set(scores[0]) == {
        "data", "vectors", "view", "metric", "value", "values", "interval", "n", "chosen", "facts", "deviation"
    }  # fmt: skip
    assert "word in context" in capsys.readouterr().out

    facts = {"similarity": {"simlex": {"spearman": 0.3, "pairs": 999, "coverage": 0.9}}, "analogy": {}}
    (shared / "words.json").write_text(json.dumps(facts), encoding="utf-8")
    report["tasks"]["wic"]["seconds"] = -1  # what a second measurement could not give
    out.write_text(json.dumps(report), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [*command, "--resume", "--words", f"toy={shared / 'words.json'}"])
    main()
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["tasks"]["wic"]["seconds"] == -1
    (joined,) = report["tasks"]["words"]["scores"]
    assert (joined["vectors"], joined["data"], joined["metric"], joined["value"]) == ("toy", "simlex", "Spearman", 0.3)
    monkeypatch.setattr(sys, "argv", [*command, "--resume", "--seeds", "9"])
    with pytest.raises(SystemExit, match="other options"):
        main()
