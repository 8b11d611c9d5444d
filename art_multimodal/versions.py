"""Versions of what numbers depend on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from art_multimodal import __version__

_PACKAGES = ("adversarial-robustness-toolbox", "torch", "torchvision", "open_clip_torch", "transformers", "numpy")


def library_versions() -> dict[str, str]:
    """Versions by package, in JSON's types."""
    versions = {"art-multimodal": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
