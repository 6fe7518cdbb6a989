"""Agreement with Universal Dependencies: the figures of docs/text.md may not fall."""

from __future__ import annotations

import pytest
from universal_dependencies import agreement, documents, shared_file


# Floors: a little under what was measured. UD cuts hyphens in English and names in Chinese, which no rule of ours does;
# its French sentences are shuffled headlines and list items without full stops.
@pytest.mark.parametrize(
    ("treebank", "name", "words", "sentences"),
    [
        ("ud_english_ewt", "en", 0.97, 0.80),
        ("ud_french_sequoia", "fr", 0.985, 0.60),
        ("ud_chinese_gsdsimp", "zh", 0.79, 0.98),
        ("ud_chinese_beginner", "zh", 0.76, 0.90),
    ],
)
def test_agreement(treebank: str, name: str, words: float, sentences: float) -> None:
    f1 = agreement(shared_file(f"tasks/pos/{treebank}/test.conllu.xz"), name)
    assert f1[0] >= words
    assert f1[1] >= sentences


def test_the_treebank_reader_gives_the_text_back() -> None:
    for text, _, tokens in documents(shared_file("tasks/pos/ud_english_ewt/dev.conllu.xz")):
        assert "".join(text[a:b] for a, b in tokens) == "".join(text.split())
        break
