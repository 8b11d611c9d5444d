"""Questions about images: words hidden alone, and words hidden beside noisy pixels, on one base classifier.

`AblatedEnsemble` certifies edits of words while the image stays as it is; `HybridSmoothing` certifies a Euclidean
distance of the image beside them. Words that carry the question are protected: see the page on certificates.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from art_multimodal import FusionClassifier
from art_multimodal.ablation import Elements, Keep, elements_of
from art_multimodal.defences.trainer import FusionTrainer, TrainingSettings
from art_multimodal.demo.scenes import make_samples
from art_multimodal.demo.shapes_data import ShapesData
from art_multimodal.estimators.certification import AblatedEnsemble, Bernoulli, HybridSmoothing
from art_multimodal.models.loading import load_model
from art_multimodal.pairs import image_text_pairs
from benchmarks.certificates.methods import ALPHA

#: The base classifier goes on from this one, whose data it is tested on.
MODEL = "demo:shapes/concat"
#: Test samples, groups of four samples to train on, and passes over them, each with noise of its own.
TESTED, GROUPS, EPOCHS, BATCH, LEARNING_RATE = 100, 1000, 6, 100, 3e-4
#: Votes about a sample, the chance that one sees a word, and the standard deviation of the noise on pixels.
VOTES, CHANCE, SIGMA = 1000, 0.2, 0.25
#: Words that change, and Euclidean distances of the image.
WORDS, DISTANCES = (0, 1, 2), (0.0, 0.1, 0.25)
WAYS = {
    "ensemble": "AblatedEnsemble: words hidden",
    "hybrid": f"HybridSmoothing: words hidden, pixels noisy (sigma {SIGMA:g})",
}


def trained(seed: int) -> tuple[FusionClassifier, Elements]:
    """The base classifier, trained on noisy images with most words hidden; and the words that are counted."""
    drawn = make_samples(GROUPS, np.random.default_rng(seed + 1))
    classifier = FusionClassifier(load_model(MODEL), device_type="cpu")
    words = elements_of(classifier.modalities["text"], "words", ShapesData.protected_words)
    texts, rng = list(drawn.questions.texts), np.random.default_rng(seed)
    for epoch in range(EPOCHS):
        noise = SIGMA * rng.standard_normal(drawn.images.shape)
        images = np.clip(drawn.images + noise, 0, 1).astype(np.float32)
        settings = TrainingSettings(learning_rate=LEARNING_RATE, seed=1000 * seed + epoch)
        trainer = FusionTrainer(classifier, "ablation", settings, keep={"text": Keep(words, 1)})
        trainer.fit(image_text_pairs(images, texts), drawn.labels, batch_size=BATCH, nb_epochs=1)
    return classifier, words


def measured(seed: int) -> dict[str, np.ndarray]:
    """Which samples are certified to be right, by way and budget: ``"hybrid/1,0.25"``; and costs."""
    classifier, words = trained(seed)
    data = ShapesData()
    rows = np.random.default_rng(0).permutation(len(data))[:TESTED]
    x = image_text_pairs(data.images[rows], [data.texts[row] for row in rows])
    y = data.labels[rows]
    found = {"base": classifier.predict_labels(x, batch_size=500) == y}
    masks, of = Bernoulli({"text": CHANCE}, VOTES), {"text": words}
    makers: dict[str, Any] = {
        "ensemble": AblatedEnsemble(classifier, of, masks, alpha=ALPHA, batch_size=500),
        "hybrid": HybridSmoothing(classifier, of, masks, {"image": SIGMA}, alpha=ALPHA, batch_size=500),
    }
    for way, smoothed in makers.items():
        started = time.process_time()
        certificates = smoothed.certify(x)
        found[f"{way}/seconds"] = np.array((time.process_time() - started) / len(x))
        found[f"{way}/smoothed"] = np.array([one.votes.argmax() for one in certificates]) == y
        right = np.array([one.prediction for one in certificates]) == y
        for count in WORDS:
            for distance in DISTANCES:
                found[f"{way}/{count},{distance:g}"] = right & np.array(
                    [_covers(one, {"text": count}, distance) for one in certificates]
                )
    return found


def _covers(certificate: Any, budget: dict[str, int], distance: float) -> bool:
    """Whether so many words and such a distance are certified; an ensemble that sees images as they are has none."""
    if not hasattr(certificate, "sigma"):
        return not distance and certificate.covers(_at_most(budget, certificate.counts))
    return certificate.covers(_at_most(budget, certificate.counts), {"image": distance})


def _at_most(budget: dict[str, int], counts: Any) -> dict[str, int]:
    """Of a question with fewer words all are changed."""
    return {name: min(number, counts[name]) for name, number in budget.items()}
