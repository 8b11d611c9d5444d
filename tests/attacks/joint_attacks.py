"""What tests of attacks on images and texts together share: estimators, samples, and attacks that are fast on them."""

from __future__ import annotations

import numpy as np
import torch
from attacks.text_attacks import ALL, TEXTS, fusion, images, language_model, pairs, zero_shot
from tiny import TinyEncoder

from art_multimodal import ImageTextRetriever, ZeroShotClassifier
from art_multimodal.attacks.evasion import BertAttack, CoAttack
from art_multimodal.functional.losses import margin_loss
from art_multimodal.pairs import image_text_pairs

Y = np.array([0, 1, 2, 0, 1])
CAPTIONS = ("a photo of the red car", "Small boat on a hill", "the small cat", "the dog, like a cat!", "hill")
#: Which image each caption is of.
IMAGE_OF = np.array([0, 1, 1, 0, 2])


def retriever() -> ImageTextRetriever:
    return ImageTextRetriever(TinyEncoder(seed=3).eval(), device_type="cpu")


def captioned() -> np.ndarray:
    return image_text_pairs(images(3)[IMAGE_OF], CAPTIONS)


ESTIMATORS = {"zero_shot": zero_shot(), "fusion": fusion(), "joint_fusion": fusion(True), "retriever": retriever()}
SAMPLES = {"zero_shot": images(5), "fusion": pairs(), "joint_fusion": pairs(), "retriever": captioned()}
BALL = {"eps": 0.06, "eps_step": 0.02, "max_iter": 4, "seed": 0, "batch_size": 2, "verbose": False}


def bert(estimator, **settings) -> BertAttack:
    return BertAttack(estimator, language_model(), **{"top_k": ALL, "verbose": False, **settings})


def strong(estimator, **settings) -> BertAttack:
    """The strongest text attack on what a classifier answers."""
    per_image = isinstance(estimator, ZeroShotClassifier)
    return bert(estimator, **{"loss": "margin", "per_image": per_image, "candidate_words": None, **settings})


def co_attack(estimator, text_attack, **settings) -> CoAttack:
    return CoAttack(estimator, text_attack, **{**BALL, **settings})


def margins(estimator, x: np.ndarray, y: np.ndarray, prompts: np.ndarray | None = None) -> np.ndarray:
    scores = estimator.predict(x) if prompts is None else estimator.predict_on(x, prompts)
    return margin_loss(torch.from_numpy(scores), torch.from_numpy(y)).numpy()


def pixels(x: np.ndarray) -> np.ndarray:
    return x if x.dtype.names is None else x["image"]


def texts_of(attack: CoAttack, found: np.ndarray) -> list:
    return found["text"].tolist() if attack.prompts is None else attack.prompts.tolist()


def many(name: str, count: int) -> np.ndarray:
    """Samples of a classifier, some of which are hard to attack."""
    if name == "zero_shot":
        return images(count)
    texts = (*TEXTS, "a dog on the small boat", "the car of the dog")
    return pairs([texts[row % len(texts)] for row in range(count)])
