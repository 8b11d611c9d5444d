"""Installs art_multimodal, of which everything else is said in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

README = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
# What a link of README.md leads to is a file of the source, which a page of PyPI does not have: the words stay, and a
# picture goes.
LINK = r"\[([^\[\]]+)\]\((?!https?://|#)[^)\s]+\)"
setup(
    long_description=re.sub(LINK, r"\1", re.sub(rf"^!{LINK}$", "", README, flags=re.MULTILINE)),
    long_description_content_type="text/markdown",
)
