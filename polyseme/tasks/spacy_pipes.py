"""Polyseme in a spaCy pipeline: contextual vectors for tokens, and what a task says of a text.

    nlp = spacy.blank("en"); nlp.add_pipe("sentencizer")
    nlp.add_pipe("polyseme_vectors", config={"model": "my-elmo"})      # token.vector, span.vector, doc.tensor
    nlp.add_pipe("polyseme_task", config={"task": "entities"})         # doc.ents, token.tag_, or doc.cats

spaCy finds the two names by the package's entry points. The words are spaCy's own tokens, so a model that was trained
on other words (English: those of the Penn Treebank) reads some of them as it never saw them. Where nothing has set
sentence ends, a text counts as one sentence. Spaces are no words: their vectors are zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from polyseme.embedder import Embedder, load
from polyseme.errors import MissingExtraError, UnsupportedModelError
from polyseme.tasks.folder import open_task
from polyseme.tasks.spans import spans
from polyseme.tasks.tag import Tagger

try:
    from spacy.language import Language
    from spacy.tokens import Doc, Span
    from spacy.util import minibatch
except ImportError as error:
    raise MissingExtraError("a spaCy pipeline", "text") from error

Tokens = list[Any]  # of one sentence, spaces left out


class VectorsPipe:
    """Sets `doc.tensor`, (tokens, width) float32, and makes `vector` of tokens, spans and texts read from it."""

    def __init__(self, embedder: Embedder, layer: str = "average") -> None:
        self.embedder, self.layer = embedder, layer

    def __call__(self, doc: Doc) -> Doc:
        (found,) = self.pipe([doc])
        return found

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Many texts at a time are much faster than one by one."""
        for docs in minibatch(stream, batch_size):
            cut = [sentence for doc in docs for sentence in sentences(doc)]
            embedded = self.embedder.embed([[token.text for token in sentence] for sentence in cut])
            for doc in docs:
                doc.tensor = np.zeros((len(doc), self.embedder.width), dtype=np.float32)
            for sentence, found in zip(cut, embedded, strict=True):
                vectors = found.top() if self.layer == "top" else found.average()
                sentence[0].doc.tensor[[token.i for token in sentence]] = vectors
            for doc in docs:
                _read_from_tensor(doc)
                yield doc


class TaskPipe:
    """Sets what a task's folder gives: `doc.ents` or `token.tag_` (tag), or `doc.cats`, the labels' probabilities."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def __call__(self, doc: Doc) -> Doc:
        (found,) = self.pipe([doc])
        return found

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Many texts at a time are much faster than one by one."""
        for docs in minibatch(stream, batch_size):
            (_tag if isinstance(self.task, Tagger) else _classify)(self.task, docs)
            yield from docs


def sentences(doc: Doc) -> Iterator[Tokens]:
    """The words of each sentence."""
    for part in doc.sents if doc.has_annotation("SENT_START") else [doc]:
        words = [token for token in part if not token.is_space]
        if words:
            yield words


def _tag(tagger: Tagger, docs: Sequence[Doc]) -> None:
    cut = [sentence for doc in docs for sentence in sentences(doc)]
    entities: dict[int, list[Span]] = {id(doc): [] for doc in docs}
    tagged = tagger.tag([tuple(token.text for token in sentence) for sentence in cut])
    for sentence, tags in zip(cut, tagged, strict=True):
        doc = sentence[0].doc
        if not tagger.has_spans:
            for token, tag in zip(sentence, tags, strict=True):
                token.tag_ = tag
            continue
        entities[id(doc)] += [
            Span(doc, sentence[span.start].i, sentence[span.end - 1].i + 1, label=span.label) for span in spans(tags)
        ]
    if tagger.has_spans:
        for doc in docs:
            doc.ents = entities[id(doc)]


def _classify(classifier: Any, docs: Sequence[Doc]) -> None:
    cut = [[tuple(token.text for token in sentence) for sentence in sentences(doc)] for doc in docs]
    spoken = [place for place, text in enumerate(cut) if text]
    vectors = classifier.features.vectors([cut[place] for place in spoken], classifier.reading.max_words)
    for place, found in zip(spoken, classifier.read([vectors]), strict=True):
        docs[place].cats = dict(zip(classifier.labels, found.probabilities, strict=True))


def _read_from_tensor(doc: Doc) -> None:
    doc.user_token_hooks["vector"] = lambda token: token.doc.tensor[token.i]
    doc.user_token_hooks["has_vector"] = lambda token: not token.is_space
    doc.user_span_hooks["vector"] = lambda span: _mean(span.doc.tensor[span.start : span.end])
    doc.user_hooks["vector"] = lambda whole: _mean(whole.tensor)
    for hooks in (doc.user_hooks, doc.user_span_hooks, doc.user_token_hooks):
        hooks["similarity"] = _similarity


def _mean(rows: Any) -> Any:
    """Of the rows that are words."""
    words = rows[rows.any(axis=1)]
    return words.mean(axis=0) if len(words) else np.zeros(rows.shape[1], dtype=np.float32)


def _similarity(first: Any, second: Any) -> float:
    """The cosine; spaCy's own would ask the vocabulary's vectors."""
    a, b = first.vector, second.vector
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0


@Language.factory("polyseme_vectors", default_config={"layer": "average", "state": None, "threads": None})
def make_vectors(
    nlp: Language,  # noqa: ARG001 (spaCy's names)
    name: str,  # noqa: ARG001
    model: str,
    layer: str,
    state: str | None,
    threads: int | None,
) -> VectorsPipe:
    """`config`: `model` as `polyseme.load` takes it; `layer` average or top."""
    return VectorsPipe(load(model, state=state, threads=threads), layer)


@Language.factory("polyseme_task", default_config={"model": None, "threads": None})
def make_task(
    nlp: Language,  # noqa: ARG001
    name: str,  # noqa: ARG001
    task: str,
    model: str | None,
    threads: int | None,
) -> TaskPipe:
    """`config`: `task`, a folder of `polyseme task fit`; `model` where its biLM lies now, if elsewhere."""
    opened = open_task(task, model=model, threads=threads)
    if not isinstance(opened, Tagger) and opened.n_texts != 1:
        raise UnsupportedModelError(f"{task} reads pairs of texts, which a spaCy pipeline does not have")
    return TaskPipe(opened)
