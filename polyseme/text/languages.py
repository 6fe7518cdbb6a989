"""Languages by ISO 639 code and by English name, and what a text's script says about its language."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

# Languages whose rules were tried on a sentence (tests/text/test_languages.py); other codes work by ICU's root rules.
LANGUAGES: dict[str, str] = {
    "af": "afrikaans", "am": "amharic", "ar": "arabic", "az": "azerbaijani", "bg": "bulgarian", "bn": "bengali",
    "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish",
    "gl": "galician", "gu": "gujarati", "he": "hebrew", "hi": "hindi", "hr": "croatian", "hu": "hungarian",
    "hy": "armenian", "id": "indonesian", "is": "icelandic", "it": "italian", "ja": "japanese", "ka": "georgian",
    "kk": "kazakh", "km": "khmer", "kn": "kannada", "ko": "korean", "lo": "lao", "lt": "lithuanian",
    "lv": "latvian", "mk": "macedonian", "ml": "malayalam", "mr": "marathi", "ms": "malay", "my": "burmese",
    "ne": "nepali", "nl": "dutch", "no": "norwegian", "pa": "punjabi", "pl": "polish", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "si": "sinhala", "sk": "slovak", "sl": "slovenian", "sq": "albanian",
    "sr": "serbian", "sv": "swedish", "sw": "swahili", "ta": "tamil", "te": "telugu", "th": "thai", "tl": "tagalog",
    "tr": "turkish", "uk": "ukrainian", "ur": "urdu", "uz": "uzbek", "vi": "vietnamese", "zh": "chinese",
}  # fmt: skip

_CODES_BY_NAME = {name: code for code, name in LANGUAGES.items()}
_ALIASES = {
    "cmn": "zh",
    "zho": "zh",
    "eng": "en",
    "deu": "de",
    "fra": "fr",
    "jpn": "ja",
    "nb": "no",
    "nn": "no",
    "iw": "he",
}
_CODE = re.compile(r"[a-z]{2,3}")

# Scripts by the first word of a character's Unicode name, with the language each one suggests.
_SUGGESTED = {
    "LATIN": "en", "CJK": "zh", "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CYRILLIC": "ru",
    "ARABIC": "ar", "GREEK": "el", "HEBREW": "he", "DEVANAGARI": "hi", "THAI": "th", "ARMENIAN": "hy",
    "GEORGIAN": "ka", "BENGALI": "bn", "GUJARATI": "gu", "GURMUKHI": "pa", "TAMIL": "ta", "TELUGU": "te",
    "KANNADA": "kn", "MALAYALAM": "ml", "SINHALA": "si", "LAO": "lo", "KHMER": "km", "MYANMAR": "my",
    "ETHIOPIC": "am",
}  # fmt: skip
_CYRILLIC = ["bg", "kk", "mk", "ru", "sr", "uk", "be", "ky", "mn", "tg", "tt"]
_ARABIC = ["ar", "fa", "ur", "ps", "ckb", "sd", "ug"]
_DEVANAGARI = ["hi", "mr", "ne", "sa"]
_SCRIPTS: dict[str, frozenset[str]] = {
    **{code: frozenset((script,)) for script, code in _SUGGESTED.items()},
    **{code: frozenset(("CYRILLIC",)) for code in _CYRILLIC},
    **{code: frozenset(("ARABIC",)) for code in _ARABIC},
    **{code: frozenset(("DEVANAGARI",)) for code in _DEVANAGARI},
    "sr": frozenset(("CYRILLIC", "LATIN")),
    "uz": frozenset(("CYRILLIC", "LATIN")),
    "az": frozenset(("CYRILLIC", "LATIN")),
    "zh": frozenset(("CJK", "BOPOMOFO")),
    "ja": frozenset(("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")),
    "ko": frozenset(("HANGUL", "CJK")),
}


def language_code(name: str) -> str | None:
    """The ISO code that a code ("pt-BR", "zh_Hant", "cmn") or an English name ("German") stands for, else None.

    Any two or three letters count as a code: ICU has root rules for languages it does not know.
    """
    folded = name.strip().casefold()
    if folded in _CODES_BY_NAME:
        return _CODES_BY_NAME[folded]
    code = re.split("[-_]", folded, maxsplit=1)[0]
    code = _ALIASES.get(code, code)
    return code if _CODE.fullmatch(code) else None


@lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str:
    name = unicodedata.name(letter, "")
    # FULLWIDTH LATIN ..., HALFWIDTH KATAKANA ..., IDEOGRAPHIC ITERATION MARK
    words = name.removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ").split(" ", 1)
    return "CJK" if words[0] == "IDEOGRAPHIC" else words[0]


def _scripts(text: str) -> Counter[str]:
    scripts: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        if letter.isalpha():
            scripts[_script(letter)] += count
    return scripts


def suggest_language(text: str) -> str:
    """The language that the script of `text` suggests; "und" without letters or for scripts of no single language.

    A guess from letters alone: every Latin text is called "en", every Cyrillic one "ru". Japanese is told from Chinese
    by its kana (a tenth of the Han characters is enough: names in a Chinese text bring fewer).
    """
    scripts = _scripts(text)
    kana = scripts.pop("HIRAGANA", 0) + scripts.pop("KATAKANA", 0) + scripts.pop("KATAKANA-HIRAGANA", 0)
    if kana and kana >= 0.1 * scripts["CJK"]:
        scripts["HIRAGANA"] = kana + scripts.pop("CJK", 0)
    # A Han character carries about as much text as two letters.
    for script in ("CJK", "HIRAGANA"):
        scripts[script] *= 2
    script, count = max(scripts.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    return _SUGGESTED.get(script, "und") if count else "und"


def script_share(text: str, languages: Iterable[str]) -> float:
    """The share (0..1) of the letters of `text` that lie outside the scripts of `languages`.

    A code without an entry counts as Latin; "und" and no language at all mean any script: 0.
    """
    codes = {language_code(language) or language for language in languages}
    if not codes or "und" in codes:
        return 0.0
    known: frozenset[str] = frozenset().union(*(_SCRIPTS.get(code, frozenset(("LATIN",))) for code in codes))
    scripts = _scripts(text)
    letters = scripts.total()
    return sum(count for script, count in scripts.items() if script not in known) / letters if letters else 0.0
