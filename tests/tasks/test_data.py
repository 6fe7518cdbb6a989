"""Labelled texts, tagged words: what is read, and the one sentence about what cannot be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from polyseme.errors import InputError, OptionError
from polyseme.tasks.conll import TagColumns, read_tagged
from polyseme.tasks.data import Place, Text, TextColumns, read_texts
from polyseme.tasks.labels import check_known, label_counts, label_set, likely_slips, majority_accuracy, split_off

ROWS = [("a fine film", "good"), ("dull, and\nlong", "bad"), ('"quoted"', "good")]


def text(words: str, *labels: str, line: int = 1) -> Text:
    return Text((words,), labels, Place("train.csv", line))


def written(path: Path, contents: str) -> list[Path]:
    path.write_text(contents, encoding="utf-8")
    return [path]


def test_the_same_texts_come_from_jsonl_csv_and_compressed_files(awkward_path: Path) -> None:
    lines = "".join(json.dumps({"n": 1, "review": words, "stars": label}) + "\n\n" for words, label in ROWS)
    table = 'stars,review\ngood,a fine film\nbad,"dull, and\nlong"\ngood,"""quoted"""\n'
    columns = TextColumns(text="review", label="stars")
    (awkward_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    json_texts = read_texts([awkward_path / "a.jsonl.gz"], columns)
    csv_texts = read_texts(written(awkward_path / "a.csv", table), columns)
    for found in (json_texts, csv_texts):
        assert [(each.texts[0], each.label) for each in found] == ROWS
    assert [each.place.line for each in json_texts] == [1, 3, 5]
    assert [each.place.line for each in csv_texts] == [2, 3, 5]


def test_pairs_and_several_labels_are_read(tmp_path: Path) -> None:
    rows = '{"a": "x", "b": "y", "label": ["p", "q"]}\n{"a": "x", "b": "z", "label": []}\n'
    found = read_texts(written(tmp_path / "a.jsonl", rows), TextColumns("a", "b", multi_label=True))
    assert [(each.texts, each.labels) for each in found] == [(("x", "y"), ("p", "q")), (("x", "z"), ())]
    (one,) = read_texts(
        written(tmp_path / "a.tsv", "text\tlabel\nx\tp; q\n"), TextColumns(multi_label=True, separator=";")
    )
    assert one.labels == ("p", "q")


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("a.csv", "text,label\nfine,good\n   ,bad\n", r"a\.csv, line 3: the text in 'text' is empty"),
        ("a.csv", "text,label\nfine,good\ndull\n", r"a\.csv, line 3: 1 fields where the header has 2"),
        ("a.csv", "text,label\nfine, \n", r"a\.csv, line 2: the label in 'label' is empty"),
        ("a.tsv", "texts\tlabel\nfine\tgood\n", r"a\.tsv, line 1: no column 'text'; the columns are: 'texts', 'label'"),
        ("a.jsonl", '{"text": "fine", "label": "a"}\n{"text": "b"}\n', r"a\.jsonl, line 2: no column 'label'"),
        ("a.jsonl", '{"text": "fine", "label": ["a"]}\n', r"line 1: 'label' holds a list; say --multi-label"),
        ("a.jsonl", '{"text": 3, "label": "a"}\n', r"line 1: 'text' holds 3, which is no text"),
        ("a.jsonl", '{"text": "fine", "label"\n', r"a\.jsonl, line 1: not JSON"),
        ("a.jsonl", json.dumps({"text": "w " * 50_000, "label": "a"}), r"line 1: a text of 100,000 characters"),
        ("a.txt", "fine\n", r"a\.txt: plain text has no columns"),
        ("a.csv", "", r"no text in .*a\.csv"),
    ],
)
def test_what_cannot_be_learned_from_is_named_with_file_and_line(
    tmp_path: Path, name: str, contents: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_texts(written(tmp_path / name, contents))


def test_without_labels_plain_text_is_a_text_a_line(tmp_path: Path) -> None:
    found = read_texts(written(tmp_path / "a.txt", "one\n\ntwo words\n"), TextColumns(label=None))
    assert [(each.texts, each.labels, each.place.line) for each in found] == [
        (("one",), (), 1),
        (("two words",), (), 3),
    ]


# --- labels


def test_counts_and_the_majority_baseline_are_those_of_arithmetic() -> None:
    train = [text("a", "x"), text("b", "x"), text("c", "y")]
    assert label_counts(train) == {"x": 2, "y": 1}
    assert majority_accuracy(train, [text("d", "x"), text("e", "y"), text("f", "y"), text("g", "x")]) == 0.5


def test_one_class_and_an_unknown_label_are_errors_that_name_the_line() -> None:
    with pytest.raises(InputError, match=r"train\.csv, line 7: all 2 texts .* one label \('x'\)"):
        label_set([text("a", "x", line=7), text("b", "x", line=8)])
    with pytest.raises(InputError, match=r"train\.csv, line 4: the label 'postive' .* did you mean 'positive'"):
        check_known([text("a", "negative"), text("b", "postive", line=4)], ("negative", "positive"))


def test_a_rare_label_that_looks_like_a_frequent_one_is_told() -> None:
    places = [("positive", Place("a", n)) for n in range(30)] + [
        ("postive", Place("a", 40)),
        ("Positive", Place("a", 41)),
    ]
    slips = likely_slips([*places, ("neutral", Place("a", 42)), ("1", Place("a", 43)), ("2", Place("a", 44))])
    assert [slip.partition(" comes")[0] for slip in slips] == [
        "a, line 41: the label 'Positive'",
        "a, line 40: the label 'postive'",
    ]


def test_a_dev_part_has_the_share_of_each_label_and_no_text_of_train() -> None:
    texts = [text(f"t{n // 2}", "xyz"[n // 2 % 10 // 4], line=n) for n in range(400)] + [text("only", "rare")]
    train, dev = split_off(texts, 0.1, 1, stratum=lambda each: each.labels, content=lambda each: each.texts)
    assert label_counts(dev) == {"x": 16, "y": 16, "z": 8}
    assert {each.texts for each in train}.isdisjoint(each.texts for each in dev)
    assert sorted(train + dev, key=lambda each: each.place.line) == sorted(texts, key=lambda each: each.place.line)
    again = split_off(texts, 0.1, 1, stratum=lambda each: each.labels, content=lambda each: each.texts)
    other = split_off(texts, 0.1, 2, stratum=lambda each: each.labels, content=lambda each: each.texts)
    assert (train, dev) == again != other
    with pytest.raises(InputError, match="too few"):
        split_off(texts[:2], 0.1, 1, stratum=lambda each: each.labels, content=lambda each: each.texts)


# --- tagged words

COLUMNS = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\nBlackburn NNP I-PER\n"
CONLLU = (
    "# text = vámonos al mar\n1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
    + "1\tvamos\t_\tVERB\tV\t_\t_\t_\t_\t_\n2\tnos\t_\tPRON\tP\t_\t_\t_\t_\t_\n"
    + "2.1\tx\t_\tX\tX\t_\t_\t_\t_\t_\n3\tal\t_\tADP\tA\t_\t_\t_\t_\t_\n"
)  # fmt: skip


def test_columns_and_conllu_are_read_with_the_line_of_each_word(tmp_path: Path) -> None:
    data = read_tagged(written(tmp_path / "a.conll", COLUMNS))
    assert [(s.words, s.tags, s.lines) for s in data.sentences] == [
        (("EU", "rejects"), ("B-ORG", "O"), (3, 4)),
        (("Peter", "Blackburn"), ("B-PER", "I-PER"), (7, 8)),
    ]
    assert data.scheme == "bio"
    (sentence,) = read_tagged(written(tmp_path / "a.conllu", CONLLU)).sentences
    assert (sentence.words, sentence.tags) == (("vamos", "nos", "al"), ("VERB", "PRON", "ADP"))
    (other,) = read_tagged([tmp_path / "a.conllu"], TagColumns(tag=5)).sentences
    assert other.tags == ("V", "P", "A")
    (first, _) = read_tagged([tmp_path / "a.conll"], TagColumns(tag=2)).sentences
    assert first.tags == ("NNP", "VBZ")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("EU NNP B-ORG\nrejects O\n", r"a\.conll, line 2: 2 columns where the lines before have 3"),
        ("EU\tO\n \tO\n", r"a\.conll, line 2: column 1 holds no word"),
        ("EU B-ORG\nof O\nx I-ORG\n", r"a\.conll, line 3: 'I-ORG' after 'O' breaks BIO"),
        ("EU B-ORG\n\nx I-PER\nx B-PER\n", r"a\.conll, line 3: 'I-PER' after the sentence's beginning breaks BIO"),
        ("EU B-ORG\nx E-PER\nx B-X\n", r"a\.conll, line 2: 'E-PER' after 'B-ORG' breaks BIOES \(2 such tags"),
        ("\n\n", r"no sentence in"),
        ("x O\n\n" + "y O\n" * 5_001, r"a\.conll, line 3: a sentence of 5,001 words begins here"),
    ],
)
def test_bad_columns_and_broken_schemes_are_named_with_file_and_line(
    tmp_path: Path, contents: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_tagged(written(tmp_path / "a.conll", contents))


def test_broken_tags_are_mended_where_that_is_asked_for(tmp_path: Path) -> None:
    data = read_tagged(
        written(tmp_path / "a.conll", "x O\ny I-PER\nz I-PER\nw B-PER\nv I-LOC\n\nu B-PER\n"), repair=True
    )
    assert data.sentences[0].tags == ("O", "B-PER", "I-PER", "B-PER", "B-LOC")
    assert data.repaired == 2


def test_tagged_json_lines_are_read(tmp_path: Path) -> None:
    row = json.dumps({"tokens": ["New", "York"], "tags": ["B-LOC", "E-LOC"]})
    data = read_tagged(written(tmp_path / "a.jsonl", row + "\n"))
    assert (data.sentences[0].tags, data.scheme) == (("B-LOC", "I-LOC"), "bioes")
    with pytest.raises(InputError, match="line 1: 2 tokens with 1 tags"):
        read_tagged(written(tmp_path / "b.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}'))
    with pytest.raises(OptionError, match="counted from 1"):
        TagColumns(word=0)
