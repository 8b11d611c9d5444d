"""Rows of detectors, of poisoning, and of extraction and inference attacks."""

from __future__ import annotations

from art.attacks import extraction, poisoning
from art.attacks.inference import membership_inference as membership
from art.attacks.inference.model_inversion import MIFace
from art.defences.detector import evasion, poison
from interop import detectors as do
from interop.row import Broken
from interop.wrappers import row

STEALING, POISON = "extraction and inference attacks", "poisoning attacks"
SCAN = "art.defences.detector.evasion.subsetscanning"

ROWS = [
    row("BinaryInputDetector", "detectors", evasion.BinaryInputDetector, do.by_input),
    row("BinaryActivationDetector", "detectors", evasion.BinaryActivationDetector, do.by_activation),
    row(
        "SubsetScanningDetector",
        "detectors",
        (
            evasion.SubsetScanningDetector,
            f"{SCAN}.scanner.Scanner",
            f"{SCAN}.scanningops.ScanningOps",
            f"{SCAN}.scoring_functions.ScoringFunctions",
        ),
        do.by_subsets,
    ),
    row(
        "ActivationDefence",
        "detectors",
        (
            poison.ActivationDefence,
            "art.defences.detector.poison.clustering_analyzer.ClusteringAnalyzer",
            "art.defences.detector.poison.ground_truth_evaluator.GroundTruthEvaluator",
        ),
        do.activation_defence,
    ),
    row(
        "SpectralSignatureDefense",
        "detectors",
        poison.SpectralSignatureDefense,
        do.spectral,
        broken=Broken(
            "defences/detector/poison/spectral_signature_defense.py:180 scores the features, not the centred ones, so "
            "it may find the clean images in place of the poison",
            AssertionError,
            "ActivationDefence",
        ),
    ),
    row(
        "ProvenanceDefense",
        "detectors",
        poison.ProvenanceDefense,
        do.provenance,
        note="Wants hard labels as predictions; `ClassLabels` does not give them in batches.",
        slow=True,
    ),
    row(
        "RONIDefense",
        "detectors",
        poison.RONIDefense,
        do.roni,
        broken=Broken(
            "defences/detector/poison/roni.py:153 stacks a sample without its batch dimension, so it takes tables only",
            ValueError,
            "ActivationDefence or SpectralSignatureDefense",
        ),
    ),
    row("PoisoningAttackBackdoor", POISON, poisoning.PoisoningAttackBackdoor, do.backdoor),
    row("PoisoningAttackCleanLabelBackdoor", POISON, poisoning.PoisoningAttackCleanLabelBackdoor, do.clean_label),
    row("FeatureCollisionAttack", POISON, poisoning.FeatureCollisionAttack, do.feature_collision),
    row("CopycatCNN", STEALING, extraction.CopycatCNN, do.copycat(extraction.CopycatCNN)),
    row("KnockoffNets", STEALING, extraction.KnockoffNets, do.copycat(extraction.KnockoffNets, verbose=False)),
    row(
        "MembershipInferenceBlackBoxRuleBased",
        STEALING,
        membership.MembershipInferenceBlackBoxRuleBased,
        do.by_rule,
    ),
    row("MembershipInferenceBlackBox", STEALING, membership.MembershipInferenceBlackBox, do.by_model),
    row("LabelOnlyDecisionBoundary", STEALING, membership.LabelOnlyDecisionBoundary, do.by_boundary),
    row("ShadowModels", STEALING, membership.ShadowModels, do.shadows),
    row("MIFace", STEALING, MIFace, do.inversion, note="On `with_probabilities()`."),
]
