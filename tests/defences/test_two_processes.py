"""Two processes on gloo against one: the same losses, the same weights, and no process left waiting."""

from __future__ import annotations

import json
from pathlib import Path

import launched
import pytest
import torch
from safetensors.torch import load_file

from . import two_processes

SCRIPT = Path(two_processes.__file__)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two processes have written to."""
    folder = tmp_path_factory.mktemp("two")
    launched.two_processes(folder, str(SCRIPT), str(folder))
    return folder


@pytest.fixture(scope="module")
def further(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the runs that are slow."""
    folder = tmp_path_factory.mktemp("further")
    launched.two_processes(folder, str(SCRIPT), str(folder), "further")
    return folder


def facts(folder: Path, process: int) -> dict:
    return json.loads((folder / f"facts-{process}.json").read_text())


@pytest.mark.parametrize(("name", "data"), two_processes.RUNS)
def test_two_processes_are_one_with_twice_the_batch(both: Path, name: str, data: str) -> None:
    check_run(both, name, data)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "data"), two_processes.FURTHER)
def test_on_captions_too(further: Path, name: str, data: str) -> None:
    check_run(further, name, data)


def check_run(both: Path, name: str, data: str) -> None:
    weights, losses = two_processes.trained(name, data)
    assert facts(both, 0)["processes"] == 2
    # Of two modalities that take turns each has a step.
    assert len(losses) == two_processes.EPOCHS * 3 * (2 if name == "mla" else 1)
    for process in (0, 1):
        assert facts(both, process)["losses"][f"{name}-{data}"] == pytest.approx(losses, rel=2e-4, abs=1e-6)
        found = load_file(both / f"{name}-{data}-{process}.safetensors")
        assert found.keys() == weights.keys()
        for key, tensor in weights.items():
            torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=2e-5)
    # Bit by bit the same in both.
    one, other = (load_file(both / f"{name}-{data}-{process}.safetensors") for process in (0, 1))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_nobody_ends_while_others_may_still_send(both: Path) -> None:
    # What they send is held by threads: where those outlive the interpreter, a process aborts now and then.
    assert [(both / f"left-{process}").read_text() for process in (0, 1)] == ["True", "True"]


@pytest.mark.parametrize(("what", "said"), [("not finite", "diverged"), ("other samples", "differ in")])
def test_trouble_in_one_process_is_everybodys(both: Path, what: str, said: str) -> None:
    assert all(said in facts(both, process)["refused"][what] for process in (0, 1))


def test_a_resumed_run_ends_like_one_that_was_not_interrupted(both: Path, tmp_path: Path) -> None:
    whole = two_processes.checkpoints(tmp_path, resume=True)
    resumed = load_file(both / "resumed-0.safetensors")
    for key, tensor in whole.items():
        torch.testing.assert_close(resumed[key], tensor, rtol=1e-3, atol=2e-5)
    # One process goes on where two have stopped.
    alone = two_processes.checkpoints(both / "other_state", resume=True)
    for key, tensor in whole.items():
        torch.testing.assert_close(alone[key], tensor, rtol=1e-3, atol=2e-5)
