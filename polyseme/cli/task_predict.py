"""`polyseme task predict`: labels for what has none, as JSON lines."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.cli import options as opt
from polyseme.cli import task_options as top
from polyseme.cli.language_model import retry_with_this_command
from polyseme.cli.output import Meter, again, counted, emit, quoted, say, table, write_lines
from polyseme.cli.task_data import vector_files
from polyseme.errors import DecodeError, OptionError, OutputError

if TYPE_CHECKING:
    from polyseme.tasks.classify import Classifier
    from polyseme.tasks.conll import Tagged
    from polyseme.tasks.data import Text
    from polyseme.tasks.tag import Tagger

EXAMPLE = (
    "\b\nExample:\n  polyseme task predict classify reviews new.txt -o labels.jsonl\n"
    "  echo 'She flew to New York.' | polyseme task predict tag entities -"
)
TEXTS_AT_ONCE = 256


def predict(
    kind: top.KindArgument,
    task: top.TaskArgument,
    input: top.Input,
    out: top.PredictionsOut = None,
    model: top.OtherModel = None,
    vectors: top.OtherVectors = None,
    text_column: top.TextColumn = None,
    second_column: top.SecondColumn = None,
    lang: top.Lang = None,
    tokenized: top.Tokenized = False,
    max_characters: top.MaxCharacters = 1_000_000,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    overwrite: opt.Overwrite = False,
    json: opt.JsonLines = False,
) -> None:
    """Label texts that have no labels, or the words of raw text: one JSON object a text, in input order.

    Texts are cut into words as those for training were; for tag as the model's were, or as --lang says. Entities are
    given with (start, end) in characters of the text. Of .conll and .conllu files tag takes the words as they are.
    """
    if out is not None:
        if Path(out).suffix != ".jsonl":
            raise OptionError(f"--out must end in .jsonl, was: {out}")
        if Path(out).exists() and not overwrite:
            raise OutputError(f"{out} exists already; choose another name, or pass --overwrite to replace it")
    from polyseme.tasks.classify import Classifier
    from polyseme.tasks.conll import TagColumns, read_tagged
    from polyseme.tasks.data import TextColumns, read_texts
    from polyseme.tasks.folder import open_task, read_config

    stored = read_config(task)["report"].get("columns", {}) if kind.value != "tag" else {}
    named = {"text": text_column, "second": second_column}
    columns = replace(
        TextColumns(**stored), label=None, multi_label=False, max_characters=max_characters,
        **{name: value for name, value in named.items() if value},
    )  # fmt: skip
    done = 0
    try:
        with Meter() as meter:
            meter.step("opening the task")
            opened = open_task(
                task, kind=kind.value, model=model, vectors=vector_files(vectors), threads=threads, device=device
            )
            meter.step("reading")
            given: dict[str, Any] = {"encoding": encoding, "encoding_errors": encoding_errors.value}
            cut = kind.value == "tag" and all(Path(name).suffixes[:1] in ([".conll"], [".conllu"]) for name in input)
            words = read_tagged(input, TagColumns(tagged=False), **given).sentences if cut else ()
            texts = [] if cut else read_texts(input, columns, **given)
            meter.step("predicting")

            def lines() -> Iterator[str]:
                nonlocal done
                if isinstance(opened, Classifier):
                    if lang is not None or tokenized:
                        raise OptionError(
                            "--lang and --tokenized belong to `task fit`; texts are cut as they were there"
                        )
                    found = _labelled(opened, texts)
                elif cut:
                    found = _tagged_words(opened, words)
                else:
                    found = _tagged(opened, texts, lang, tokenized)
                for each in found:
                    done += 1
                    meter.update(done, len(texts) + len(words), "texts")
                    yield json_module.dumps(each, ensure_ascii=out is None)

            if out is None:
                for line in lines():
                    say(line)
                return
            write_lines(lines(), Path(out), "predictions")
    except DecodeError as error:
        raise retry_with_this_command(error, again()) from error
    following = quoted(["polyseme", "task", "evaluate", kind.value, task, "TEST"])
    if json:
        emit({"wrote": [out], "texts": done, "next": following})
    else:
        say(table([("read", counted(done, "text")), ("wrote", out), ("next", following)]))


def _labelled(classifier: Classifier, texts: Sequence[Text]) -> Iterator[dict[str, Any]]:
    waiting = iter(texts)
    while block := list(islice(waiting, TEXTS_AT_ONCE)):
        for text, found in zip(block, classifier.predict(block), strict=True):
            given: dict[str, Any] = {"text": text.texts[0]}
            given |= {"second": text.texts[1]} if len(text.texts) == 2 else {}
            given |= {"labels": found.labels} if classifier.multi_label else {"label": found.labels[0]}
            chances = zip(classifier.labels, found.probabilities, strict=True)
            yield given | {"probabilities": {label: round(p, 4) for label, p in chances}}


def _tagged_words(tagger: Tagger, sentences: Sequence[Tagged]) -> Iterator[dict[str, Any]]:
    """Of words that are given, from files of columns."""
    waiting = iter(sentences)
    while block := list(islice(waiting, TEXTS_AT_ONCE)):
        for sentence, tags in zip(block, tagger.tag([each.words for each in block]), strict=True):
            yield {"tokens": sentence.words, "tags": tags}


def _tagged(tagger: Tagger, texts: Sequence[Text], lang: str | None, tokenized: bool) -> Iterator[dict[str, Any]]:
    from polyseme.cli.task_data import tokenizer_name
    from polyseme.text.tokenize import tokenizer_for

    own = [source.text().tokenizer for source in tagger.features.sources]
    tokenizer = tokenizer_for(tokenizer_name(lang, tokenized, own, texts))
    for text in texts:
        (raw,) = text.texts
        sentences = tagger.tag_text(raw, tokenizer)
        found: dict[str, Any] = {"text": raw}
        found["sentences"] = [{"tokens": s.words, "offsets": s.offsets, "tags": s.tags} for s in sentences]
        if tagger.has_spans:
            found["entities"] = [vars(entity) for s in sentences for entity in s.entities]
        yield found
