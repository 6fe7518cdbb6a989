"""How raw text became words: recorded in the model, so that the same text is read the same way for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from polyseme.errors import OptionError


@dataclass(frozen=True)
class TextConfig:
    """The text pipeline a model was trained with; stored in the model's config.json.

    `tokenizer` is a name that `polyseme.text.tokenize.tokenizer_for` understands ("ptb", "icu", "rjieba",
    "characters", "whitespace", "spacy:en"...); "" where the model's makers did not say. `tokenizer_version` is the
    version of the package behind it. `languages` are ISO 639-1 codes (639-3 where there is none).
    """

    tokenizer: str = ""
    tokenizer_version: str = ""
    languages: tuple[str, ...] = ()
    lowercase: bool = False
    remove_stop_words: bool = False
    stem: bool = False
    normalize: Literal["none", "nfc", "nfkc"] = "none"

    def __post_init__(self) -> None:
        if self.normalize not in ("none", "nfc", "nfkc"):
            raise OptionError(f"normalize must be none, nfc or nfkc, was: {self.normalize!r}")
