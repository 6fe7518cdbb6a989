"""Exact held-out perplexity of each genre, with the share of unknown words and an interval over documents.

The text is read as `polyseme evaluate` reads it, the state carried from sentence to sentence, in several lanes: the
start of each lane knows nothing of what was before. Drawing whole documents again gives the interval (a bootstrap);
genres of fewer than ten documents are drawn by runs of fifty sentences, which takes the documents for given.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.errors import UnsupportedModelError
from polyseme.lm.losses import LaneLosses
from polyseme.lm.network import Block, LanguageModel, load
from polyseme.text.processing import apply

from .metrics import bootstrap
from .readers import Words, held_out_text, open_genres
from .run import Result, Run, Score

LANES, WORDS_A_LANE = 16, 2000
FEW_DOCUMENTS, RUN_OF_SENTENCES = 10, 50


def perplexity(run: Run) -> Result:
    """A score a genre; none for a model without a softmax."""
    try:
        lm = load(run.model)
    except UnsupportedModelError as error:
        run.say(f"    left out: {error}")
        return Result([], {"left out": str(error)})
    scores = []
    free = open_genres()
    for genre, documents in held_out_text(run.language).items():
        spoken = [_sentences(run, lm, paragraphs) for paragraphs in documents]
        spoken = [sentences[: run.sizes.quick] for sentences in spoken if sentences][: run.sizes.quick]
        score = of_documents(lm, spoken)
        run.say(f"    {genre}: {score['perplexity']['mean']:,.1f} over {score['targets']:,} targets")
        scores.append(
            Score(
                genre, run.contextual[0].name, "mean of both directions", "perplexity", score["perplexity"]["mean"],
                interval=score.pop("interval"), n=score["targets"], chosen=True, facts={**score, "open": genre in free},
            )
        )  # fmt: skip
    return Result(scores, {"vocabulary": len(lm.vocabulary), "lanes": LANES})


def of_documents(lm: LanguageModel, documents: list[list[Words]]) -> dict[str, Any]:
    """Perplexities, targets, unknown share and the interval of the mean perplexity."""
    sentences = [words for document in documents for words in document]
    block = Block.of(lm, sentences)
    if lm.recurrent:
        lanes = max(1, min(LANES, block.n_words // WORDS_A_LANE))
        found, _ = lm.directions.carried(block.text, None, lanes)
    else:
        found = lm.directions.alone(block.text, lm.state(None))
    sums = found.sums(block.n_targets)
    unit = _units(documents)
    losses, targets = per_unit(block, found, unit)
    unknown = int(block.counts[block.text.rows == lm.unknown_row].sum())
    about = {key: getattr(sums.perplexity, key) for key in ("forward", "backward", "mean")}
    return {
        "perplexity": about, "targets": sums.targets, "unknown_share": unknown / block.n_words,
        "documents": len(documents), "drawn": "documents" if len(documents) >= FEW_DOCUMENTS else "runs of sentences",
        "units": len(losses),
        "interval": bootstrap(lambda drawn: math.exp(losses[drawn].sum() / targets[drawn].sum()), len(losses)),
    }  # fmt: skip


def per_unit(
    block: Block, found: LaneLosses, unit: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The loss, mean of both directions, and the targets of each unit; `unit` (sentences,) numbers them from 0."""
    stream = block.text.stream
    of_position = np.repeat(unit, np.diff(stream.starts) + 2)
    loss = np.nan_to_num(found.forward.astype(np.float64)) + np.nan_to_num(found.backward.astype(np.float64))
    targets = np.bincount(unit, np.diff(stream.starts) + 1).astype(np.int64)
    return np.bincount(of_position, loss / 2).astype(np.float64), targets


def _units(documents: list[list[Words]]) -> npt.NDArray[np.int64]:
    """What is drawn together: the number of the document, or of the run of sentences, that each sentence is in."""
    if len(documents) >= FEW_DOCUMENTS:
        return np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    runs = [(at, place // RUN_OF_SENTENCES) for at, document in enumerate(documents) for place in range(len(document))]
    number = {run: index for index, run in enumerate(dict.fromkeys(runs))}
    return np.asarray([number[run] for run in runs])


def _sentences(run: Run, lm: LanguageModel, paragraphs: list[str]) -> list[Words]:
    own, tokenizer = lm.model.text, run.tokenizer
    cut = [apply(each, own, tokenizer.language) for paragraph in paragraphs for each in tokenizer.sentences(paragraph)]
    return [sentence.tokens for sentence in cut if sentence.tokens]
