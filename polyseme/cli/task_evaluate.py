"""`polyseme task evaluate`: how good a task's folder is on labelled examples."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from polyseme.cli import options as opt
from polyseme.cli import task_options as top
from polyseme.cli.language_model import retry_with_this_command
from polyseme.cli.output import Meter, again, counted, emit, quoted, say, table
from polyseme.cli.task_data import label_facts, score_rows, tag_facts, vector_files
from polyseme.errors import DecodeError

EXAMPLE = "\b\nExample:\n  polyseme task evaluate classify reviews test.csv --json"


def evaluate(
    kind: top.KindArgument,
    task: top.TaskArgument,
    test: top.Test,
    model: top.OtherModel = None,
    vectors: top.OtherVectors = None,
    text_column: top.TextColumn = None,
    second_column: top.SecondColumn = None,
    label_column: top.LabelColumn = None,
    word_column: top.WordColumn = None,
    tag_column: top.TagColumn = None,
    repair_tags: top.RepairTags = False,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    json: opt.Json = False,
) -> None:
    """Measure a task on labelled examples: accuracy and F1 of labels, F1 of whole spans (as conlleval counts them).

    Columns are those that the task was fitted on, unless others are named.
    """
    from polyseme.tasks.classify import Classifier
    from polyseme.tasks.conll import TagColumns, read_tagged
    from polyseme.tasks.data import TextColumns, read_texts
    from polyseme.tasks.folder import open_task, read_config
    from polyseme.tasks.metrics import need_extra

    need_extra("`task evaluate`")
    stored = read_config(task)["report"].get("columns", {})
    started = time.monotonic()
    try:
        with Meter() as meter:
            meter.step("opening the task")
            opened = open_task(
                task, kind=kind.value, model=model, vectors=vector_files(vectors), threads=threads, device=device
            )
            meter.step("measuring")
            if isinstance(opened, Classifier):
                named: dict[str, Any] = {"text": text_column, "second": second_column, "label": label_column}
                columns = replace(TextColumns(**stored), **{name: value for name, value in named.items() if value})
                texts = read_texts(test, columns, encoding=encoding, encoding_errors=encoding_errors.value)
                facts: dict[str, Any] = label_facts(opened.evaluate(texts))
                read = counted(facts["n"], "text")
            else:
                places: dict[str, Any] = {"word": word_column, "tag": tag_column}
                tags = replace(TagColumns(**stored), **{name: value for name, value in places.items() if value})
                data = read_tagged(
                    test, tags, repair=repair_tags, encoding=encoding, encoding_errors=encoding_errors.value
                )
                facts = tag_facts(opened.evaluate(data.sentences))
                read = f"{counted(facts['sentences'], 'sentence')}, {counted(facts['words'], 'word')}"
    except DecodeError as error:
        raise retry_with_this_command(error, again()) from error
    seconds = round(time.monotonic() - started, 3)
    following = quoted(["polyseme", "task", "predict", kind.value, task, "INPUT"])
    if json:
        emit({"kind": kind.value, "task": task, "test": test, **facts, "seconds": seconds, "next": following})
        return
    say(table([("read", read), *score_rows(facts), ("time", f"{seconds:,.1f} s"), ("next", following)]))
