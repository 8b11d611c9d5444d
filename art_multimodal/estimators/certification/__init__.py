"""Classifiers whose answers come with certificates: what no attack within a budget can change."""

from art_multimodal.estimators.certification.certificate import ABSTAINED, Certificate, Certificates
from art_multimodal.estimators.certification.ensemble import AblatedEnsemble
from art_multimodal.estimators.certification.hybrid import HybridCertificate, HybridCertificates, HybridSmoothing
from art_multimodal.estimators.certification.masks import (
    MASKS,
    AllSubsets,
    Bernoulli,
    Design,
    Independent,
    Joint,
    Masks,
    Partition,
    masks_of,
)
from art_multimodal.estimators.certification.pixels import AblatedSegmenter, PixelCertificate
from art_multimodal.estimators.certification.vote import ModalityVote

__all__ = [
    "ABSTAINED",
    "MASKS",
    "AblatedEnsemble",
    "AblatedSegmenter",
    "AllSubsets",
    "Bernoulli",
    "Certificate",
    "Certificates",
    "Design",
    "HybridCertificate",
    "HybridCertificates",
    "HybridSmoothing",
    "Independent",
    "Joint",
    "Masks",
    "ModalityVote",
    "Partition",
    "PixelCertificate",
    "masks_of",
]
