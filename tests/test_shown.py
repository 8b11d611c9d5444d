"""Strings from data are shown without what a terminal would obey."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest

from art_multimodal.shown import brief, quoted, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", "cat"),
        ("Kätzchen 猫 🐈 C:\\photos", "Kätzchen 猫 🐈 C:\\photos"),
        ("می\u200cخواهم 👩\u200d🚀", "می\u200cخواهم 👩\u200d🚀"),
        ("\x1b]0;PWN\x07\x1b[2J", "\\x1b]0;PWN\\x07\\x1b[2J"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("two\nlines\r\tand\u2028three\x85", "two\\nlines\\r\\tand\\u2028three\\x85"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("\ud800\U000e0001\x00\x7f", "\\ud800\\U000e0001\\x00\\x7f"),
        (3, "3"),
    ],
)
def test_what_a_string_is_shown_as(text: object, expected: str) -> None:
    assert shown(text) == expected


def test_no_character_moves_the_cursor_or_breaks_the_line() -> None:
    # 256 at a time: what is shown of a character does not depend on the ones beside it.
    for first in range(0, sys.maxunicode + 1, 256):
        text = shown("".join(map(chr, range(first, first + 256))))
        text.encode("utf-8")
        assert len(text.splitlines()) <= 1
        for letter in set(text):
            assert letter in "\u200c\u200d" or unicodedata.category(letter)[0] != "C"


def test_long_ones_are_cut_in_the_middle() -> None:
    assert brief("a" * 240) == "a" * 240
    assert brief("a" * 300 + "\n.png", 30) == "a" * 17 + "..." + "a" * 5 + "\\n.png"


@pytest.mark.parametrize(
    ("text", "said"),
    [("a\\b", "'a\\b'"), ("it's", '"it\'s"'), ("a\nb", "'a\\nb'"), ("\x1b[2J", "'\\x1b[2J'"), (Path("x y"), "'x y'")],
)
def test_quotes_double_nothing(text: object, said: str) -> None:
    assert quoted(text) == said
