"""What it takes to add something: each is walked on a copy of the package, where files are added and none is changed.

A modality of one's own needs no copy; see tests/modalities/test_own_modality.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import art_multimodal

#: A further attack on images: one file.
ATTACK = '''
"""The fast gradient sign method."""

from art.attacks.evasion import FastGradientMethod

from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.entry import PAIRS, RETRIEVAL, ZERO_SHOT, AttackEntry, register
from art_multimodal.evaluations.suite.image import image_attack


def fast_gradient(classifier, budget, seed):
    return FastGradientMethod(classifier, norm=budget.art_norm, eps=budget.eps, batch_size=budget.batch_size)


register(
    AttackEntry(
        "fgsm",
        "image",
        "white box",
        "one step along the sign of the gradient (ART's)",
        image_attack(fast_gradient),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        cost=costs.fixed(3, 1),
    )
)
'''
#: A further method of training, with an inner attack of its own: one file.
METHOD = '''
"""Adversarial training against what makes embeddings long."""

from art_multimodal.attacks.evasion.image_ascent import own_score
from art_multimodal.defences.trainer.inner_attacks import ImageAscent
from art_multimodal.defences.trainer.methods import METHODS, Method
from art_multimodal.functional.objectives import tecoa


class LengthAscent(ImageAscent):
    """Raise the squared length of the embedding."""

    name = "length"
    provides = ("lengths",)

    def raised(self, ask, batch):
        return own_score(lambda inputs: ask.image_features(inputs).square().sum(dim=1))

    def further(self, ask, batch):
        return {"lengths": ask.model.encode_image(batch.images, normalize=False).norm(dim=1)}


def short_tecoa(adversarial_images, class_texts, targets, scale, lengths, weight=0.1):
    return tecoa(adversarial_images, class_texts, targets, scale) + weight * lengths.mean()


METHODS.add("short", Method(short_tecoa, "like tecoa, with short embeddings", LengthAscent()))
'''
#: A further family of models, found by its name, saved and loaded: one folder.
FAMILY = {
    "__init__.py": '"""Models that know the mean colour only."""\n',
    "model.py": '''
"""A dual encoder on mean colours."""

import torch
from torch import Tensor, nn

from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing


class Colours(DualEncoder):
    family = "colours"

    def __init__(self, width: int) -> None:
        super().__init__(ImagePreprocessing((8, 8), (0.5,) * 3, (0.25,) * 3), context_length=64)
        self.width = width
        self.of_images, self.of_texts = nn.Linear(3, width), nn.Embedding(128, width, padding_idx=0)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))

    def image_tower(self, images: Tensor) -> Tensor:
        return self.of_images(images.mean(dim=(2, 3)))

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.of_texts(tokens).sum(dim=1)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        tokens = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in enumerate(texts):
            letters = [1 + ord(letter) % 127 for letter in text][:length]
            tokens[row, : len(letters)] = torch.tensor(letters)
        return tokens
''',
    "saving.py": '''
"""On the disk: the weights, and the width."""

from art_multimodal.models.families.colours.model import Colours
from art_multimodal.models.families.family import Family
from art_multimodal.models.weight_files import fill_exactly, write_weights


def _load(folder, facts):
    model = Colours(int(facts["width"]))
    fill_exactly(model, folder / "weights.safetensors", "the model")
    return model.eval()


FAMILY = Family(
    lambda model: {"width": model.width},
    lambda model, folder: write_weights(model, folder / "weights.safetensors"),
    _load,
)
''',
    "source.py": '''
"""``colours:WIDTH``."""

import torch

from art_multimodal.models.source import ModelSource


def _load(rest):
    from art_multimodal.models.families.colours.model import Colours

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Colours(int(rest)).eval()


SOURCE = ModelSource("colours:WIDTH", "random weights on mean colours", _load)
''',
}
AUDIT = ["--data", "demo:digits", "--limit", "8", "--steps", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, with the further files; no file of it is changed."""
    root = tmp_path_factory.mktemp("copy")
    package = root / "art_multimodal"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(art_multimodal.__file__).parent, package, ignore=ignored)
    written = {
        "evaluations/suite/fast_gradient.py": ATTACK,
        "defences/trainer/short.py": METHOD,
        **{f"models/families/colours/{name}": text for name, text in FAMILY.items()},
    }
    for name, text in written.items():
        path = package / name
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.lstrip("\n"), encoding="utf-8")
    return root


def run(copy: Path, folder: Path, *commands: list[str]) -> str:
    """What commands print, one after the other, in one process."""
    script = textwrap.dedent(
        """
        import json, sys
        from pathlib import Path
        import art_multimodal
        assert Path(art_multimodal.__file__).parent.parent == Path(sys.argv[1]), art_multimodal.__file__
        from art_multimodal.cli.program import main
        for command in json.loads(sys.argv[2]):
            code = main(command)
            assert code == 0, (command, code)
        """
    )
    given = [sys.executable, "-c", script, str(copy), json.dumps(commands)]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(given, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_an_attack_is_one_file(copy: Path, tmp_path: Path) -> None:
    audit = ["audit", "demo:digits", *AUDIT, "--attacks", "fgsm,apgd", "--eps", "16/255", "--out", "out"]
    printed = run(copy, tmp_path, ["list", "attacks"], audit)
    assert "  fgsm " in printed and "one step along the sign" in printed
    found = report(tmp_path / "out")["results"]
    assert found["fgsm"]["accuracy"] < found["clean"]["accuracy"]
    assert "fgsm" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_method_with_its_inner_attack_is_one_file(copy: Path, tmp_path: Path) -> None:
    data = ["--data", "demo:digits", "--limit", "40", "--batch-size", "20", "--epochs", "1", "--steps", "1"]
    train = ["train", "short", "demo:digits", *data, "--option", "weight=0.5", "--out", "out", "--device", "cpu"]
    assert "short" in run(copy, tmp_path, ["list", "methods"], train)
    assert (tmp_path / "out" / "best").is_dir()


def test_a_family_is_one_folder(copy: Path, tmp_path: Path) -> None:
    audit = ["audit", "colours:6", *AUDIT, "--attacks", "pgd,bert_attack", "--out", "audit"]
    data = ["--data", "demo:digits", "--limit", "40", "--batch-size", "20", "--epochs", "1", "--steps", "1"]
    train = ["train", "tecoa", "colours:6", *data, "--out", "trained", "--device", "cpu"]
    again = ["audit", "checkpoint:trained", *AUDIT, "--attacks", "pgd", "--out", "again"]
    printed = run(copy, tmp_path, ["list", "models"], audit, train, again)
    assert printed.index("  mmbt:") < printed.index("  colours:WIDTH") < printed.index("  python:")
    assert {"pgd", "bert_attack"} <= set(report(tmp_path / "audit")["results"])
    assert report(tmp_path / "again")["results"]["clean"]["n"] == 8
