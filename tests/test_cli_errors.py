"""What becomes of errors: one line, exit code 2, and nothing in it that a terminal obeys."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from texts import controls

from art_multimodal import cli
from art_multimodal.cli import program
from art_multimodal.errors import LARGEST_COUNT, InputError, check_count

BASE = ["audit", "demo:digits", "--data", "demo:digits", "--device", "cpu", "--limit", "2", "--attacks", "pgd"]
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without --out leave nothing behind."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def one_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error line of a command that must be refused."""
    assert cli.main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert not controls(err)
    return err


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (InputError("a name: \x1b[2J\u202e\nand more"), r"a name: \x1b[2J\u202e\nand more"),
        (OSError(errno.EIO, "Input/output error", "/x/\x07y"), r"/x/\x07y cannot be used: Input/output error"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "No permission for /x"),
        (OSError(errno.ENOSPC, "No space left on device"), "The system refused something: No space left"),
        (ValueError("embedded null byte"), "characters that cannot be used"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), "characters that cannot be used"),
        (MemoryError("12 GB"), "not enough memory (12 GB). Choose a smaller --batch-size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
    ],
)
def test_errors_of_data_and_machine_are_one_line(capsys, monkeypatch, raised: Exception, said: str) -> None:
    def refuse(*_: object) -> None:
        raise raised

    monkeypatch.setattr(program, "_check_arguments", refuse)
    assert said in one_line(capsys, "list", "data")


def test_what_is_not_expected_has_a_traceback_without_control_characters(capsys, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("\x1b[31m")

    monkeypatch.setattr(program, "_check_arguments", fail)
    assert cli.main(["list", "data"]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err and "not expected" in err and not controls(err)


def test_a_long_message_is_cut(capsys, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise InputError("x" * 100_000)

    monkeypatch.setattr(program, "_check_arguments", refuse)
    assert len(one_line(capsys, "list", "data")) < 3000


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "\x1b[31mdata"],
        ["audit", "demo:\x1b]0;title\x07", "--data", "demo:digits"],
        ["audit", "demo:digits", "--data", "folder:/no\nwhere\u202e"],
        [*BASE, "--defence", "jpeg:\u2028"],
        [*BASE, "--attacks", "no\rsuch\x1b"],
        [*BASE, "--out", "a\0b"],
        ["audit", "hf:a\0b", "--data", "demo:digits"],
        [*BASE, "--out", "x" * 300],
        [*BASE, "--out", "/dev/full"],
        [*BASE, "--out", "/dev/null/x"],
        [*BASE, "--templates", "/dev/zero"],
        [*BASE, "--protect", "/dev/urandom"],
        [*BASE, "--defence", "spelling:vocabulary=/dev/zero"],
        [*BASE, "--defence", "tapt:statistics=/dev/zero"],
    ],
)
def test_strange_names_are_one_line(capsys, arguments: list[str]) -> None:
    one_line(capsys, *arguments)


def test_places_that_cannot_be_a_run_are_one_line_and_stay(capsys, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("file", "is a file"), ("dangling", "leads nowhere"), ("pipe", "is a file")):
        assert said in one_line(capsys, *BASE, "--out", str(tmp_path / name))
        assert said in one_line(capsys, *BASE, "--out", str(tmp_path / name / "in" / "it"))
        train = ["train", "tecoa", "demo:digits", "--data", "demo:digits", "--out", str(tmp_path / name)]
        assert said in one_line(capsys, *train)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "dangling", "pipe", "here"}


@pytest.mark.parametrize(
    "option",
    ["--steps", "--max-queries", "--limit", "--batch-size", "--max-words", "--max-edits", "--top-k", "--draws"],
)
@pytest.mark.parametrize("value", [str(2**63), str(-(2**63)), "0", "9" * 40])
def test_absurd_counts_are_refused(capsys, tmp_path: Path, option: str, value: str) -> None:
    one_line(capsys, *BASE, option, value, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "option", ["--epochs", "--batch-size", "--steps", "--validate-every", "--warmup-steps", "--limit", "--seed"]
)
def test_absurd_counts_of_training_are_refused(capsys, tmp_path: Path, option: str) -> None:
    train = ["train", "tecoa", "demo:digits", "--data", "demo:digits", "--out", str(tmp_path / "out")]
    for value in (str(2**64), "-1"):
        one_line(capsys, *train, option, value)


def test_counts() -> None:
    for good in (1, 2, LARGEST_COUNT, None):
        check_count("x", good)
    for bad in (0, -1, LARGEST_COUNT + 1, 10**5000, True, 1.0):
        with pytest.raises(InputError, match=r"x must be at (least|most)"):
            check_count("x", bad)


@pytest.mark.parametrize("value", ["two", "-2", "0", "1.5", "9" * 30, "\x1b[31m", "٣", "1e3"])
def test_a_world_size_that_is_none_is_refused(capsys, monkeypatch, tmp_path: Path, value: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", value)
    assert "WORLD_SIZE" in one_line(capsys, *BASE, "--out", str(tmp_path / "out"))


def test_several_processes_without_a_launcher_are_refused(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("RANK", "0"), ("MASTER_PORT", "29500"), ("MASTER_ADDR", "")):
        said = one_line(capsys, *BASE, "--out", str(tmp_path / "out"))
        assert f"{name} is not set" in said and "unset WORLD_SIZE" in said
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RANK", "4")
    assert "RANK is 4, not a whole number from 0 to 3" in one_line(capsys, *BASE, "--out", str(tmp_path / "out"))


def program_of(arguments: list[str], stdout: int | io.IOBase, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "art_multimodal", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=environment)


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_standard_output_is_said(buffered: str) -> None:
    """Once, whether it is noticed by the first line or in the end."""
    with Path("/dev/full").open("wb") as full:
        process = program_of(["list", "data"], full, PYTHONUNBUFFERED=buffered)
        _, err = process.communicate()
    assert process.returncode == 2
    assert err.startswith(b"error: ") and b"No space left" in err and err.count(b"\n") == 1


def test_a_closed_pipe_is_no_failed_gate() -> None:
    read, write = os.pipe()
    os.close(read)
    process = program_of(["list", "data"], write)
    os.close(write)
    _, err = process.communicate()
    assert process.returncode == program.CLOSED_PIPE == 141
    assert not err


def test_a_strict_terminal_shows_escapes() -> None:
    process = program_of(["list", "photos-é-漢"], subprocess.PIPE, PYTHONIOENCODING="ascii:strict")
    _, err = process.communicate()
    assert process.returncode == 2 and err.count(b"\n") == 1
    assert rb"photos-\xe9-\u6f22" in err
