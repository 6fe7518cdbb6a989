"""Tokens back to lines that people would write."""

from __future__ import annotations

import pytest

from polyseme.text.detokenize import detokenize


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        ("", ""),
        ("The bank raised its rates .", "The bank raised its rates."),
        ("`` He did n't stay -LRB- at all -RRB- , '' she said .", '"He didn\'t stay (at all)," she said.'),
        ('" Yes , " it \'s " fine "', '"Yes," it\'s "fine"'),
        ("5 % of $ 3 ; it 's -LSB- sic -RSB- !", "5% of $3; it's [sic]!"),
        ("we ’ll see …", "we’ll see…"),
        ("我们 坐 在 河 岸 上 。", "我们坐在河岸上。"),
        ("ELMo 模型 很 好", "ELMo 模型很好"),
        ("« Oui »", "«Oui»"),
        (". . a", ".. a"),
    ],
)
def test_tokens_become_a_line(tokens: str, line: str) -> None:
    assert detokenize(tokens.split()) == line


def test_an_empty_token_is_harmless() -> None:
    assert detokenize(["", "a", ""]).strip() == "a"
