"""`polyseme VERB ...`: one small file per verb. Neither this nor `--help` imports torch; a verb does when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from polyseme._version import __version__
from polyseme.cli import (
    adapt,
    compare,
    convert,
    embed,
    evaluate,
    generate,
    info,
    models,
    prepare,
    quickstart,
    score,
    static,
    substitutes,
    task,
    train,
    verify,
)
from polyseme.cli.output import Verbs, readable_streams, say

app = typer.Typer(
    name="polyseme",
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    # Plain help and plain tracebacks: the same text on every terminal, in a pipe and in docs/cli.md.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"polyseme {__version__}")
        raise typer.Exit


@app.callback(epilog="`polyseme VERB --help` shows the options of a verb, with an example.")
def polyseme(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Contextual word vectors: open any published ELMo; the same text always gives the same vector."""


app.command(epilog=quickstart.EXAMPLE, short_help="See what contextual vectors are.")(quickstart.quickstart)
app.command(epilog=embed.EXAMPLE)(embed.embed)
app.command(epilog=prepare.EXAMPLE, short_help="Turn text into a corpus for training.")(prepare.prepare)
app.command(epilog=train.EXAMPLE, short_help="Train a model on your text.")(train.train)
app.command(epilog=adapt.EXAMPLE, short_help="Go on with a trained model on other text.")(adapt.adapt)
app.command(epilog=convert.EXAMPLE, short_help="Save a model in Polyseme's or AllenNLP's layout.")(convert.convert)
app.command(epilog=info.EXAMPLE, short_help="Show what a model is.")(info.info)
app.command(epilog=models.EXAMPLE, short_help="List the models that are at hand.")(models.models)
app.command(epilog=verify.EXAMPLE, short_help="Check that a model is sound.")(verify.verify)
app.command(epilog=evaluate.EXAMPLE, short_help="Exact perplexity of a text.")(evaluate.evaluate)
app.command(epilog=score.EXAMPLE, short_help="Log probabilities of sentences and words.")(score.score)
app.command(epilog=generate.EXAMPLE, short_help="Write text, in either direction.")(generate.generate)
app.command(epilog=substitutes.EXAMPLE, short_help="What else fits here?")(substitutes.substitutes)
app.add_typer(task.app, short_help="Labels and tags from your own examples: fit, evaluate, predict.")
app.command(epilog=compare.EXAMPLE, short_help="Which vectors learn most from least?")(compare.compare)
app.add_typer(static.app, short_help="Word vectors without context: fit, ask, evaluate.")


def run() -> None:
    """The entry point of the program `polyseme` and of `python -m polyseme`."""
    readable_streams()
    app(prog_name="polyseme")
