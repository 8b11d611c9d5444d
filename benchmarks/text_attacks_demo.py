"""What text attacks do to the demos: one table for ``demo:digits``, one for ``demo:shapes``; about two minutes."""

from __future__ import annotations

import numpy as np

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.datasets import open_data
from art_multimodal.datasets.demo_shapes import ShapesData
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.models.demo.captions import HELD_OUT_TEMPLATES
from art_multimodal.models.demo.scenes import COLOUR_NAMES, SHAPES
from art_multimodal.models.masked_language_model import load_masked_language_model
from art_multimodal.pairs import image_text_pairs

TEMPLATES = (
    "a photo of the handwritten digit {}.",
    "a photo of a {}.",
    "a handwritten {}",
    "the number {} on white paper",
    "a blurry picture of the small numeral {}",
    "this is the symbol {}",
    "a {} drawn by a child",
    "a scan of the digit {} in black ink",
    "it says {}",
    "a good crop of the character {}",
    *HELD_OUT_TEMPLATES,
)
NUMERALS = tuple("0123456789")
FACTS = (*COLOUR_NAMES, *SHAPES, "left", "right", "above", "over", "higher", "below", "under", "lower")
DIGITS_ATTACKS = {
    "published order, top_k=10": {},
    "candidate_words=None": {"candidate_words": None},
    "top_k=50": {"top_k": 50},
    "candidate_words=None, top_k=50": {"candidate_words": None, "top_k": 50},
    "margin, candidate_words=None": {"loss": "margin", "candidate_words": None},
    "nothing protected": {"protect_class_names": False, "protected_words": ()},
}
SHAPES_ATTACKS = {"embedding_kl": {}, "margin, candidate_words=None": {"loss": "margin", "candidate_words": None}}


def digits() -> None:
    data, encoder, mlm = (
        open_data("demo:digits"),
        load_model("demo:digits"),
        load_masked_language_model("demo:mlm"),
    )
    x = np.stack([data.image(index) for index in range(len(data))])
    y = np.array([data.label_of(index) for index in range(len(data))])
    accuracy: dict[str, list[float]] = {}
    for template in TEMPLATES:
        estimator = ZeroShotClassifier(encoder, data.class_names, template, device_type="cpu")
        accuracy.setdefault("none", []).append((estimator.predict(x).argmax(1) == y).mean())
        attacks = {
            name: BertAttack(estimator, mlm, **{"verbose": False, "protected_words": NUMERALS, **settings})
            for name, settings in DIGITS_ATTACKS.items()
        }
        attacks["CharacterAttack"] = CharacterAttack(estimator, verbose=False)
        for name, attack in attacks.items():
            prompts = attack.generate(x, y) if attack.loss == "margin" else attack.generate()
            right = estimator.with_prompts(prompts).predict(x).argmax(1) == y
            accuracy.setdefault(name, []).append(right.mean())
    clean = np.array(accuracy["none"])
    print(f"demo:digits, {len(x)} images, {len(TEMPLATES)} templates: mean accuracy, templates that lose over 2 points")
    for name, values in accuracy.items():
        print(f"| {name} | {np.mean(values):.3f} | {int((clean - values > 0.02).sum())} |")


def shapes(count: int = 400) -> None:
    data = ShapesData()
    pairs, y = image_text_pairs(data.images[:count], data.texts[:count]), data.labels[:count]
    print(f"demo:shapes, {count} questions, colours, shapes and relations protected")
    for fusion in ("concat", "cross_attention"):
        estimator = FusionClassifier(load_model(f"demo:shapes/{fusion}"), device_type="cpu")
        print(f"| {fusion} | none | {(estimator.predict_labels(pairs) == y).mean():.3f} |")
        for name, settings in SHAPES_ATTACKS.items():
            attack = BertAttack(estimator, protected_words=FACTS, verbose=False, **settings)
            print(f"| {fusion} | {name} | {(estimator.predict_labels(attack.generate(pairs, y)) == y).mean():.3f} |")


if __name__ == "__main__":
    digits()
    shapes()
