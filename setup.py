"""Installs art_multimodal; tools are configured in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "art_multimodal" / "__init__.py").read_text(), re.MULTILINE
).group(1)

# ART imports these two for some of its attacks and defences without declaring them.
ART_EXTRAS = ["multiprocess", "statsmodels"]
TENSORBOARD = ["tensorboardX>=2.6"]
HEIC = ["pillow-heif>=0.22"]
# Files of demo:rgbd; nothing of it is imported. Those of demo:motions come with aeon, which wants an older pandas than
# is tested here, so it is nobody's extra: without what it depends on (pip install --no-deps aeon) its files are enough.
DEMO = ["scikit-image>=0.25"]
# Data sets of Hugging Face (from version 4 on no script of a data set is run), and the files of PatchCamelyon.
DATASETS = ["datasets>=4", "h5py>=3.10"]
# The client alone; with the whole of mlflow it works, too.
MLFLOW = ["mlflow-skinny>=3.0"]
# What reads and validates exports.
READERS = ["cyclonedx-python-lib[json-validation]>=11", "jsonschema>=4.18", "junitparser>=4", "xmlschema>=3"]
TEST = [
    "pytest>=8",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "nbclient",
    "nbformat",
    "ipykernel",
    "ipywidgets",
    "matplotlib",
    *ART_EXTRAS,
    *TENSORBOARD,
    *HEIC,
    *DEMO,
    *DATASETS,
    *READERS,
]

setup(
    name="art-multimodal",
    version=VERSION,
    description="Attack, defend and measure models over any modalities, on the Adversarial Robustness Toolbox",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    # The code, and the embedded data of two demos: see art_multimodal/demo/data/LICENCES.md.
    license="MIT AND CC-BY-4.0 AND CC-BY-SA-4.0",
    license_files=["LICENSE", "art_multimodal/demo/data/LICENCES.md"],
    python_requires=">=3.10",
    packages=find_packages(include=["art_multimodal", "art_multimodal.*"]),
    package_data={
        "art_multimodal": ["py.typed"],
        "art_multimodal.demo": ["weights/*.safetensors", "weights/mlm/*", "data/*.safetensors", "data/LICENCES.md"],
        "art_multimodal.evaluations.audit": ["templates/*.j2", "report.schema.json"],
    },
    # Of jinja2, pillow and torch the versions before these have known holes.
    install_requires=[
        "accelerate>=1.0",
        "adversarial-robustness-toolbox>=1.20.1,<1.21",
        "confusable-homoglyphs>=3.3",
        "huggingface_hub>=1.4",
        "jinja2>=3.1.6",
        "numpy>=2.0",
        "open_clip_torch>=3.0",
        "pillow>=12.3",
        "pydantic>=2",
        "pyyaml>=6",
        "rich>=13",
        "safetensors>=0.4",
        "scikit-learn>=1.5",
        "scipy>=1.15",
        "symspellpy>=6.9",
        "torch>=2.6",
        "torchvision>=0.21",
        "tqdm>=4.66",
        "transformers>=5.0",
        "typer>=0.12",
        "typing_extensions>=4.10",
    ],
    extras_require={
        "art": ART_EXTRAS,
        "tensorboard": TENSORBOARD,
        "heic": HEIC,
        "demo": DEMO,
        "datasets": DATASETS,
        "mlflow": MLFLOW,
        "test": TEST,
        "docs": ["sphinx>=8", "furo", "myst-parser"],
        "dev": [*TEST, "ruff", "mypy"],
    },
    entry_points={"console_scripts": ["art-multimodal=art_multimodal.cli:entry_point"]},
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Security",
    ],
)
