"""What both processes of ``test_two_processes.py`` run; alone it does the same with twice the batch, to compare with.

torchrun --nproc_per_node 2 tests/defences/two_processes.py FOLDER [further]
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import distributed, nn

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from several import OF_FUSIONS, contracting  # noqa: E402
from tiny import TinyEncoder, TinyFusion  # noqa: E402

from art_multimodal import FusionClassifier, ZeroShotClassifier  # noqa: E402
from art_multimodal.attacks.evasion import BertAttack  # noqa: E402
from art_multimodal.defences.trainer import (  # noqa: E402
    METHODS,
    DualEncoderTrainer,
    FusionTrainer,
    MethodTrainer,
    ScoreAscent,
    TrainingSettings,
)
from art_multimodal.errors import InputError  # noqa: E402
from art_multimodal.estimators.retriever import ImageTextRetriever  # noqa: E402
from art_multimodal.modalities import table  # noqa: E402
from art_multimodal.models.families.modular.model import ModularModel, Tower  # noqa: E402
from art_multimodal.models.fusions import Equilibrium  # noqa: E402
from art_multimodal.pairs import image_text_pairs  # noqa: E402
from art_multimodal.processes import is_main_process, process_count, process_index  # noqa: E402
from art_multimodal.sample_arrays import samples  # noqa: E402

NAMES = ("zero", "one", "two")
TEMPLATES = ("a photo of the handwritten digit {}.", "a scan of the number {}.")
#: Of two processes together. The last batch has three samples, of which one process has one; where a method contrasts
#: nothing it has one, of which one process has none.
BATCH, SAMPLES, FEWER, EPOCHS = 4, 11, 9, 2


#: Every method with each kind of data that it trains on.
_ALL = [
    (name, data)
    for name, method in METHODS.items()
    # Each process draws variations of its own.
    if name != "umurl"
    for data in (("labels", "captions") if not method.of_fusion else ("samples",) if name in OF_FUSIONS else ("pairs",))
]
#: Methods that are also run on captions: with an attack on both, on images alone, with texts that processes draw.
_ON_CAPTIONS = ("mmcoa", "tecoa", "joint-anchored")
#: What a method does with captions it does with labels, so those of the other methods are slow.
FURTHER = [run for run in _ALL if run[1] == "captions" and run[0] not in _ON_CAPTIONS]
RUNS = [run for run in _ALL if run not in FURTHER]


def modular(fusion: str) -> ModularModel:
    """A model over two tables."""
    torch.manual_seed(3)
    towers = [
        Tower(table(name, width), nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, 4)), 4)
        for name, width in (("lab", 6), ("gas", 3))
    ]
    model = ModularModel(towers, fusion, NAMES).double().eval()
    if isinstance(of := model.fusion, Equilibrium):
        # What is compared is not how far a solver came.
        of.max_iter, of.tolerance = 500, 1e-13
        contracting(of)
    return model


def estimator_of(data: str, name: str = "") -> ZeroShotClassifier | ImageTextRetriever | FusionClassifier:
    # In double precision: an attack steps by the signs of gradients, where rounding would become a step.
    if data == "samples":
        return FusionClassifier(modular(OF_FUSIONS[name]), device_type="cpu")
    if data == "pairs":
        return FusionClassifier(TinyFusion(seed=3).double().eval(), device_type="cpu")
    model = TinyEncoder(seed=3).double().eval()
    if data == "captions":
        return ImageTextRetriever(model, device_type="cpu")
    return ZeroShotClassifier(model, NAMES, TEMPLATES, device_type="cpu")


def samples_of(data: str, count: int = SAMPLES) -> tuple[np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(4)
    if data == "samples":
        return samples(lab=rng.random((count, 6)), gas=rng.random((count, 3))), np.arange(count) % 3
    images = rng.random((count, 3, 8, 8), dtype=np.float32)
    if data == "labels":
        return images, np.arange(count) % 3
    pairs = image_text_pairs(images, [f"a drawing of the number {n % 5}" for n in range(count)])
    return pairs, np.arange(count) % 3 if data == "pairs" else None


def trained(name: str, data: str, **more: Any) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights and losses after training by a method."""
    estimator = estimator_of(data, name)
    settings = TrainingSettings(
        optimizer="sgd", betas=(0.5, 0.5), learning_rate=0.01, eps=0.1, eps_step=0.05, max_iter=3, **more
    )
    trainer: MethodTrainer
    if data == "samples":
        attack = ScoreAscent({"lab": 0.1, "gas": 0.1}, "most-vulnerable")
        trainer = FusionTrainer(estimator, name, replace(settings, modality_dropout=0.2), attack)
    else:
        masks: dict[str, Any] = {}
        if METHODS[name].ablates:
            masks = {"keep": {"image": 4} | ({"text": 3} if data == "pairs" else {}), "consistency": 0.5}
        trainer = (FusionTrainer if data == "pairs" else DualEncoderTrainer)(estimator, name, settings, **masks)
    few = name in ("fare", "leaf", "plain", "adversarial", "ablation") or data == "samples"
    x, y = samples_of(data, FEWER if few else SAMPLES)
    trainer.fit(x, y, batch_size=BATCH // process_count(), nb_epochs=EPOCHS)
    return estimator.image_text_model.state_dict(), trainer.losses


def refused() -> dict[str, str]:
    """What every process says when only one of them runs into trouble."""
    said = {}
    estimator = estimator_of("labels")
    x, y = samples_of("labels")
    if process_index() == process_count() - 1:
        # Of this process's images alone; the others see it in what they are sent.
        encode = estimator.dual_encoder.image_tower
        estimator.dual_encoder.image_tower = lambda pixels: encode(pixels) * float("nan")  # type: ignore[method-assign]
    for what, change in (("not finite", {}), ("other samples", {"x": x[process_index() :], "y": y[process_index() :]})):
        trainer = DualEncoderTrainer(estimator if what == "not finite" else estimator_of("labels"), "tecoa")
        try:
            trainer.fit(**{"x": x, "y": y, **change}, batch_size=2, nb_epochs=1)
        except InputError as error:
            said[what] = str(error)
    return said


def checkpoints(folder: Path, resume: bool) -> dict[str, torch.Tensor]:
    """Weights of a run that keeps its state, and goes on with it."""
    estimator = estimator_of("labels")
    attack = BertAttack(estimator, verbose=False)
    trainer = DualEncoderTrainer(estimator, "mmcoa", TrainingSettings(eps=0.1, eps_step=0.05, max_iter=2), attack)
    x, y = samples_of("labels")
    stop = 4

    class Stop(Exception):
        pass

    def killed(record: Any) -> None:
        if not resume and record.place.step == stop:
            raise Stop

    with suppress(Stop):
        trainer.fit(
            *(x, y),
            batch_size=BATCH // process_count(),
            nb_epochs=3,
            checkpoint=folder,
            checkpoint_every=1,
            resume=resume,
            callback=killed,
        )
    return estimator.dual_encoder.state_dict()


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    # Runs after what the first meeting registers.
    atexit.register(lambda: (folder / f"left-{os.environ['RANK']}").write_text(str(not distributed.is_initialized())))
    further, losses = "further" in sys.argv, {}
    for name, data in FURTHER if further else RUNS:
        weights, losses[f"{name}-{data}"] = trained(name, data)
        save_file(
            {key: tensor.contiguous() for key, tensor in weights.items()},
            folder / f"{name}-{data}-{process_index()}.safetensors",
        )
    facts: dict[str, Any] = {"processes": process_count(), "losses": losses}
    if process_count() > 1 and not further:
        facts["refused"] = refused()
        checkpoints(folder / "state", resume=False)
        save_file(checkpoints(folder / "state", resume=True), folder / f"resumed-{process_index()}.safetensors")
        checkpoints(folder / "other_state", resume=False)
    (folder / f"facts-{process_index()}.json").write_text(json.dumps(facts))
    assert is_main_process() == (process_index() == 0)


if __name__ == "__main__":
    main()
