"""Rows of ART's trainers."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable

import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.defences import trainer as art
from art.defences.preprocessor import CutMix, Mixup
from art.estimators.classification import PyTorchClassifier
from interop.defences import seed
from interop.row import Row, named
from interop.subjects import CLASSES, QUESTIONS, Subject, untrained

from art_multimodal import FusionClassifier, image_text_pairs
from art_multimodal.attacks.evasion import ImageAttackOnPairs

EPS = 0.03
Train = Callable[[Subject, PyTorchClassifier], object]


def pgd(classifier: PyTorchClassifier) -> ProjectedGradientDescent:
    return ProjectedGradientDescent(classifier, eps=EPS, eps_step=0.02, max_iter=2, batch_size=48, verbose=False)


def loss_of(classifier: PyTorchClassifier, subject: Subject) -> float:
    return float(classifier.compute_loss(subject.x, subject.y, reduction="mean"))


def trainer_row(name: str, covers: object, train: Train, **settings) -> Row:
    """A row of a trainer, which has to lower the loss of an untrained model, also under attack."""

    def run(subject: Subject) -> str:
        classifier = subject.trainable(rate=0.005)
        before = loss_of(classifier, subject)
        seed()
        train(subject, classifier)
        after = loss_of(classifier, subject)
        # Less than that of always answering the same, too.
        assert after < min(0.7 * before, 0.8 * math.log(CLASSES)), f"loss {before:.2f} → {after:.2f}"
        attacked = pgd(classifier).generate(subject.x, subject.y)
        under_attack = float(classifier.compute_loss(attacked, subject.y, reduction="mean"))
        assert under_attack < before, f"loss {before:.2f} → {under_attack:.2f} under attack"
        return f"loss {before:.2f} → {after:.2f}"

    covers = covers if isinstance(covers, tuple) else (covers,)
    return Row(name, "trainers", named(*covers), run, **settings)


def adversarial(subject: Subject, classifier: PyTorchClassifier) -> None:
    art.AdversarialTrainer(classifier, pgd(classifier), ratio=0.5).fit(
        subject.x, subject.y, batch_size=16, nb_epochs=12
    )


def on_pairs(subject: Subject) -> str:
    model = copy.deepcopy(untrained("fusion"))
    classifier = FusionClassifier(model, optimizer=torch.optim.Adam(model.parameters(), 0.02), device_type="cpu")
    texts = [QUESTIONS[index % len(QUESTIONS)] for index in range(len(subject.x))]
    pairs = image_text_pairs(subject.x, texts)
    labels = (subject.labels - subject.question + [QUESTIONS.index(text) for text in texts]) % CLASSES
    before = float(classifier.compute_loss(pairs, labels).mean())
    attack = ImageAttackOnPairs(classifier, pgd)
    seed()
    art.AdversarialTrainer(classifier, attack, ratio=0.5).fit(pairs, labels, batch_size=16, nb_epochs=25)
    after = float(classifier.compute_loss(pairs, labels).mean())
    assert after < 0.7 * before, f"loss {before:.2f} → {after:.2f}"
    return f"loss {before:.2f} → {after:.2f}"


def twin(subject: Subject, classifier: PyTorchClassifier, rate: float = 0.01) -> PyTorchClassifier:
    """Another classifier of the same kind, with plain SGD, which ART perturbs the weights of."""
    model = copy.deepcopy(untrained(subject.name))
    return subject.classifier(model, optimizer=torch.optim.SGD(model.parameters(), rate))


def awp(mode: str) -> Train:
    def train(subject: Subject, classifier: PyTorchClassifier) -> None:
        trainer = art.AdversarialTrainerAWPPyTorch(
            classifier, twin(subject, classifier), pgd(classifier), mode=mode, gamma=0.005, beta=1.0, warmup=2
        )
        trainer.fit(subject.x, subject.y, batch_size=16, nb_epochs=12)

    return train


def trades(subject: Subject, classifier: PyTorchClassifier) -> None:
    trainer = art.AdversarialTrainerTRADESPyTorch(classifier, pgd(classifier), beta=1.0)
    trainer.fit(subject.x, subject.y, batch_size=16, nb_epochs=12)


def oaat(subject: Subject, classifier: PyTorchClassifier) -> None:
    averaged = twin(subject, classifier)
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "models_path": folder,
            "dataset": "interop",
            "lr": 0.1,
            "lr_schedule": "cosine",
            "momentum": 0.9,
            "weight_decay": 0.0,
            "epsilon": EPS,
            "i_epsilon": EPS / 4,
            "mixup_epsilon": 1.5 * EPS,
            "max_iter": 2,
            "norm": "inf",
            "beta": 1.0,
            "beta_final": 1.5,
            "mixup_alpha": 0.2,
            "alpha": 1.0,
            "awp_gamma": 0.005,
            "awp_warmup": 10,
            "oaat_warmup": 0,
            "lpips_weight": 1.0,
            "alternate_iter_eps": EPS,
            "layer_names_activation": [classifier.layer_names[0]],
            "list_swa_tau": [0.5],
            "list_swa_epoch": [2],
            "swa_save_epoch": 2,
            "load_swa_model_tau": 0.5,
        }
        trainer = art.AdversarialTrainerOAATPyTorch(
            classifier,
            twin(subject, classifier),
            twin(subject, classifier),
            [averaged],
            pgd(classifier),
            settings,
        )
        trainer.fit(subject.x, subject.y, batch_size=16, nb_epochs=12)


ROWS = [
    trainer_row("AdversarialTrainer", art.AdversarialTrainer, adversarial),
    Row(
        "AdversarialTrainer on pairs",
        "trainers",
        named(art.AdversarialTrainer),
        on_pairs,
        not_for={"control": "images only", "zero-shot": "images only"},
        note="`ImageAttackOnPairs` makes an attack on pairs of one on images.",
    ),
    trainer_row(
        "AdversarialTrainerMadryPGD",
        art.AdversarialTrainerMadryPGD,
        lambda subject, classifier: art.AdversarialTrainerMadryPGD(
            classifier, nb_epochs=12, batch_size=16, eps=EPS, eps_step=0.02, max_iter=2
        ).fit(subject.x, subject.y),
    ),
    trainer_row("AdversarialTrainerTRADESPyTorch", art.AdversarialTrainerTRADESPyTorch, trades),
    trainer_row(
        "AdversarialTrainerFBFPyTorch",
        art.AdversarialTrainerFBFPyTorch,
        lambda subject, classifier: art.AdversarialTrainerFBFPyTorch(classifier, eps=EPS).fit(
            subject.x, subject.y, batch_size=16, nb_epochs=12
        ),
        note="Sets the optimizer's learning rate by a schedule of its own.",
    ),
    trainer_row("AdversarialTrainerAWPPyTorch, PGD", art.AdversarialTrainerAWPPyTorch, awp("PGD")),
    trainer_row("AdversarialTrainerAWPPyTorch, TRADES", art.AdversarialTrainerAWPPyTorch, awp("TRADES")),
    trainer_row(
        "AdversarialTrainerOAATPyTorch",
        art.AdversarialTrainerOAATPyTorch,
        oaat,
        note="With `alternate_iter_eps` not below `epsilon`: its LPIPS phase wants layers that put out feature maps.",
    ),
    trainer_row(
        "DPInstaHideTrainer",
        art.DPInstaHideTrainer,
        lambda subject, classifier: art.DPInstaHideTrainer(
            classifier, [Mixup(CLASSES), CutMix(CLASSES, channels_first=True)], scale=0.01
        ).fit(subject.x, subject.y, batch_size=16, nb_epochs=20),
    ),
]
