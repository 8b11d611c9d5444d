"""Questions about images, of which an attacker changes words: published votes and counted ones on one base classifier.

Images are seen whole. Colours, shapes and relations carry the question and are protected: see the page on certificates.
What is drawn of one modality alone is drawn by MMCert as by randomised ablation, so one row is both.
"""

from __future__ import annotations

import time

import numpy as np

from art_multimodal import FusionClassifier
from art_multimodal.ablation import Elements, Keep, elements_of
from art_multimodal.defences.trainer import FusionTrainer, TrainingSettings
from art_multimodal.demo.scenes import make_samples
from art_multimodal.demo.shapes_data import ShapesData
from art_multimodal.estimators.certification import AblatedEnsemble, Independent, Masks, Partition
from art_multimodal.models.loading import load_model
from art_multimodal.pairs import image_text_pairs
from art_multimodal.sample_arrays import with_field
from benchmarks.certificates.methods import ALPHA

#: The base classifier goes on from this one, whose data it is tested on.
MODEL = "demo:shapes/concat"
#: Test samples, groups of four samples to train on, and passes over them.
TESTED, GROUPS, EPOCHS, BATCH, LEARNING_RATE = 100, 1000, 10, 100, 1e-3
#: Words that a vote sees, besides those that are protected.
KEPT = 1
#: Words that change; of a question with fewer all do.
WORDS = (0, 1, 2, 3)
#: By name: which words votes see, whether the worst places are searched, and the rule of random votes.
WAYS: dict[str, tuple[str, Masks, bool, str]] = {
    "published": ("MMCert = randomised ablation, N = 100", Independent({"text": KEPT}, 100), False, "published"),
    "one-sided": ("one-sided majority, N = 1000", Independent({"text": KEPT}, 1000), False, "majority"),
    "partition": ("partition", Partition({"text": KEPT}), False, "majority"),
    "partition-located": ("partition, worst places", Partition({"text": KEPT}), True, "majority"),
}
#: Sees none of the words that an attacker may change, and was trained so.
CONTROL = "nothing"


def trained(seed: int, kept: int) -> tuple[FusionClassifier, Elements]:
    """The base classifier, trained on questions with all but a few words hidden; and the words that are counted."""
    drawn = make_samples(GROUPS, np.random.default_rng(seed + 1))
    classifier = FusionClassifier(load_model(MODEL), device_type="cpu")
    words = elements_of(classifier.modalities["text"], "words", ShapesData.protected_words)
    x = image_text_pairs(drawn.images, list(drawn.questions.texts))
    trainer = FusionTrainer(
        classifier,
        "ablation",
        TrainingSettings(learning_rate=LEARNING_RATE, seed=seed),
        keep={"text": Keep(words, kept)},
    )
    trainer.fit(x, drawn.labels, batch_size=BATCH, nb_epochs=EPOCHS)
    return classifier, words


def measured(seed: int) -> dict[str, np.ndarray]:
    """Which questions are certified to be answered rightly, by way and words changed, ``"partition/1"``; and costs."""
    data = ShapesData()
    rows = np.random.default_rng(0).permutation(len(data))[:TESTED]
    x = image_text_pairs(data.images[rows], [data.texts[row] for row in rows])
    y = data.labels[rows]
    found: dict[str, np.ndarray] = {}
    control, words = trained(seed, 0)
    none = np.zeros((len(x), int(words.count(x["text"]).max())), dtype=bool)
    right = control.predict_labels(with_field(x, "text", words.keep(x["text"], none)), batch_size=500) == y
    # Whatever happens to words that it does not see.
    found |= {f"{CONTROL}/{of}": right for of in ("smoothed", *WORDS)}
    classifier, words = trained(seed, KEPT)
    found["base"] = np.array((classifier.predict_labels(x, batch_size=500) == y).mean())
    for way, (_, masks, located, rule) in WAYS.items():
        ensemble = AblatedEnsemble(
            classifier, {"text": words}, masks, location_aware=located, rule=rule, alpha=ALPHA, batch_size=500
        )
        started = time.process_time()
        certificates = ensemble.certify(x)
        found[f"{way}/seconds"] = np.array((time.process_time() - started) / len(x))
        found[f"{way}/votes"] = np.array(ensemble.passes["votes"] / len(x))
        found[f"{way}/smoothed"] = np.array([one.votes.argmax() for one in certificates]) == y
        right = certificates.predictions == y
        for count in WORDS:
            stays = [one.covers({"text": min(count, one.counts["text"])}) for one in certificates]
            found[f"{way}/{count}"] = right & np.array(stays)
    return found
