"""A run as a whole: what is validated on is not trained on, the best model is kept, and no kill loses anything."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from photos import save_photo
from safetensors.torch import load_file, save_file

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.datasets import open_data
from art_multimodal.defences.trainer import METHODS, TrainingSettings, checkpoint
from art_multimodal.defences.training_run import Listener
from art_multimodal.defences.training_run import run as run_module
from art_multimodal.defences.training_run.data import open_run_data, split_rows
from art_multimodal.defences.training_run.folder import RunFolder
from art_multimodal.defences.training_run.validation import Validation
from art_multimodal.demo.loading import MLM_FOLDER
from art_multimodal.errors import InputError
from art_multimodal.store.lock import LOCK_FILE

from .runs import TRAINING, Shown, assert_same, small, start, written


def test_what_a_run_leaves(whole):
    header = whole["header"]
    assert [row["epoch"] for row in header["history"]] == [0, 1, 2] and header["complete"]
    assert [row["step"] for row in header["history"]] == [0, 4, 8]
    steps = [json.loads(line) for line in whole["steps"].splitlines()]
    assert [(line["step"], line["epoch"]) for line in steps] == [(n, n // 4) for n in range(8)]
    for row in header["history"][1:]:
        own = [line["loss"] for line in steps if line["epoch"] == row["epoch"] - 1]
        assert row["loss"] == sum(own) / len(own)
    assert header["data"]["trained_on"] + header["data"]["validated_on"] == 40
    assert header["settings"]["training"] == TRAINING.as_json()


# --- a kill, an interruption or a full disk ---------------------------------------------------------------------------


class Kill(BaseException):
    """Stands for a signal."""


def kill_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, after: bool) -> None:
    """Let the so manyth call of a function be the last thing that happens."""
    calls: Iterator[int] = iter(range(1000))
    function = getattr(owner, name)

    def deadly(*arguments, **named):
        mine = next(calls) == number
        if mine and not after:
            raise Kill
        result = function(*arguments, **named)
        if mine:
            raise Kill
        return result

    monkeypatch.setattr(owner, name, deadly)


@pytest.mark.parametrize(
    ("owner", "name", "number", "after", "every"),
    [
        (Validation, "measure", 0, True, None),  # before the first step
        (Listener, "step", 0, True, None),
        (Listener, "step", 5, True, None),  # in an epoch
        (Listener, "step", 6, True, 3),
        (Validation, "measure", 1, False, 3),  # the state of the epoch is written, nothing else
        (RunFolder, "save", 0, False, None),
        (RunFolder, "save", 0, True, None),  # last is written, best is not
        (RunFolder, "write", 1, False, None),  # the models are written, but not that they are
        (RunFolder, "write", 2, False, 3),
        (checkpoint, "replace_file", 2, False, 3),  # a state is written, but not that it is
    ],
)
def test_a_killed_run_goes_on_to_the_same_end(tmp_path, monkeypatch, whole, owner, name, number, after, every):
    with monkeypatch.context() as patched:
        kill_at(patched, owner, name, number, after)
        with pytest.raises(Kill):
            start(tmp_path / "out").run(every)
    shown = Shown()
    start(tmp_path / "out", resume=True, listener=shown).run(every)
    assert_same(written(tmp_path / "out"), whole)
    assert [row["epoch"] for row, _ in shown.rows] == [0, 1, 2]
    # Once more there is nothing left to do.
    start(tmp_path / "out", resume=True).run()
    assert_same(written(tmp_path / "out"), whole)


@pytest.mark.parametrize("what", ["saved_model.json", "training.json", "checkpoint.json", "steps.jsonl"])
def test_a_full_disk_costs_nothing_that_was_there(tmp_path, monkeypatch, whole, what):
    """It fills up in the second epoch."""
    out = tmp_path / "out"
    full: list[bool] = []

    class Fills(Listener):
        def epoch(self, row, best):
            if row["epoch"] == 1:
                full.append(True)

    def failing(write):
        def fails(path: Path, *arguments, **named):
            if full and (what in path.name or what in str(arguments)):
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, *arguments, **named)

        return fails

    run = start(out, listener=Fills())
    if what == "steps.jsonl":
        append = run.folder.steps.append

        class Full:
            def write(self, text):
                raise OSError(errno.ENOSPC, "No space left on device")

            def close(self):
                pass

        def appended(record):
            if full:
                run.folder.steps._stream.close()
                run.folder.steps._stream = Full()
            append(record)

        monkeypatch.setattr(run.folder.steps, "append", appended)
    with monkeypatch.context() as patched:
        for name in ("write_text", "replace"):
            patched.setattr(Path, name, failing(getattr(Path, name)))
        with pytest.raises(InputError, match="No space left on device.*[Mm]ake room"):
            run.run()
    header = json.loads((out / "training.json").read_text())
    assert [row["epoch"] for row in header["history"]] == [0, 1] and not header["complete"]
    load_model(f"checkpoint:{out}")
    assert not [path for path in out.rglob("*") if path.name.startswith(".") and path.name != LOCK_FILE]
    start(out, resume=True).run()
    assert_same(written(out), whole)


def test_divergence_in_a_later_epoch_leaves_the_earlier_ones(tmp_path, monkeypatch):
    from dataclasses import replace

    out = tmp_path / "out"
    seen: list[int] = []
    tecoa = METHODS["tecoa"].objective

    def overflowing(adversarial_images, class_texts, targets, scale):
        seen.append(1)
        return tecoa(adversarial_images, class_texts, targets, scale) * (np.inf if len(seen) > 6 else 1)

    monkeypatch.setitem(METHODS._entries, "tecoa", replace(METHODS["tecoa"], objective=overflowing))
    with pytest.raises(InputError, match="The loss of batch 2 of epoch 2.*training has diverged.*learning_rate"):
        start(out).run()
    header = json.loads((out / "training.json").read_text())
    assert [row["epoch"] for row in header["history"]] == [0, 1]
    assert checkpoint.load_checkpoint(out / "state").step == 4
    for name in ("best", "last"):
        load_model(f"checkpoint:{out / name}")


# --- going on with another run ----------------------------------------------------------------------------------------


@pytest.fixture
def interrupted(tmp_path, monkeypatch) -> Path:
    with monkeypatch.context() as patched:
        kill_at(patched, Listener, "step", 5, True)
        with pytest.raises(Kill):
            start(tmp_path / "out").run()
    return tmp_path / "out"


def test_only_the_same_run_goes_on(interrupted, monkeypatch):
    before = {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="holds a run already. Go on with it by --resume"):
        start(interrupted)
    for changes, message in [
        ({"epochs": 3}, "epochs: 2 then, 3 now"),
        ({"training": TrainingSettings(learning_rate=1e-3)}, "training.eps: 0.03137254901960784 then"),
        ({"model": "demo:scenes"}, "model: 'demo:digits' then, 'demo:scenes' now"),
        ({"method": "pmg-aft"}, "method: 'tecoa' then"),
        ({"validation": "0.2"}, "validation: '0.1' then, '0.2' now"),
    ]:
        with pytest.raises(InputError, match="The run to resume was another one"):
            try:
                start(interrupted, resume=True, **changes)
            except InputError as error:
                assert message in str(error)
                raise

    def nudged(spec: str):
        model = load_model(spec)
        model.logit_scale.data += 1e-3
        return model

    monkeypatch.setattr(run_module, "load_model", nudged)
    with pytest.raises(InputError, match="The run to resume was another one.*weights_sha256"):
        start(interrupted, resume=True)
    assert {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file()} == before


def test_a_damaged_folder_is_refused(interrupted, tmp_path):
    header = interrupted / "training.json"
    text = header.read_text()
    for damaged, message in [
        (text[: len(text) // 2], "cannot be read"),
        ("[]", "cannot be read"),
        (json.dumps({**json.loads(text), "schema_version": 0}), "another version"),
    ]:
        header.write_text(damaged)
        with pytest.raises(InputError, match=message):
            start(interrupted, resume=True)
    header.unlink()
    with pytest.raises(InputError, match=r"holds last but no training.json|holds best but no training.json"):
        start(interrupted, resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        start(tmp_path / "file" / "out")


# --- what is trained on and what is not -------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=60),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_the_split_takes_of_every_class_its_share(groups, share, seed):
    groups = np.array(groups)
    kept = split_rows(groups, share, seed)
    assert kept.any() and not kept.all()
    assert np.array_equal(kept, split_rows(groups, share, seed))
    counts = np.array([(kept & (groups == group)).sum() for group in np.unique(groups)])
    sizes = np.array([(groups == group).sum() for group in np.unique(groups)])
    if (sizes > 1).any():
        assert (counts < sizes).all()
    # Each class has its share but for what rounding hands on; all together have it unless small classes keep their one.
    if (sizes > 1 / (1 - share) + 2).all():
        assert abs(kept.sum() - share * len(groups)) <= 1
        assert (abs(counts - share * sizes) <= 1.5).all()


def test_the_parts_share_no_image(tmp_path):
    for index in range(12):
        save_photo(tmp_path / "photos" / f"c{index % 2}" / f"{index}.png", (40, 50 + index), index // 3)
    # Every third image is the same one under other names.
    for index in range(12):
        source = tmp_path / "photos" / f"c{index % 2}" / f"{index}.png"
        (source.parent / f"copy{index}.png").write_bytes(source.read_bytes())
    settings = small(data=f"folder:{tmp_path / 'photos'}", templates=("a {}",), limit=None, validation="0.25")
    data = open_run_data(settings, load_model("demo:digits"), "cpu")
    train, validation = ({image.tobytes() for image in part.x} for part in (data.train, data.validation))
    assert not train & validation
    assert len(data.train.x) + len(data.validation.x) + data.facts["left_out_as_in_validation"] == 24
    assert data.facts["left_out_as_in_validation"] > 0
    assert data.train.x.shape[1:] == (3, 32, 32)


def test_another_source_to_validate_on(tmp_path):
    names = open_data("demo:digits").class_names
    for index, name in enumerate(names[3:6]):
        save_photo(tmp_path / "photos" / name / f"{index}.png", (32, 32), index)
    spec = f"folder:{tmp_path / 'photos'}"
    data = open_run_data(small(validation=spec), load_model("demo:digits"), "cpu")
    # Its folders are sorted, and its labels are those of the data.
    assert [names[label] for label in data.validation.y] == sorted(names[3:6])
    assert len(data.train.x) == 40
    save_photo(tmp_path / "photos" / "eleven" / "1.png", (32, 32), 9)
    with pytest.raises(InputError, match="have a class 'eleven' that demo:digits has not"):
        open_run_data(small(validation=spec), load_model("demo:digits"), "cpu")
    with pytest.raises(InputError, match="no samples left to train on. 40 images are those of the validation"):
        open_run_data(small(validation="demo:digits"), load_model("demo:digits"), "cpu")


def test_unreadable_photos_are_named_and_left_out_and_all_are_brought_to_one_size(tmp_path):
    for index in range(8):
        save_photo(tmp_path / "photos" / f"c{index % 2}" / f"{index}.png", (10 + 9 * index, 60 - 5 * index), index)
    (tmp_path / "photos" / "c0" / "broken.png").write_bytes(b"no photo")
    settings = small(data=f"folder:{tmp_path / 'photos'}", limit=None, validation="0.3")
    data = open_run_data(settings, load_model("demo:digits"), "cpu")
    assert [sample.name for sample in data.skipped] == ["c0/broken.png"] and data.facts["unreadable"] == 1
    assert len(data.train.x) + len(data.validation.x) == 8 and data.train.x.shape[1:] == (3, 32, 32)
    with pytest.raises(InputError, match="c0/broken.png: not a readable image.*Without --strict"):
        open_run_data(settings, load_model("demo:digits"), "cpu", strict=True)


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(monkeypatch):
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 100}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    with pytest.raises(InputError, match="40 images of 32 x 32 pixels take.*Give --limit"):
        open_run_data(small(), load_model("demo:digits"), "cpu")


def test_batches_of_one_class_are_told_about(tmp_path):
    shown = Shown()
    # Alone in its batch, the last sample of an epoch has nothing to be contrasted with.
    start(tmp_path / "out", method="mmcoa", batch_size=5, limit=40, epochs=1, listener=shown).run()
    assert shown.warnings == [
        "1 of 8 batches were left out: all of their samples belong together, so there is nothing to contrast."
    ]


def test_left_out_weights_of_the_language_model_are_noted_where_it_is_asked(tmp_path):
    folder = Path(shutil.copytree(MLM_FOLDER, tmp_path / "mlm"))
    weights = folder / "model.safetensors"
    save_file({**load_file(weights), "cls.other.weight": torch.ones(2, 2)}, weights, metadata={"format": "pt"})
    training = replace(TRAINING, language_model=str(folder))
    for method, said in (("mmcoa", True), ("tecoa", False)):
        notes = start(tmp_path / method, method=method, training=training).header["notes"]
        assert [f"the language model {folder}: " in note for note in notes] == [True] * said


def test_words_that_data_and_user_name_are_protected(tmp_path):
    run = start(tmp_path / "out", method="mmcoa", protected_words=("photo",))
    assert run.trainer.text_attack.protected_words == (*"0123456789", "photo")
    assert run.validation.text_attack.protected_words == (*"0123456789", "photo")
    assert isinstance(run.trainer.classifier, ZeroShotClassifier)


def test_the_example_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    assert [row["epoch"] for row in names["rows"]] == [0, 1, 2]
    assert json.loads((tmp_path / "robust" / "training.json").read_text())["complete"]
