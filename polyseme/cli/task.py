"""`polyseme task VERB ...`: labels for texts, tags for words, inference, learned from your own examples."""

from __future__ import annotations

import typer

from polyseme.cli import task_evaluate, task_fit, task_predict
from polyseme.cli.output import Verbs

EXAMPLE = (
    "\b\nExample:\n  polyseme task fit classify reviews.csv -o reviews --model my-elmo --text-column review\n"
    "  polyseme task predict classify reviews new.txt\n\n"
    "`polyseme task VERB --help` shows the options of a verb, with an example; each has --json."
)

app = typer.Typer(name="task", cls=Verbs, no_args_is_help=True, rich_markup_mode=None)


@app.callback(epilog=EXAMPLE)
def task() -> None:
    """Words to work: learn from labelled examples, measure what was learned, use it.

    classify: topics, sentiment, any labels of texts or of pairs of texts. tag: entities, parts of speech, chunks. nli:
    whether one text implies another. All learn from a model's vectors, from vectors without context, or from both.
    """


app.command(epilog=task_fit.EXAMPLE, short_help="Learn from labelled examples.")(task_fit.fit)
app.command(epilog=task_evaluate.EXAMPLE, short_help="Measure on labelled examples.")(task_evaluate.evaluate)
app.command(epilog=task_predict.EXAMPLE, short_help="Label what has no labels.")(task_predict.predict)
