"""Installs art_multimodal, of which everything else is said in pyproject.toml."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
README = (HERE / "README.md").read_text(encoding="utf-8")
SOURCE = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {}).get("Source")
LINK = r"\[([^\[\]]+)\]\((?!https?://|#)([^)\s]+)\)"


def described(readme: str, source: str | None) -> str:
    """The README as a page of PyPI shows it, where no file of the source stands beside it.

    Links and pictures lead to the source, where its address is stated ([project.urls]), in the form that GitHub has;
    else the words stay without their links, and pictures go.
    """
    if source is None:
        return re.sub(LINK, r"\1", re.sub(f"^!{LINK}$", "", readme, flags=re.MULTILINE))
    pictures = re.sub(f"!{LINK}", rf"![\1]({source}/raw/main/\2)", readme)
    return re.sub(LINK, rf"[\1]({source}/blob/main/\2)", pictures)


setup(long_description=described(README, SOURCE), long_description_content_type="text/markdown")
