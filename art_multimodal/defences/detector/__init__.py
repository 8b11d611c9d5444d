"""Detectors of attacked samples."""
