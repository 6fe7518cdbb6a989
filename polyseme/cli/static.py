"""`polyseme static VERB ...`: word vectors that do not look at the sentence, to train, ask and compare with."""

from __future__ import annotations

import typer

from polyseme.cli import static_average, static_evaluate, static_fit, static_query
from polyseme.cli.output import Verbs

EXAMPLE = (
    "\b\nExample:\n  polyseme static fit glove books/ -o glove\n  polyseme static neighbours glove bank\n\n"
    "`polyseme static VERB --help` shows the options of a verb, with an example; each has --json."
)

app = typer.Typer(name="static", cls=Verbs, no_args_is_help=True, rich_markup_mode=None)


@app.callback(epilog=EXAMPLE)
def static() -> None:
    """Word vectors without context: train them, ask for neighbours and analogies, evaluate them.

    Word2Vec, fastText, GloVe and a bag of words, from the same text that a model is trained on, to compare it with;
    files of word2vec and GloVe from elsewhere; and the average of a model's contextual vectors of each word.
    """


app.command(epilog=static_fit.EXAMPLE, short_help="Train vectors on your text.")(static_fit.fit)
app.command(epilog=static_query.NEIGHBOURS_EXAMPLE, short_help="The words most like a word.")(static_query.neighbours)
app.command(epilog=static_query.ANALOGY_EXAMPLE, short_help="A is to B as C is to what?")(static_query.analogy)
app.command(epilog=static_evaluate.EXAMPLE, short_help="Word similarity and analogies.")(static_evaluate.evaluate)
app.command(epilog=static_average.EXAMPLE, short_help="Average a model's vectors word by word.")(static_average.average)
