"""A run that was killed goes on to the very weights of one that was not; what is on the disk is always whole."""

from __future__ import annotations

import itertools
import json
import os
import signal
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from art.defences.preprocessor import SpatialSmoothing
from forked import Forked
from safetensors.torch import load_file
from tiny import TinyEncoder

from art_multimodal.defences.trainer import AdversarialTrainerMMCoA, DualEncoderTrainer, checkpoint, loop
from art_multimodal.errors import InputError

from .training import (
    NormedEncoder,
    assert_equal_weights,
    classifier,
    images,
    labels,
    pairs,
    retriever,
    settings,
    weights,
)

SEEDS = itertools.count()


class Kill(BaseException):
    """Stands for a signal."""


def trainer(method: str = "mmcoa", model: TinyEncoder | None = None, **changes) -> DualEncoderTrainer:
    changes = {"update_batch_norm": True, "weight_decay": 0.1, **changes}
    if model is None:
        torch.manual_seed(0)
        model = NormedEncoder(dropout=0.3)
    return DualEncoderTrainer(classifier(model), method, settings(**changes))


def nudged() -> NormedEncoder:
    model = NormedEncoder(dropout=0.3)
    model.visual[2].bias.data[0] += 1e-3
    return model


def fit(one: DualEncoderTrainer, kill_at: int | None = None, **arguments) -> dict[str, torch.Tensor]:
    def callback(record):
        if record.place.step == kill_at:
            raise Kill

    # Torch's own generator, which dropout draws from, is somewhere else in every process.
    torch.manual_seed(next(SEEDS))
    one.fit(images(15), labels(15), batch_size=4, nb_epochs=3, callback=callback, **arguments)
    return weights(one.classifier.dual_encoder)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("mmcoa", {}),
        ("pmg-aft", {"optimizer": "sgd", "warmup_steps": 3}),
        ("leaf", {"optimizer": "adam"}),
        ("fare", {"train_logit_scale": True, "towers": "image"}),
    ],
)
@pytest.mark.parametrize("kill_at", [2, 9])
def test_a_killed_run_ends_with_equal_weights(method, changes, kill_at, tmp_path):
    whole = fit(trainer(method, **changes))
    with pytest.raises(Kill):
        fit(trainer(method, **changes), kill_at, checkpoint=tmp_path, checkpoint_every=2)
    again = trainer(method, **changes)
    assert_equal_weights(fit(again, checkpoint=tmp_path, checkpoint_every=2, resume=True), whole)
    # Steps 0 to 1, or 0 to 7, were not taken again.
    assert len(again.losses) == 12 - kill_at // 2 * 2
    assert_equal_weights(fit(trainer(method, **changes), checkpoint=tmp_path, resume=True), whole)


def test_training_without_a_checkpoint_is_the_same_training(tmp_path):
    assert_equal_weights(fit(trainer()), fit(trainer(), checkpoint=tmp_path, checkpoint_every=1))


def test_seeds_decide():
    one, other = fit(trainer()), fit(trainer(seed=1))
    assert not torch.equal(one["visual.2.weight"], other["visual.2.weight"])


def test_a_process_that_is_killed_by_the_system(tmp_path):
    program = """
        import os, signal, sys
        threads = int(sys.argv.pop())
        sys.path[:0] = sys.argv[2:]
        import torch
        torch.set_num_threads(threads)
        from defences.test_checkpoints import images, labels, trainer

        def callback(record):
            if record.place.step == 6:
                os.kill(os.getpid(), signal.SIGKILL)

        trainer().fit(images(15), labels(15), 4, 3, checkpoint=sys.argv[1], checkpoint_every=3, callback=callback)
    """
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    arguments = [str(tmp_path), *paths, str(torch.get_num_threads())]
    done = Forked(tmp_path.parent, "-c", textwrap.dedent(program), *arguments)
    assert done.wait() == -signal.SIGKILL, done.stderr
    assert checkpoint.load_checkpoint(tmp_path).step == 6
    assert_equal_weights(fit(trainer(), checkpoint=tmp_path, checkpoint_every=3, resume=True), fit(trainer()))


def test_a_run_on_a_generator_goes_on_too(tmp_path):
    def run(kill_at=None, **arguments):
        def callback(record):
            if record.place.step == kill_at:
                raise Kill

        one = trainer()
        np.random.seed(3)
        generator = NumpyDataGenerator(images(12), labels(12), batch_size=4, shuffle=True)
        one.fit_generator(generator, nb_epochs=3, callback=callback, **arguments)
        return weights(one.classifier.dual_encoder)

    whole = run()
    with pytest.raises(Kill):
        run(5, checkpoint=tmp_path, checkpoint_every=2)
    np.random.seed(3)
    assert_equal_weights(run(checkpoint=tmp_path, checkpoint_every=2, resume=True), whole)


def test_a_run_goes_on_where_only_a_batch_of_one_sample_is_left_of_an_epoch(tmp_path, monkeypatch):
    def run(**arguments):
        one = DualEncoderTrainer(classifier(), "text-contrastive", settings())
        with pytest.warns(UserWarning, match="batches were left out"):
            one.fit(images(7), labels(7), 3, 2, **arguments)
        return weights(one.classifier.dual_encoder)

    whole = run()

    def killed(folder, state):
        checkpoint.save_checkpoint(folder, state)
        raise Kill

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", killed)
        with pytest.raises(Kill):
            run(checkpoint=tmp_path, checkpoint_every=2)
    assert checkpoint.load_checkpoint(tmp_path).step == 2
    assert_equal_weights(run(checkpoint=tmp_path, checkpoint_every=2, resume=True), whole)


def test_what_a_checkpoint_holds(tmp_path):
    one = trainer()
    after = fit(one, checkpoint=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.json", "step-000000012.safetensors"]
    index = json.loads((tmp_path / "checkpoint.json").read_text())
    run = index["run"]
    assert index["step"] == 12
    assert run["method"] == "mmcoa" and run["options"] == {"lambda_img": 0.5, "lambda_txt": 0.5}
    assert run["settings"] == one.settings.as_json() and run["settings"]["norm"] == "inf"
    assert run["text_attack"]["name"] == "BertAttack" and run["text_attack"]["max_words"] == 1
    assert (run["batch_size"], run["nb_epochs"], run["data"]["samples"]) == (4, 3, 15)
    tensors = load_file(tmp_path / index["tensors"])
    assert_equal_weights({name[6:]: t for name, t in tensors.items() if name.startswith("model/")}, after)
    assert "optimizer/exp_avg/visual.2.weight" in tensors


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    with pytest.raises(Kill):
        fit(trainer(), 5, checkpoint=tmp_path, checkpoint_every=2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"could not be written .*No space left.*resume=True"):
            fit(trainer(), checkpoint=tmp_path, checkpoint_every=2, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert_equal_weights(fit(trainer(), checkpoint=tmp_path, checkpoint_every=2, resume=True), fit(trainer()))


def test_a_kill_between_the_two_files_leaves_the_old_pair(tmp_path, monkeypatch):
    with pytest.raises(Kill):
        fit(trainer(), 3, checkpoint=tmp_path, checkpoint_every=2)
    write = checkpoint.replace_file

    def killed(path, content):
        if path.name == checkpoint.INDEX:
            raise Kill
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "replace_file", killed)
        with pytest.raises(Kill):
            fit(trainer(), checkpoint=tmp_path, checkpoint_every=2, resume=True)
    assert checkpoint.load_checkpoint(tmp_path).step == 2
    assert_equal_weights(fit(trainer(), checkpoint=tmp_path, checkpoint_every=2, resume=True), fit(trainer()))


def test_a_folder_in_use_is_not_overwritten(tmp_path):
    fit(trainer(), checkpoint=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    one = trainer()
    start = weights(one.classifier.dual_encoder)
    with pytest.raises(InputError, match=r"holds a checkpoint already.*resume=True"):
        fit(one, checkpoint=tmp_path)
    assert_equal_weights(weights(one.classifier.dual_encoder), start)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: trainer(model=nudged()), "another model: that training began from other weights"),
        (lambda: trainer(model=TinyEncoder(dim=4)), "another model"),
        (lambda: trainer(eps=0.2), r"another run: settings.eps was 0.1, now 0.2"),
        (lambda: trainer("tecoa"), r"method was 'mmcoa', now 'tecoa'"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(other, message, tmp_path):
    fit(trainer(), checkpoint=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    torch.manual_seed(1)
    one = other()
    start = weights(one.classifier.dual_encoder)
    with pytest.raises(InputError, match=message):
        fit(one, checkpoint=tmp_path, resume=True)
    assert_equal_weights(weights(one.classifier.dual_encoder), start)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_preprocessing_is_refused(tmp_path):
    def run(window):
        defence = SpatialSmoothing(window_size=window, channels_first=True)
        one = DualEncoderTrainer(classifier(preprocessing_defences=defence), "clean", settings())
        one.fit(images(), labels(), 3, 1, checkpoint=tmp_path, resume=True)

    run(3)
    run(3)
    with pytest.raises(InputError, match=r"preprocessing_defences was .*'window_size': 3"):
        run(5)
    with pytest.raises(InputError, match=r"preprocessing_defences was .* now None"):
        DualEncoderTrainer(classifier(), "clean", settings()).fit(
            images(), labels(), 3, 1, checkpoint=tmp_path, resume=True
        )


def test_other_data_is_refused(tmp_path):
    fit(trainer(), checkpoint=tmp_path)
    with pytest.raises(InputError, match=r"data.digest was"):
        trainer().fit(1 - images(15), labels(15), 4, 3, checkpoint=tmp_path, resume=True)
    one = AdversarialTrainerMMCoA(retriever(), settings())
    one.fit(pairs(), None, 3, 1, checkpoint=tmp_path / "pairs")
    other = pairs()
    other["text"][0] = "another text"
    with pytest.raises(InputError, match=r"data.digest was"):
        AdversarialTrainerMMCoA(retriever(), settings()).fit(
            other, None, 3, 1, checkpoint=tmp_path / "pairs", resume=True
        )


def test_damaged_checkpoints(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        checkpoint.load_checkpoint(tmp_path)
    fit(trainer(), checkpoint=tmp_path)
    [tensors] = tmp_path.glob("*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        fit(trainer(), checkpoint=tmp_path, resume=True)
    tensors.unlink()
    with pytest.raises(InputError, match=r"there is no step-000000012.safetensors"):
        checkpoint.load_checkpoint(tmp_path)
    (tmp_path / "checkpoint.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        checkpoint.load_checkpoint(tmp_path)


def test_resuming_needs_a_folder():
    with pytest.raises(InputError, match="need a folder"):
        fit(trainer(), resume=True)


def test_epochs_are_announced_and_again_where_training_goes_on_at_their_end(tmp_path) -> None:
    told: list[int] = []
    arguments = {"batch_size": 4, "nb_epochs": 2, "checkpoint": tmp_path}

    def announced(epochs: int) -> None:
        told.append(epochs)
        if told == [0, 1]:
            assert checkpoint.load_checkpoint(tmp_path).step == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer("tecoa").fit(images(), labels(), **arguments, epoch_callback=announced)
    trainer("tecoa").fit(images(), labels(), **arguments, epoch_callback=announced, resume=True)
    assert told == [0, 1, 1, 2]
