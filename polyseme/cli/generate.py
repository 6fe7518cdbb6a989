"""`polyseme generate`: text in either direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyseme.cli import options as opt
from polyseme.cli.language_model import open_language_model
from polyseme.cli.output import Meter, as_typed, emit, quoted, say
from polyseme.errors import OptionError

if TYPE_CHECKING:
    from polyseme.lm.generate import Generated

EXAMPLE = (
    '\b\nExample:\n  polyseme generate my-model "The bank" --samples 3 --top-p 0.9\n'
    '  polyseme generate my-model "of the river ." --direction backward'
)


def generate(
    model: opt.LanguageModelArgument,
    prompt: opt.Prompt = "",
    direction: opt.WrittenDirection = opt.Direction.forward,
    samples: opt.SampleCount = 1,
    max_words: opt.MaxWords = 50,
    sentences: opt.SentenceCount = 1,
    temperature: opt.Temperature = 1.0,
    top_k: opt.TopK = 0,
    top_p: opt.TopP = 1.0,
    seed: opt.Seed = 0,
    unknown: opt.AllowUnknown = False,
    tokens: opt.RawTokens = False,
    tokenized: opt.GivenTokens = False,
    lang: opt.Lang = None,
    state: opt.SentenceState = None,
    threads: opt.Threads = None,
    json: opt.Json = False,
) -> None:
    """Write text that goes on from a prompt, or that leads up to it.

    One line a sample. Words that the model does not know may stand in the prompt; it reads their letters. Sentences
    before the prompt's last one are read as what came before. Sample 3 of a seed is the same, however many are asked.
    """
    from polyseme.text.detokenize import detokenize

    if not 0 < top_p <= 1:
        raise OptionError(f"--top-p must be above 0 and at most 1, was: {top_p}")
    with Meter() as meter:
        lm = open_language_model(model, meter, threads=threads)
        from polyseme.lm.generate import Sampling
        from polyseme.lm.generate import generate as write
        from polyseme.lm.text import prompt_sentences

        *before, last = prompt_sentences(lm.model, as_typed(prompt), tokenized=tokenized, language=lang)
        meter.step("writing")
        written = write(
            lm,
            last,
            direction=direction.value,
            before=before,
            samples=samples,
            max_words=max_words,
            sentences=sentences,
            seed=seed,
            sampling=Sampling(temperature, top_k, top_p, unknown),
            state=state and state.value,
        )
        found = []
        for number, sample in enumerate(written):
            whole = [*before, *sample.sentences]
            line = " ".join((" ".join if tokens else detokenize)(sentence) for sentence in whole)
            found.append(_facts(sample, line, number))
            if not json:
                say(line)
        following = quoted(["polyseme", "substitutes", model, found[0]["text"], "--word", "WORD"])
        if not json:
            meter.note(f"next  {following}")
    if json:
        emit({"model": model, "direction": direction.value, "seed": seed, "samples": found, "next": following})


def _facts(sample: Generated, line: str, number: int) -> dict[str, Any]:
    return {
        "sample": number,
        "text": line,
        "sentences": sample.sentences,
        "written": [{"word": word, "log_probability": log_p} for word, log_p in sample.written],
        "log_probability": sample.log_probability,
        "finished": sample.finished,
    }
