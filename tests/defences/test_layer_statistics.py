"""Statistics of layers on the disk: what comes back, what the file says, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save

from art_multimodal import InputError
from art_multimodal.attacks.evasion.universal import UniversalPerturbation, save_universal
from art_multimodal.defences.test_time import LayerStatistics, TestTimeAdversarialPromptTuning
from art_multimodal.models.saving import weights_sha256

from .guarded import classifier, images, small_clip


@pytest.fixture(scope="module")
def clip():
    return small_clip()


@pytest.fixture(scope="module")
def statistics(clip):
    return LayerStatistics.of(classifier(clip), images(5, seed=9).numpy())


def tensors(statistics: LayerStatistics) -> dict[str, np.ndarray]:
    return {name: getattr(statistics, name).numpy() for name in ("first", "means", "variances")}


def facts_in(path: Path) -> dict[str, Any]:
    with safe_open(path, "np") as file:
        return json.loads(file.metadata()["layer_statistics"])


def test_what_is_saved_comes_back_and_the_file_says_what_it_is_of(clip, statistics, tmp_path: Path) -> None:
    path = tmp_path / "clean.safetensors"
    plugins = [{"name": "mine", "version": "1.0", "module": "mine", "installed": True, "brings": ["data mine"]}]
    statistics.save(path, plugins)
    found = LayerStatistics.load(path)
    for name, array in tensors(statistics).items():
        np.testing.assert_array_equal(getattr(found, name).numpy(), array)
    assert (found.images, found.weights_sha256, found.model) == (5, weights_sha256(clip), "")
    facts = facts_in(path)
    assert facts["images"] == 5 and facts["weights_sha256"] == weights_sha256(clip)
    assert facts["plugins"] == plugins and facts["versions"]["mine"] == "1.0"


def test_images_that_come_in_parts_are_as_those_in_one_array(clip, statistics) -> None:
    x = images(5, seed=9).numpy()
    parts = LayerStatistics.of(classifier(clip), iter([x[:2], x[2:2], x[2:]]), batch_size=2)
    assert parts.images == 5
    for name, array in tensors(statistics).items():
        np.testing.assert_allclose(getattr(parts, name).numpy(), array, rtol=1e-4, atol=1e-6)


def without_facts(values: dict[str, np.ndarray], facts: dict[str, Any]) -> bytes:
    return save(values)


def changed(**changes: Any) -> Callable[[dict[str, np.ndarray], dict[str, Any]], bytes]:
    """Tensors or facts exchanged, or taken out where they are ``None``."""

    def content(values: dict[str, np.ndarray], facts: dict[str, Any]) -> bytes:
        for name, value in changes.items():
            of: dict[str, Any] = values if isinstance(value, np.ndarray) or name in values else facts
            of[name] = value
            if value is None:
                del of[name]
        return save(values, {"layer_statistics": json.dumps(facts)})

    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda values, facts: b"", "it is empty"),
        (lambda values, facts: b"\0" * 100, "no file of safetensors, or damaged"),
        (lambda values, facts: changed()(values, facts)[:-8], "no file of safetensors, or damaged"),
        (lambda values, facts: save(values, {"layer_statistics": "["}), "its header is damaged"),
        (without_facts, "its header does not say what it was made of"),
        (changed(means=None), "it lacks 'means'"),
        (changed(weights=np.zeros(2)), "it holds 'weights'; a file of statistics has first, means, variances"),
        (changed(format="art-multimodal layer statistics 2"), "this version reads 'art-multimodal layer statistics 1'"),
        (changed(model=None), "its header lacks, or does not know, 'model'"),
        (changed(author="me"), "its header lacks, or does not know, 'author'"),
        (changed(images=-1), "nothing that can be used about images"),
        (changed(images=True), "nothing that can be used about images"),
        (changed(data=3), "nothing that can be used about data"),
        (changed(first=np.zeros(16, np.float32)), "its tensors are not of float64"),
        (changed(first=np.zeros(15)), "these have the shapes [15], [3, 16], [3, 16]"),
        (changed(first=np.zeros((1, 16))), "statistics of layers are first [W]"),
        (changed(means=np.zeros((0, 16)), variances=np.zeros((0, 16))), "statistics of layers are first [W]"),
        (changed(first=np.full(16, np.nan)), "statistics of layers hold NaN or infinite values"),
        (changed(variances=np.full((3, 16), np.inf)), "statistics of layers hold NaN or infinite values"),
        (changed(variances=np.full((3, 16), -1.0)), "statistics of layers hold variances below 0"),
        (changed(first=np.zeros(16)), "its values are not those that were saved"),
    ],
)
def test_what_is_no_such_file_is_refused_in_one_line(statistics, tmp_path: Path, content: Any, said: str) -> None:
    assert statistics.means.shape == (3, 16)
    path = tmp_path / "clean.safetensors"
    statistics.save(path)
    values = {name: array.copy() for name, array in tensors(statistics).items()}
    path.write_bytes(content(values, facts_in(path)))
    with pytest.raises(InputError) as error:
        LayerStatistics.load(path)
    message = str(error.value)
    assert message.startswith(f"The statistics {path} cannot be used: ") and said in message and "\n" not in message
    assert message.endswith("Make them with art-multimodal statistics MODEL --data DATA --out FILE.")


def test_what_is_no_file_of_statistics_at_all(statistics, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    universal = tmp_path / "uap.safetensors"
    save_universal(UniversalPerturbation(np.zeros((3, 8, 8), np.float32), "inf", 0.1), universal)
    for path, said in (
        (tmp_path / "nowhere", "No such file"),
        (tmp_path / "folder", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (universal, "it lacks 'first'"),
    ):
        with pytest.raises(InputError, match=said):
            LayerStatistics.load(path)
    with pytest.raises(InputError, match=r"written as \.safetensors, not as clean\.npz"):
        statistics.save(tmp_path / "clean.npz")
    with pytest.raises(InputError, match=r"Cannot write .*folder\.safetensors: .*Name a file in a folder"):
        statistics.save(tmp_path / "nowhere" / "folder.safetensors")


@pytest.mark.parametrize("shape", [(2, 16), (3, 8)])
def test_statistics_of_another_shape_than_the_model_are_refused(clip, shape: tuple[int, int]) -> None:
    other = LayerStatistics(torch.zeros(shape[1]), torch.zeros(shape), torch.ones(shape))
    said = f"Statistics of {shape[0]} layers of width {shape[1]} were given for TAPT, and the model has 3 of width 16"
    with pytest.raises(InputError, match=said):
        other.check_fits(clip)
    own = LayerStatistics(torch.zeros(16), torch.zeros(3, 16), torch.ones(3, 16))
    own.check_fits(clip)
    for pair in ((other, None), (own, other)):
        guarded = classifier(clip, TestTimeAdversarialPromptTuning(*pair, views=2))
        with pytest.raises(InputError, match=said):
            guarded.model.head.defence.check(guarded.model.head.bare)
        with pytest.raises(InputError, match=said):
            guarded.predict(images(1).numpy())
