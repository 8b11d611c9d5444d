"""Strings that have caused trouble somewhere, for names, texts and numbers."""

from __future__ import annotations

import os
import random
import string

#: Fragments of names; those that no file system takes are left out by whoever makes files.
FRAGMENTS = (
    *("\x1b[31m", "\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "\x07", "\x08\x08", "\r", "\n", "\n\n", "\t", "\x7f"),
    *("\u202e", "\u2066", "\u200f", "\u2028", "\u2029", "\ufeff", "\u200b", "\U000e0041", "\ue000"),
    *("e\u0301", "é", "ß", "漢字", "😀", "👩\u200d👩", "क\u094dष"),
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;", "{{7*7}}", "{% raw %}", "${x}", "%s%n"),
    *("@someone", "https://example.org", "www.example.org", "#1", "|", "`", "```", "[a](b)", "![a](b)", "**", "---"),
    *("'", '"', "\\", ";", "*", "?", "$(id)", "&&", "~", "..", "-", "--", "=", ":", ",", " ", "  "),
    *("CON", "nul", ".hidden", "a.txt", ".png", "%2e%2e", "[bold red]", ":smile:"),
)
NUMBERS = (
    *("", " ", "0", "-0", "-1", "1", "2", "1.5", "0.5", "nan", "inf", "-inf", "1e400", "-1e400", "1e-400", "1e5"),
    *("0x10", "1_0", "٣", "²", "½", "--1", "1/0", "0/0", "1/255", "255/1", "8/255/1", "nan/nan", "1e400/1e400"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "9" * 40),
    *("9" * 5000, "4294967296", "2147483648", "True", "None", "1,5", "1 2", "\x1b[31m1", "1\n", "1\u202e"),
)


def hostile(rng: random.Random, most: int = 4) -> str:
    """A string of some fragments, with harmless ones between them; now and then a long one."""
    parts = [rng.choice(FRAGMENTS) if rng.random() < 0.7 else _word(rng) for _ in range(rng.randint(1, most))]
    text = "".join(parts)
    return text * rng.randint(20, 60) if rng.random() < 0.05 else text


def number(rng: random.Random) -> str:
    """Something where a number is expected."""
    return rng.choice(NUMBERS) if rng.random() < 0.8 else hostile(rng, 2)


def file_name(rng: random.Random) -> str:
    """A hostile name that a file can have; now and then one that is no UTF-8."""
    name = hostile(rng).replace("/", "-").replace("\0", "")
    if rng.random() < 0.1:
        name += os.fsdecode(rng.choice([b"caf\xe9", b"\xff\xfe", b"\x80"]))
    while len(os.fsencode(name)) > 200:
        name = name[: len(name) // 2]
    return name if name.strip(". ") else "x" + name


def _word(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_letters, k=rng.randint(1, 8)))
