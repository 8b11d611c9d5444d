"""What a detector of pairs whose modalities disagree sees of attacks, also of such that know it; three minutes.

python benchmarks/detection.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.defences.preprocessor import FeatureSqueezing, SpatialSmoothing
from torch import Tensor
from torch.nn import functional as F

from art_multimodal import ImageTextRetriever, image_text_pairs, load_model
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack, CoAttack
from art_multimodal.attacks.evasion.image_ascent import BestSeen, ImageBudget, ascend, own_score
from art_multimodal.attacks.evasion.multimodal.set_level_guidance import SetLevelGuidanceAttack
from art_multimodal.datasets import open_captioned
from art_multimodal.defences.detector.evasion import ModalityDisagreementDetector
from art_multimodal.defences.preprocessor import SpellingRepair, TextPreprocessor, UnicodeNormalisation
from art_multimodal.estimators.straight_through import straight_through
from art_multimodal.evaluations.detection import DetectorEvaluation, auc_ci95, write_detection_report
from art_multimodal.functional.statistics import proportion_ci95

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    "`demo:scenes`, one caption of each of its {images} images: detectors are fitted on one half of the pairs, for 5 % "
    "false positives, and evaluated on the other half, clean and attacked. Images: l_inf, {steps} steps, eps "
    "{eps:g}/255 where none is given. Texts: one word or one edit, the words of the facts protected. Succeeds: another "
    "caption is found first among those of all images of the half; for a wrong caption, which comes with the attacked "
    "image: it is found first. All attacked pairs count, also where the attack fails. AUC: area under the ROC curve. "
    "In parentheses 95 % intervals over pairs. "
    "An attack that knows the detector raises its aim minus {penalty:g} times what the score exceeds the threshold by, "
    "through the preprocessors where the score has them, and keeps the best step. Clean images find another caption "
    "first in {error} of cases."
)
#: What the excess of a score over the threshold costs an attack that knows it, per unit of cosine.
_PENALTY = 10.0
#: How far below the threshold is safe.
_MARGIN = 0.005
GOALS = ("another caption", "wrong caption")
Function = Callable[[Tensor], Tensor]


class Scene:
    """A model, and the pairs that are attacked.

    :param fitted: Pairs that detectors are fitted on.
    :param pairs: Pairs that are attacked.
    """

    def __init__(self, fitted: np.ndarray, pairs: np.ndarray) -> None:
        self.retriever = ImageTextRetriever(load_model("demo:scenes"), device_type="cpu")
        self.fitted, self.pairs = fitted, pairs
        self.clean = torch.from_numpy(np.ascontiguousarray(pairs["image"]))
        self.own = self.texts(pairs["text"].tolist())
        #: Row by row the caption of another image.
        self.wrong = np.roll(pairs["text"], 1)

    def texts(self, texts: list[str]) -> Tensor:
        return F.normalize(self.retriever.text_features(texts), dim=-1)

    def images(self, images: Tensor) -> Tensor:
        return F.normalize(self.retriever.model.image_features(images), dim=-1)

    def succeeded(self, attacked: np.ndarray, goal: str) -> np.ndarray:
        """Where an attack reached its goal."""
        features = F.normalize(self.retriever.image_features(attacked["image"]).double(), dim=-1)
        own = (features * self.texts(attacked["text"].tolist()).double()).sum(dim=1)
        others = features @ self.own.double().T
        # The caption that the pair came with does not compete, however it was changed.
        same = attacked["text"][:, None] == self.pairs["text"]
        same[np.arange(len(same)), np.roll(np.arange(len(same)), 1 if goal == GOALS[1] else 0)] = True
        found = (own > others.masked_fill(torch.from_numpy(same), -1).amax(dim=1)).cpu().numpy()
        return found if goal == GOALS[1] else ~found

    def suspicion(self, detector: ModalityDisagreementDetector, texts: np.ndarray) -> Function:
        """A detector's scores of images with these texts, differentiable."""
        own = self.texts(texts.tolist())
        if detector.score == "similarity":
            return lambda images: -(self.images(images) * own).sum(dim=1)
        if detector.score == "margin":
            reference = np.array(list(dict.fromkeys(self.fitted["text"].tolist())), dtype=object)
            features, same = self.texts(reference.tolist()), torch.from_numpy(texts[:, None] == reference)

            def margin(images: Tensor) -> Tensor:
                found = self.images(images)
                return (found @ features.T).masked_fill(same, -1).amax(dim=1) - (found * own).sum(dim=1)

            return margin
        assert detector.transformations is not None
        repairs = [one for one in detector.transformations if isinstance(one, TextPreprocessor)]
        repaired = [self.texts(one.repair(texts.tolist())) for one in repairs]
        functions = [straight_through(one) for one in detector.transformations if not isinstance(one, TextPreprocessor)]

        def change(images: Tensor) -> Tensor:
            found = self.images(images)
            here = (found * own).sum(dim=1)
            moved = [(self.images(function(images)) * own).sum(dim=1) for function in functions]
            moved += [(found * text).sum(dim=1) for text in repaired]
            return (torch.stack(moved) - here).abs().amax(dim=0)

        return change

    def attacked(self, goal: str, budget: ImageBudget, detector: ModalityDisagreementDetector | None) -> np.ndarray:
        """Pairs after an attack on images that knows the detector, or of none."""
        texts = self.wrong if goal == GOALS[1] else self.pairs["text"]
        own = self.texts(texts.tolist())
        same = torch.from_numpy(texts[:, None] == self.pairs["text"])

        def margin(images: Tensor) -> Tensor:
            found = self.images(images)
            others = (found @ self.own.T).masked_fill(same, -1).amax(dim=1)
            ahead = (found * own).sum(dim=1) - others
            return ahead if goal == GOALS[1] else -ahead

        def evading(images: Tensor) -> Tensor:
            assert detector is not None and detector.threshold is not None
            return margin(images) - _PENALTY * (suspicion(images) - detector.threshold + _MARGIN).clamp_min(0)

        suspicion = margin if detector is None else self.suspicion(detector, texts)
        objective = own_score(margin if detector is None else evading)
        start = budget.random_start(self.clean, torch.Generator().manual_seed(0))
        best = BestSeen(self.clean)
        ascend(self.retriever, self.clean, objective, budget, start, best=best)
        return image_text_pairs(best.images.numpy(), texts.tolist())

    def unaware(self, budget: ImageBudget, protected: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Pairs after attacks that know of no detector."""
        ball = {"norm": np.inf, "eps": budget.eps, "eps_step": budget.eps_step, "max_iter": budget.max_iter, "seed": 0}
        texts = {"loss": "similarity", "protected_words": protected, "verbose": False}
        bert = {**texts, "candidate_words": None}
        towards_kl = BertAttack(self.retriever, "demo:mlm", **{**bert, "loss": "embedding_kl"})
        attacks = {
            "image, away from the caption (PGD)": SetLevelGuidanceAttack(
                self.retriever, None, scales=(1.0,), **ball, verbose=False
            ),
            "one word (BertAttack)": BertAttack(self.retriever, "demo:mlm", **bert),
            "one typing error (CharacterAttack)": CharacterAttack(self.retriever, candidate_words=1, **texts),
            "image and word (CoAttack)": CoAttack(self.retriever, towards_kl, **ball, verbose=False),
        }
        return {name: attack.generate(self.pairs) for name, attack in attacks.items()}


def share(found: np.ndarray) -> str:
    low, high = proportion_ci95(int(found.sum()), len(found)) or (0.0, 0.0)
    return f"{found.mean():.2f} ({low:.2f} to {high:.2f})"


def area(clean: np.ndarray, attacked: np.ndarray) -> str:
    from sklearn.metrics import roc_auc_score

    auc = roc_auc_score(np.repeat([0, 1], [len(clean), len(attacked)]), np.concatenate([clean, attacked]))
    low, high = auc_ci95(clean, attacked)
    return f"{auc:.3f} ({low:.3f} to {high:.3f})"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--eps", type=float, nargs="+", default=[4.0, 8.0, 16.0], help="in 255ths")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "detection.json")
    parser.add_argument("--report", type=Path, help="folder for detection.html of the first score")
    options = parser.parse_args(arguments)
    data = open_captioned("demo:scenes")
    rows = range(options.images)
    pairs = image_text_pairs(
        np.stack([data.image(row) for row in rows]), [data.captions_of(row)[row % 2] for row in rows]
    )
    half = len(pairs) // 2
    scene = Scene(pairs[:half], pairs[half:])
    repair = SpellingRepair(vocabulary=())
    repair.fit(scene.fitted)
    transformations = [
        SpatialSmoothing(window_size=3, channels_first=True, clip_values=(0.0, 1.0)),
        FeatureSqueezing(clip_values=(0.0, 1.0), bit_depth=4),
        UnicodeNormalisation(),
        repair,
    ]
    detectors = {
        name: ModalityDisagreementDetector(scene.retriever, name, transformations=transformations)
        for name in ("similarity", "margin", "consistency")
    }
    clean, budgets = {}, {}
    for name, detector in detectors.items():
        detector.fit(scene.fitted)
        clean[name] = detector.scores(scene.pairs)
    for eps in options.eps:
        budgets[eps] = ImageBudget(float("inf"), eps / 255, eps / 8 / 255, options.steps)

    unaware = scene.unaware(budgets[options.eps[0]], data.protected_words)
    unaware["wrong caption, image untouched"] = image_text_pairs(scene.clean.numpy(), scene.wrong.tolist())
    first = []
    for name, attacked in unaware.items():
        row = [name, share(scene.succeeded(attacked, GOALS[name.startswith("wrong")]))]
        for score, detector in detectors.items():
            report, flagged = detector.detect(attacked)
            row += [area(clean[score], report["scores"]), f"{flagged.mean():.2f}"]
        first.append(row)
    nothing = [(clean[score] > detector.threshold).mean() for score, detector in detectors.items()]
    first.append(["none: false positives", "", *(cell for rate in nothing for cell in ("", f"{rate:.2f}"))])

    second = []
    for goal in GOALS:
        for eps, budget in budgets.items():
            plain = scene.attacked(goal, budget, None)
            for score, detector in detectors.items():
                row = [goal, f"{eps:g}/255", score]
                for attacked in (plain, scene.attacked(goal, budget, detector)):
                    report, flagged = detector.detect(attacked)
                    reached = scene.succeeded(attacked, goal)
                    row += [area(clean[score], report["scores"]), f"{reached.mean():.2f}", share(reached & ~flagged)]
                second.append(row)

    seen = [cell for score in detectors for cell in (f"{score}: AUC", "flagged")]
    columns = ["AUC", "succeeds", "succeeds and is not flagged"]
    result = {
        "protocol": PROTOCOL.format(
            images=options.images,
            steps=options.steps,
            eps=options.eps[0],
            penalty=_PENALTY,
            error=f"{scene.succeeded(scene.pairs, GOALS[0]).mean():.0%}",
        ),
        "command": "python benchmarks/detection.py",
        "settings": {"images": options.images, "eps": options.eps, "steps": options.steps},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "tables": [
            {"title": "Attacks that know of no detector", "header": ["attack", "succeeds", *seen], "rows": first},
            {
                "title": "Attacks on images that know the detector, and the same ones that do not",
                "header": [
                    "goal",
                    "eps",
                    "score",
                    *(f"unaware: {c}" for c in columns),
                    *(f"aware: {c}" for c in columns),
                ],
                "rows": second,
            },
        ],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.report:
        evaluation = DetectorEvaluation(detectors["similarity"])
        write_detection_report(evaluation.evaluate(scene.pairs, unaware), options.report)
    for row in (*first, *second):
        print(" | ".join(row))
    return result


if __name__ == "__main__":
    main()
