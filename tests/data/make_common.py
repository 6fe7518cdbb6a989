"""What the make_*.py scripts share: the sentences, the batches of a stateful run and how expected vectors are stored.

Needs only numpy. It runs inside the throwaway environments, so it must not import polyseme.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np

SENTENCES: list[list[str]] = [
    ["The", "bank", "raised", "its", "rates", "."],
    ["We", "sat", "on", "the", "bank", "of", "the", "river", "and", "watched", "naïve", "swans", "."],
    ["Yes"],
    ["语言", "模型", "🙂", "ĉiuĵaŭde", "Übergrößenträger"],
    ["The", "bank", "raised", "its", "rates", "."],  # sentence 0 again
    [  # two words beyond 48 bytes; the cut of the second falls inside a character
        "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz",
        "a" + "é" * 30,
        "!",
    ],
    ["A", "literal", "</S>", "and", "<S>", "and", "<UNK>", "in", "the", "text"],
    ["The", "way", "home", "led", "them", "past", "the", "old", "mill", ",", "over", "a", "bridge", "and", "on", "."],
]

# Calls on ONE stateful object, each a list of sentence numbers: the batch shrinks (2), grows back (3: row 2 must still
# hold the state of call 0), grows beyond (5: new rows start from zero) and shrinks to one row.
CARRY_CALLS: list[list[int]] = [[0, 1, 2], [3, 4], [5, 6, 7], [0, 1, 2, 3, 4], [2]]


def save_expected(folder: Path, arrays: dict[str, list[np.ndarray]], about: dict, name: str = "expected") -> None:
    """Write NAME.npz (float32, no pickle) and NAME.json (sentences, call order, versions) into `folder`.

    Each list holds one array a sentence, (..., T, width); they are stored end to end along T.
    """
    joined = {k: np.concatenate(v, axis=-2).astype(np.float32) for k, v in arrays.items()}
    bad = [k for k, v in joined.items() if not np.isfinite(v).all()]
    if bad:
        raise SystemExit(f"not finite: {bad}")
    np.savez(folder / f"{name}.npz", **joined)
    if "carry" not in arrays:
        about = {k: v for k, v in about.items() if k != "carry_calls"}
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def prepare_allennlp() -> None:
    """Call before importing allennlp 2.10.1, which imports what ELMo does not need and current packages do not have."""
    import torch
    import transformers  # looks for torchvision itself, so it must come before the stand-ins

    type(transformers).AdamW = torch.optim.AdamW  # on the class: the lazy module is made anew on the way
    for name in ("torchvision", "torchvision.ops", "torchvision.ops.boxes", "torchvision.transforms"):
        sys.modules[name] = types.ModuleType(name)


def spare_spacy_models() -> None:
    """An archive's reader asks for spaCy's en_core_web_sm, which tokenizes text that we never give it."""
    import spacy
    from allennlp.data.tokenizers import spacy_tokenizer

    spacy_tokenizer.get_spacy_model = lambda *_, **__: spacy.blank("en")


def versions(*packages: str) -> dict[str, str]:
    from importlib.metadata import version

    return {"python": sys.version.split()[0]} | {p: version(p) for p in packages}
