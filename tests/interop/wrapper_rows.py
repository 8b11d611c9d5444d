"""Rows of certification, of classifiers around classifiers, of metrics, and of data, saving and copying."""

from __future__ import annotations

import copy
import pickle

from art import metrics
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from art.defences.transformer.evasion import DefensiveDistillation
from art.defences.transformer.poisoning import STRIP
from art.estimators import classification as art
from art.estimators.certification import randomized_smoothing as smooth
from art.evaluations.security_curve import SecurityCurve
from art.metrics.gradient_check import loss_gradient_check
from art.metrics.privacy.membership_leakage import PDTP, SHAPr
from interop import wrappers as do
from interop.row import Broken
from interop.wrappers import row

SMOOTHING = "art.estimators.certification.randomized_smoothing.randomized_smoothing.RandomizedSmoothingMixin"
ON_THE_MODEL = "Takes `classifier.model`, which holds prompts and texts."
LEFT_BEHIND = "estimators/classification/pytorch.py:1006 leaves a hook in the model and a tensor of the graph behind"

ROWS = [
    row(
        "PyTorchRandomizedSmoothing",
        "certification",
        (smooth.PyTorchRandomizedSmoothing, SMOOTHING),
        do.smoothed,
        needs=("statsmodels",),
        note=ON_THE_MODEL,
    ),
    row(
        "NumpyRandomizedSmoothing",
        "certification",
        smooth.NumpyRandomizedSmoothing,
        do.smoothed_numpy,
        needs=("statsmodels",),
    ),
    row(
        "PyTorchSmoothAdv",
        "certification",
        smooth.PyTorchSmoothAdv,
        do.trained_smoothly(smooth.PyTorchSmoothAdv, epsilon=0.1, num_noise_vec=1, num_steps=2),
        needs=("statsmodels",),
        note=ON_THE_MODEL,
    ),
    row(
        "PyTorchSmoothMix",
        "certification",
        smooth.PyTorchSmoothMix,
        do.trained_smoothly(smooth.PyTorchSmoothMix, eta=0.1, num_noise_vec=1, num_steps=2, mix_step=1),
        needs=("statsmodels",),
        note=ON_THE_MODEL,
    ),
    row(
        "PyTorchMACER",
        "certification",
        smooth.PyTorchMACER,
        do.trained_smoothly(smooth.PyTorchMACER, gaussian_samples=2),
        needs=("statsmodels",),
        note=ON_THE_MODEL,
    ),
    row("EnsembleClassifier", "wrappers", art.EnsembleClassifier, do.ensemble),
    row("DeepPartitionEnsemble", "wrappers", art.DeepPartitionEnsemble, do.partitions),
    row(
        "QueryEfficientGradientEstimationClassifier",
        "wrappers",
        art.QueryEfficientGradientEstimationClassifier,
        do.estimated,
        slow=True,
    ),
    row("BlackBoxClassifier", "wrappers", art.BlackBoxClassifier, do.black_box(art.BlackBoxClassifier)),
    row(
        "BlackBoxClassifierNeuralNetwork",
        "wrappers",
        art.BlackBoxClassifierNeuralNetwork,
        do.black_box(art.BlackBoxClassifierNeuralNetwork),
    ),
    row(
        "STRIP",
        "wrappers",
        (STRIP, "art.estimators.poison_mitigation.strip.strip.STRIPMixin"),
        do.strip,
        note="On `with_probabilities()`. That clean images pass is shown; not that triggers are held back: ART 1.20.1 "
        "takes the entropy over the mixed images in place of the classes (strip.py:92).",
    ),
    row(
        "DefensiveDistillation",
        "wrappers",
        DefensiveDistillation,
        do.distilled,
        note="On `with_probabilities()`; the student's loss has to take soft labels.",
    ),
    row("adversarial_accuracy", "metrics and evaluations", metrics.adversarial_accuracy, do.accuracy_under_attack),
    row(
        "empirical_robustness",
        "metrics and evaluations",
        (metrics.empirical_robustness, "art.metrics.metrics.get_crafter"),
        do.smallest,
    ),
    row("loss_sensitivity", "metrics and evaluations", metrics.loss_sensitivity, do.sensitivity),
    row("CLEVER", "metrics and evaluations", (metrics.clever, metrics.clever_u, metrics.clever_t), do.clever),
    row("loss_gradient_check", "metrics and evaluations", loss_gradient_check, do.gradients_are_fine),
    row("SecurityCurve", "metrics and evaluations", SecurityCurve, do.security_curve),
    row(
        "PDTP and SHAPr",
        "metrics and evaluations",
        (PDTP, SHAPr, "art.metrics.privacy.membership_leakage.ComparisonType"),
        do.leakage,
    ),
    row(
        "NumpyDataGenerator",
        "data, saving and copying",
        NumpyDataGenerator,
        do.learns_from(lambda subject: NumpyDataGenerator(subject.x, subject.y, batch_size=16, shuffle=True)),
    ),
    row("PyTorchDataGenerator", "data, saving and copying", PyTorchDataGenerator, do.learns_from(do.loader)),
    row(
        "Saving and loading weights",
        "data, saving and copying",
        art.PyTorchClassifier,
        do.saved,
    ),
    row(
        "get_activations",
        "data, saving and copying",
        art.PyTorchClassifier,
        do.activations,
    ),
    row(
        "Deep copies",
        "data, saving and copying",
        art.PyTorchClassifier,
        do.copied(copy.deepcopy, activations=False),
    ),
    row(
        "Pickling",
        "data, saving and copying",
        art.PyTorchClassifier,
        do.copied(lambda classifier: pickle.loads(pickle.dumps(classifier)), activations=False),
        note="ART writes the weights to its data folder, and the pickle refers to them.",
    ),
    row(
        "Deep copies after activations were read",
        "data, saving and copying",
        art.PyTorchClassifier,
        do.copied(copy.deepcopy, activations=True),
        broken=Broken(LEFT_BEHIND, RuntimeError, on=("control",)),
    ),
    row(
        "Pickling after activations were read",
        "data, saving and copying",
        art.PyTorchClassifier,
        do.copied(lambda classifier: pickle.loads(pickle.dumps(classifier)), activations=True),
        broken=Broken(LEFT_BEHIND, (AttributeError, pickle.PicklingError), on=("control",)),
    ),
]
