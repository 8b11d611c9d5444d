"""How strings from data are shown to people: nothing in them reaches a terminal or a page as a command."""

from __future__ import annotations

import unicodedata

#: Joiners stand inside words of Persian, of Indian scripts and of emoji, and move nothing.
_HARMLESS = "\u200c\u200d"
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shown(text: object) -> str:
    r"""A string on one line without control characters: escape sequences, bidi controls and line breaks as escapes.

    Characters of the Unicode categories C (controls, formats, surrogates, private, unassigned ones), Zl and Zp become
    ``\n``, ``\x1b``, ``\u202e`` or ``\U000e0001``. A byte of a file name that is no UTF-8, which Python keeps as a lone
    surrogate, becomes that byte: ``\xe9``. Everything else stays, so a name that is fit to be shown is shown as it is.

    >>> shown("a name\nwith a line break")
    'a name\\nwith a line break'
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _is_fit(letter) else _escaped(letter) for letter in text)


def _is_fit(letter: str) -> bool:
    category = unicodedata.category(letter)
    return letter in _HARMLESS or (category[0] != "C" and category not in ("Zl", "Zp"))


def _escaped(letter: str) -> str:
    if letter in _NAMED:
        return _NAMED[letter]
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def brief(text: object, most: int = 240) -> str:
    """A string as :func:`shown` gives it, with the middle left out of a long one.

    :param most: Characters, of the string itself.
    """
    text = str(text)
    if len(text) <= most:
        return shown(text)
    end = most // 3
    return shown(f"{text[: most - end - 3]}...{text[-end:]}")


def quoted(text: object, most: int = 240) -> str:
    """A string as :func:`brief` gives it, in quotes."""
    inside = brief(text, most)
    mark = '"' if "'" in inside else "'"
    return f"{mark}{inside}{mark}"
