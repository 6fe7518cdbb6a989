"""Which encoding a few bytes are likely in: trial decoding, then plausibility of the letters that come out.

A guess for an error message, never acted upon. No statistics package: a hundred frequent characters a script suffice
to tell gb18030 from big5, or cp1251 from koi8-r, on a line or two.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_CHINESE = set(
    "的一是不了人我在有他大来以个中上们到和国地也子时道出而要于就下得可你年生自会那后能事其里所去行过家十用发天如然作方成者多日都三小军二无同么经法当起与好看学进种将还分此心前面又定见只主没公从这为说"
)
_TRADITIONAL = set(
    "的一是不了人我在有他大來以個中上們到和國地也子時道出而要於就下得可你年生自會那後能事其裡所去行過家十用發天如然作方成者多日都三小軍二無同麼經法當起與好看學進種將還分此心前面又定見只主沒公從這為說"
)
_KOREAN = set("이다의에는가을를은하고지한기도로사인그나어대있자들아일수보정시해라서것")
_RUSSIAN = set("оеаинтсрвлкмдпуяыь")
_GREEK = set("αοιετσνηυρπκμλςήάόίέύώ")
_HEBREW = set("יוהלארתבמנשםד")
_ARABIC = set("اليمنوترعبدهسفكقحةجأ")
_THAI = set("านรอกเงมยลวดทส่้ตะปบคีห")
_WESTERN = set("éèêàâçùûôîïëäöüßáíóúñãõåæø’‘“”–—…«»°£€ÉÀÇÄÖÜÑÅØ\u00a0")
_CENTRAL = set("ąćęłńóśźżčďěňřšťůžáéíýúőűöüăâîșțĄĆĘŁŃŚŹŻČĎŘŠŤŽ’“”„–—…")


def _share(frequent: set[str]) -> Callable[[str], float]:
    def score(letters: str) -> float:
        return sum(letter in frequent for letter in letters) / len(letters)

    return score


def _kana(letters: str) -> float:
    # Half-width katakana is what any high bytes give in Shift-JIS: it counts against.
    kana = sum("\u3041" <= letter <= "\u30fe" for letter in letters)
    half = sum("\uff61" <= letter <= "\uff9f" for letter in letters)
    return (kana - half) / len(letters)


# (encoding, how much of the text its frequent characters cover, the share that plain text of its languages reaches)
_CANDIDATES: tuple[tuple[str, Callable[[str], float], float], ...] = (
    ("gb18030", _share(_CHINESE), 0.30),
    ("big5", _share(_TRADITIONAL), 0.30),
    ("shift_jis", _kana, 0.40),
    ("euc_jp", _kana, 0.40),
    ("euc_kr", _share(_KOREAN), 0.35),
    # Before cp1251: its code page has no letters where the Russian ones for y, soft sign and ya stand.
    ("cp1255", _share(_HEBREW), 0.75),
    ("cp1251", _share(_RUSSIAN), 0.80),
    ("koi8-r", _share(_RUSSIAN), 0.80),
    ("cp866", _share(_RUSSIAN), 0.80),
    ("cp1253", _share(_GREEK), 0.80),
    ("cp1256", _share(_ARABIC), 0.75),
    ("cp874", _share(_THAI), 0.65),
    # The first of equals wins: what both Latin code pages explain is called cp1252.
    ("cp1252", _share(_WESTERN), 0.95),
    ("cp1250", _share(_CENTRAL), 0.95),
)
_EAST_ASIAN = frozenset(("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"))


def guess_encoding(sample: bytes) -> str | None:
    """The likeliest encoding of the bytes; "utf-8" for UTF-8 with a little damage; None if nothing is plausible."""
    wide = guess_wide(sample)
    if wide:
        return wide
    if _is_damaged(sample, "utf-8"):
        return "utf-8"
    scores = [
        (score, name)
        for name, plausible, usual in _CANDIDATES
        if (score := _plausibility(sample, name, plausible, usual))
    ]
    best, name = max(scores, key=lambda item: item[0], default=(0.0, ""))
    if best >= 0.25:
        return name
    return _western(sample)


def guess_wide(sample: bytes) -> str | None:
    """utf-16 or utf-32 in its byte order, from marks or from where the zero bytes stand; None for others."""
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    even, odd = sample[0::2], sample[1::2]
    zeros_even, zeros_odd = even.count(0) / max(1, len(even)), odd.count(0) / max(1, len(odd))
    # Latin text has a zero in every second byte; Chinese only in its spaces, digits and line ends.
    for few, many, name in ((zeros_even, zeros_odd, "utf-16-le"), (zeros_odd, zeros_even, "utf-16-be")):
        if many > 0.01 and few < many / 2 and _printable(sample, name):
            return name
    return None


def _printable(sample: bytes, encoding: str) -> bool:
    text = sample[: len(sample) // 2 * 2].decode(encoding, errors="replace")
    odd = sum(
        unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs") and character not in "\n\r\t" for character in text
    )
    return odd + text.count("\ufffd") <= 0.02 * len(text)


def _is_damaged(sample: bytes, encoding: str) -> bool:
    """Whether the bytes are `encoding` but for a few: far more whole characters beyond ASCII than broken ones."""
    text = sample.decode(encoding, errors="replace")
    broken = text.count("\ufffd")
    whole = sum(character > "\x7f" for character in text) - broken
    return whole > 4 * broken


def _plausibility(sample: bytes, encoding: str, plausible: Callable[[str], float], usual: float) -> float:
    # The sample's end may cut a character in two.
    for cut in range(4):
        try:
            text = sample[: len(sample) - cut].decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        return 0.0
    letters = [c for c in text if c > "\x7f" and (c.isalpha() or unicodedata.category(c)[0] in "MSPZC")]
    # Ideographic punctuation is shared by the East Asian encodings and says nothing.
    letters = [c for c in letters if not "\u3000" <= c <= "\u303f" and not "\uff00" <= c <= "\uff20"]
    if not letters:
        return 0.0
    score = min(1.0, plausible("".join(letters)) / usual)
    # Latin text has its accents among plain letters; words of other scripts hold no Latin letter.
    words = [word for word in text.split() if not word.isascii() and len(word) > 1]
    mixed = sum(any(c.isascii() and c.isalpha() for c in word) for word in words) / max(1, len(words))
    if encoding in ("cp1250", "cp1252"):
        return score * mixed
    # East Asian text puts foreign words between its characters without a space.
    return score if encoding in _EAST_ASIAN else score * (1 - 0.7 * mixed)


def _western(sample: bytes) -> str | None:
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return None
    high = sum(byte > 0x7F for byte in sample)
    return "cp1252" if high < 0.2 * len(sample) else None
