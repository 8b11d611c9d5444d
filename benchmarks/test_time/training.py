"""The small CLIPs on CIFAR-10 that are defended, one for each seed: plain, and trained as "joint-anchored".

What was trained is kept, so that it is trained once; two processes that start together may both train the same model.
Some four minutes of CPU for the plain one, one and a half more for the other, and as much for the language model,
which all seeds share.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from art_multimodal.language.masked_language_model import MaskedLanguageModel, load_masked_language_model
from benchmarks.robust_training.data import DATA, ROOT, Captioned, cifar, part_of
from benchmarks.robust_training.evaluation import Words
from benchmarks.robust_training.language import make_tokenizer, save_language_model, train_language_model
from benchmarks.robust_training.model import SmallCLIP
from benchmarks.robust_training.pretrain import train as pretrained
from benchmarks.robust_training.recipes import RECIPES
from benchmarks.robust_training.recipes import train as trained_by

FOLDER = ROOT / "build" / "test_time"
#: Epochs of pretraining: 40 in the comparison of trainings, which takes three times as long.
EPOCHS, BATCH_SIZE = 12, 256
#: Epochs and images of the training under attack, as in the comparison of trainings, and steps of the language model.
ROBUST_EPOCHS, ROBUST_IMAGES, LANGUAGE_STEPS = 2, 9000, 2500
ROBUST = "joint-anchored"


@cache
def language_model() -> MaskedLanguageModel:
    """What proposes words, and the tokenizer of all models."""
    kept = FOLDER / "language_model"
    if not (kept / "config.json").exists():
        captioned = Captioned(DATA)
        tokenizer = make_tokenizer(captioned)
        save_language_model(kept, train_language_model(captioned, tokenizer, LANGUAGE_STEPS), tokenizer)
    return load_masked_language_model(str(kept))


def plain(seed: int) -> tuple[SmallCLIP, float]:
    """A CLIP that was pretrained on captions, and how many seconds of CPU that took."""

    def train() -> SmallCLIP:
        torch.manual_seed(seed)
        start = SmallCLIP(language_model().tokenizer)
        model = pretrained(Captioned(DATA), start, EPOCHS, BATCH_SIZE, seed)
        model.logit_scale.data.clamp_(max=float(torch.tensor(50.0).log()))
        return model.fold()

    return _kept(f"plain-{seed}-{EPOCHS}", train)


def robust(seed: int) -> tuple[SmallCLIP, float]:
    """The same, trained further under attack, and how many seconds of CPU that added."""

    def train() -> SmallCLIP:
        model, _ = plain(seed)
        images = cifar("train", DATA)
        images = part_of(images, range(min(ROBUST_IMAGES, len(images))))
        words = Words.halved(language_model())
        trained_by(RECIPES[ROBUST], model, words, images, seed, ROBUST_EPOCHS)
        return model

    # What it starts from is trained before the clock runs.
    plain(seed)
    return _kept(f"{ROBUST}-{seed}-{EPOCHS}-{ROBUST_EPOCHS}", train)


def _kept(name: str, train: Callable[[], SmallCLIP]) -> tuple[SmallCLIP, float]:
    """A model from its file, and the seconds beside it; trained and written where there is none."""
    file, words = FOLDER / f"{name}.safetensors", language_model()
    facts = file.with_suffix(".json")
    if not facts.exists():
        started = time.process_time()
        model = train()
        said: dict[str, Any] = {"cpu_seconds": round(time.process_time() - started, 1)}
        # The facts come last: a kill in between leaves a model that is trained again.
        part = file.with_suffix(".part")
        model.save(part)
        part.replace(file)
        facts.write_text(json.dumps(said) + "\n", encoding="utf-8")
    return SmallCLIP.load(file, words.tokenizer), float(json.loads(facts.read_text(encoding="utf-8"))["cpu_seconds"])
