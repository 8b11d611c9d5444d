"""``art-multimodal train`` that is stopped in the middle: what is said, what is left, and how it goes on."""

from __future__ import annotations

import errno
import json
import signal
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from audits import timeless
from cli_training import QUICK, header_of, run
from forked import Forked
from safetensors.torch import load_file

from art_multimodal import cli, load_model
from art_multimodal.cli.training_display import TrainingDisplay
from art_multimodal.defences.training_run import TrainingSummaryWriter
from art_multimodal.errors import InputError


def test_a_folder_in_use_stays_as_it_is(tmp_path: Path, capsys) -> None:
    arguments = ["tecoa", "demo:digits", *QUICK, "--out", str(tmp_path / "out")]
    assert run(capsys, *arguments)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for more, message in [
        ([], "holds a run already. Go on with it by --resume"),
        (["--resume", "--seed", "1"], "training.seed: 0 then, 1 now"),
        (["--resume", "--option", "x=1"], "tecoa has no option x"),
    ]:
        code, _, err = run(capsys, *arguments, *more)
        assert code == 2 and message in err
    other = ["tecoa", "demo:scenes", *QUICK, "--out", str(tmp_path / "out"), "--resume"]
    code, _, err = run(capsys, *other)
    assert code == 2 and "model: 'demo:digits' then, 'demo:scenes' now" in err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_run_that_diverged_at_once_may_be_replaced(tmp_path: Path, capsys) -> None:
    arguments = ["tecoa", "demo:digits", *QUICK, "--out", str(tmp_path / "out")]
    assert run(capsys, *arguments, "--learning-rate", "1e30")[0] == 2
    assert (tmp_path / "out" / "training.json").exists()
    assert run(capsys, *arguments)[0] == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "out" / "steps.jsonl").read_text().splitlines()]
    assert steps == list(range(8)) and header_of(tmp_path / "out")["complete"]


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path, capsys, monkeypatch) -> None:
    write_text = Path.write_text

    def failing(path: Path, *arguments, **named):
        if path.name == "saved_model.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *arguments, **named)

    arguments = ["tecoa", "demo:digits", *QUICK, "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", failing)
        code, _, err = run(capsys, *arguments)
    assert code == 2 and "No space left on device. What was there before is unharmed. Make room" in err
    assert run(capsys, *arguments, "--resume")[0] == 0


def test_ctrl_c_is_130_and_the_run_goes_on(tmp_path: Path, capsys, monkeypatch) -> None:
    def interrupted(self, record):
        if record.place.step == 5:
            raise KeyboardInterrupt

    arguments = ["tecoa", "demo:digits", *QUICK, "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patched:
        patched.setattr(TrainingDisplay, "step", interrupted)
        code, _, err = run(capsys, *arguments)
    assert code == 130 and "what was finished is kept; go on with --resume" in err
    assert [row["epoch"] for row in header_of(tmp_path / "out")["history"]] == [0, 1]
    load_model(f"checkpoint:{tmp_path / 'out'}")
    code, printed, _ = run(capsys, *arguments, "--resume")
    assert code == 0 and header_of(tmp_path / "out")["complete"]
    # What was done before is shown, too.
    assert [line.split()[0] for line in printed.splitlines() if line[:5].strip().isdecimal()] == ["0", "1", "2"]


def test_sigkill_then_resume_ends_with_the_same_weights(tmp_path: Path, capsys) -> None:
    arguments = ["text-contrastive", "demo:digits", *QUICK, "--limit", "20", "--checkpoint-every", "2"]
    code, _, _ = run(capsys, *arguments, "--out", str(tmp_path / "whole"))
    assert code == 0
    script = f"""
        import os, signal
        import torch
        torch.set_num_threads({torch.get_num_threads()})
        from art_multimodal import cli
        from art_multimodal.cli.training_display import TrainingDisplay

        def killed(self, record):
            if record.place.step == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        TrainingDisplay.step = killed
        cli.main({["train", *arguments, "--out", str(tmp_path / "out")]!r})
    """
    assert Forked(tmp_path, "-c", textwrap.dedent(script)).wait() == -signal.SIGKILL
    assert run(capsys, *arguments, "--out", str(tmp_path / "out"), "--resume")[0] == 0
    assert timeless(header_of(tmp_path / "whole")) == timeless(header_of(tmp_path / "out"))
    for name in ("best", "last"):
        one, other = (load_file(tmp_path / where / name / "model.safetensors") for where in ("whole", "out"))
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


# --- TensorBoard ------------------------------------------------------------------------------------------------------


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard would show: of each name the value of each step."""
    import struct

    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length
            if event.HasField("session_log"):
                found = {n: {s: v for s, v in steps.items() if s < event.step} for n, steps in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_tensorboard_has_losses_and_validation_also_after_a_kill(tmp_path: Path, capsys, monkeypatch) -> None:
    class Kill(BaseException):
        pass

    def killed(self, record):
        if record.place.step == 6:
            raise Kill

    out = tmp_path / "out"
    arguments = ["tecoa", "demo:digits", *QUICK, "--tensorboard", "--out", str(out)]
    with monkeypatch.context() as patched, pytest.raises(Kill):
        patched.setattr(TrainingDisplay, "step", killed)
        cli.main(["train", *arguments])
    assert run(capsys, *arguments, "--resume")[0] == 0
    shown, header = scalars(out / "tensorboard"), header_of(out)
    steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    for tag, key in (("train/loss", "loss"), ("train/learning_rate", "learning_rate")):
        assert shown[tag] == {line["step"]: np.float32(line[key]) for line in steps}
    for name in ("clean", "image", "attacked"):
        assert shown[f"validation/{name}"] == {row["step"]: np.float32(row[name]) for row in header["history"]}


def test_without_tensorboardx_it_is_said_what_to_install(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    code, _, err = run(capsys, "tecoa", "demo:digits", *QUICK, "--tensorboard", "--out", str(tmp_path / "out"))
    assert code == 2 and "pip install 'art-multimodal[tensorboard]'" in err
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="tensorboardX"):
        TrainingSummaryWriter(str(tmp_path))
