"""What pages say is typed into a terminal: every command is one of the program, with options that it has."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from art_multimodal.cli.program import app

from .pages import ROOT, Block, blocks_of, commands_of, page_files, prose_of, section_of

#: Programs that a line of a terminal begins with, behind settings of the environment.
PROGRAMS = ("art-multimodal", "pip", "python", "make", "torchrun", "accelerate")
#: Options without a value.
FLAGS = ("--resume", "--overwrite")
#: Not the one that the command line keeps: a command that was parsed by itself remembers another name of its help.
PROGRAM: Any = typer.main.get_command(app)


def is_console(block: Block) -> bool:
    """Whether a block is typed into a terminal; others without a language are drawings, files or what is printed."""
    first = next((line for line in block.text.splitlines() if line.strip()), "")
    return not block.language and re.sub(r"^(?:\w+=\S* )+", "", first).split(" ")[0] in PROGRAMS


CONSOLE = [block for page in page_files() for block in blocks_of(page) if is_console(block)]


def arguments_of(command: str) -> list[str] | None:
    """Arguments of our program in a line, without what stands for something; ``None`` for another program."""
    words = shlex.split(re.sub(r"^(?:\w+=\S* )+", "", command))
    if "art_multimodal" in words:  # torchrun ... -m art_multimodal audit ...
        words = words[words.index("art_multimodal") :]
    elif words[0] != "art-multimodal":
        return None
    # [--option value] may be left out; ... stands for more, or behind an option for its value.
    pairs = pairwise(word.strip("[]") for word in words)
    return [word for before, word in pairs if word != "..." or (before.startswith("--") and before not in FLAGS)]


@pytest.mark.parametrize("block", CONSOLE, ids=lambda block: block.place)
def test_commands_are_those_of_the_program(block: Block) -> None:
    for line in commands_of(block):
        arguments = arguments_of(line)
        if arguments is None:
            check_other(line)
            continue
        group = PROGRAM
        command = group
        while arguments and arguments[0] in getattr(command, "commands", {}):
            command = command.commands[arguments.pop(0)]
        assert command is not group, f"{block.place}: {line}: no command"
        if arguments and "run" in getattr(command, "commands", {}):
            command = command.commands["run"]  # benchmark CONFIG is benchmark run CONFIG
        # Parsed, and not called: values are checked by the command itself.
        with command.make_context("x", list(arguments), resilient_parsing=True) as context:
            assert not context.args, f"{block.place}: {line}: {context.args}"


@pytest.mark.parametrize("page", page_files(), ids=lambda page: page.name)
def test_commands_in_sentences_are_those_of_the_program(page: Path) -> None:
    text = " ".join(line for _, line in prose_of(page))
    for command in re.findall(r"`(art-multimodal \w[^`]*)`", text):
        block = Block(page.name, 0, "", command)
        test_commands_are_those_of_the_program(block)


def check_other(line: str) -> None:
    """Commands of other programs: files and targets that they name are there."""
    words = line.split()
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), line
    elif words[:2] == ["python", "-m"] and words[2] != "venv":
        path = ROOT / words[2].replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), line
    elif words[0] == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file(), line


def test_blocks_of_other_kinds_hold_no_commands() -> None:
    for page in page_files():
        for block in blocks_of(page):
            if not block.language and not is_console(block):
                assert not re.search(r"^(?:art-multimodal|pip) ", block.text, re.MULTILINE), block.place


def test_wrong_options_are_found() -> None:
    for wrong in ("art-multimodal audit demo:digits --dta x", "art-multimodal audits demo:digits"):
        with pytest.raises((AssertionError, Exception), match=r"dta|no command"):
            test_commands_are_those_of_the_program(Block("x", 1, "", wrong))


def test_the_readme_has_the_commands_of_the_first_ten_minutes() -> None:
    lines = section_of(ROOT / "README.md", "## Ten minutes")
    readme = [
        line for block in CONSOLE if block.page == "README.md" and block.line in lines for line in commands_of(block)
    ]
    start = [line for block in CONSOLE if block.page == "docs/start.md" for line in commands_of(block)]
    assert 1 < len(readme) <= 5
    assert readme == [line for line in start if line in readme]
    assert readme[0].startswith("pip install") and "audit --plan" in readme[-1]
