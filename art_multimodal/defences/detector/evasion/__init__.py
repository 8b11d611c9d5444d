"""Detectors of attacked image-text pairs, as ART evasion detectors."""

from art_multimodal.defences.detector.evasion.modality_disagreement import ModalityDisagreementDetector

__all__ = ["ModalityDisagreementDetector"]
