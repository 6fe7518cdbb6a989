"""`polyseme static evaluate`: word similarity and analogies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.cli import static_options as sop
from polyseme.cli.options import Json
from polyseme.cli.output import Meter, emit, quoted, say, table
from polyseme.cli.static_query import open_vectors

if TYPE_CHECKING:
    from polyseme.static.evaluate import AnalogyReport, SectionReport, SimilarityReport
    from polyseme.static.vectors import StaticVectors

EXAMPLE = "\b\nExample:\n  polyseme static evaluate vectors simlex999.tsv questions-words.txt"


def evaluate(
    vectors: sop.VectorsArgument,
    files: sop.QuestionFiles,
    ignore_case: sop.IgnoreCase = False,
    multiply: sop.Multiply = False,
    first: sop.Limit = None,
    json: Json = False,
) -> None:
    """Measure vectors by word similarity (Spearman's rank correlation with ratings) and by analogies (accuracy).

    Pairs and questions with a word that has no vector are left out, and the coverage is printed. Compare figures of the
    same coverage only.
    """
    found = open_vectors(vectors, first)
    from polyseme.static.evaluate import AnalogyReport

    with Meter() as meter:
        reports = [_report(found, file, meter, ignore_case=ignore_case, multiply=multiply) for file in files]
    following = quoted(["polyseme", "static", "neighbours", vectors, found.words[min(100, len(found) - 1)]])
    pairs = [report for report in reports if not isinstance(report, AnalogyReport)]
    analogies = [report for report in reports if isinstance(report, AnalogyReport)]
    if json:
        facts: dict[str, Any] = {"vectors": vectors, "words": len(found), "width": found.width}
        facts["similarity"] = {report.name: _similarity_facts(report) for report in pairs}
        facts["analogy"] = {report.name: _analogy_facts(report) for report in analogies}
        emit({**facts, "next": following})
        return
    if pairs:
        rows = [("similarity", "Spearman  answered")]
        rows += [(report.name, f"{_three(report.spearman)}  {_answered(report)}") for report in pairs]
        say(table(rows))
    for report in analogies:
        rows = [(f"analogies of {report.name}", "accuracy  answered")]
        rows += [(f"  {each.name}", f"{_three(each.accuracy)}  {_share(each)}") for each in report.sections]
        say(table([*rows, ("  total", f"{_three(report.total.accuracy)}  {_share(report.total)}")]))
    say(f"next: {following}")


def _report(
    vectors: StaticVectors, file: str, meter: Meter, *, ignore_case: bool, multiply: bool
) -> SimilarityReport | AnalogyReport:
    from polyseme.static import evaluate as library

    meter.step(f"reading {file}")
    questions = library.read_questions(file)
    name = Path(file).name.partition(".")[0]
    pairs = [each for each in questions if isinstance(each, library.Pair)]
    if pairs:
        return library.similarity(vectors, pairs, name, ignore_case=ignore_case)
    asked = [each for each in questions if isinstance(each, library.Question)]
    meter.step(f"answering {file}")
    return library.analogies(
        vectors,
        asked,
        name,
        method="multiply" if multiply else "add",
        ignore_case=ignore_case,
        progress=lambda done, total: meter.update(done, total, "questions"),
    )


def _similarity_facts(report: SimilarityReport) -> dict[str, Any]:
    return {
        "spearman": report.spearman, "pairs": report.pairs, "answered": report.answered, "composed": report.composed,
        "coverage": report.coverage,
    }  # fmt: skip


def _analogy_facts(report: AnalogyReport) -> dict[str, Any]:
    return {**_section_facts(report.total), "sections": {each.name: _section_facts(each) for each in report.sections}}


def _section_facts(report: SectionReport) -> dict[str, Any]:
    return {
        "accuracy": report.accuracy, "questions": report.questions, "answered": report.answered,
        "correct": report.correct, "coverage": report.coverage,
    }  # fmt: skip


def _three(value: float | None) -> str:
    return f"{value:8.3f}" if value is not None else "       -"


def _answered(report: SimilarityReport) -> str:
    composed = f", {report.composed:,} with a composed word" if report.composed else ""
    return f"{report.answered:,} of {report.pairs:,} pairs ({report.coverage:.0%}){composed}"


def _share(report: SectionReport) -> str:
    return f"{report.answered:,} of {report.questions:,} ({report.coverage:.0%})"
