"""Views of one modality, and of several packed into a vector: rows, budgets, copies, and what is refused."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from art.utils import compute_success
from several import MODELS, Joint, classifier, make_samples, one_hot, separate

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion.for_each_sample import for_each_sample
from art_multimodal.errors import InputError
from art_multimodal.estimators.bound import RowMismatch
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.sample_arrays import fields_of, samples, with_field

NUMERIC = ("rgb", "audio", "lab")
EPS = {"rgb": 0.06, "audio": 0.3, "lab": 0.1}


def without_text(fusion: str = "concat") -> FusionClassifier:
    """A classifier of numbers alone: packed, nothing is bound but lengths."""
    model = separate(fusion)
    towers = [tower for name, tower in model.towers.items() if name != "note"]
    smaller = ModularModel(towers, fusion, model.class_names)
    torch.manual_seed(0)
    return FusionClassifier(smaller.eval(), device_type="cpu")


def numbers(x: np.ndarray, name: str) -> np.ndarray:
    return x[name]["values"] if name == "audio" else x[name]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", NUMERIC)
def test_a_view_answers_as_the_classifier_does(kind: str, name: str) -> None:
    found, x = classifier(kind), make_samples()
    values, expected = np.ascontiguousarray(numbers(x, name)), found.predict(x)
    view = found.modality_view(name, x)
    assert isinstance(view, PyTorchClassifier)
    assert view.input_shape == values.shape[1:]
    np.testing.assert_allclose(view.predict(values, batch_size=2), expected, atol=1e-6)
    y = np.arange(6) % 3
    np.testing.assert_allclose(view.loss_gradient(values, y), found.loss_gradient(x, y, modality=name), atol=1e-7)
    probabilities = found.modality_view(name, x, probabilities=True).predict(values)
    np.testing.assert_allclose(probabilities, torch.from_numpy(expected).softmax(1).numpy(), atol=1e-6)
    np.testing.assert_allclose(view.with_probabilities().predict(values), probabilities, atol=1e-6)
    one = found.modality_view(name, x[1:2])
    repeated = with_field(np.repeat(x[1:2], 6), name, x[name])
    if name == "audio":
        repeated["audio"]["length"] = x["audio"]["length"][1]
        repeated["audio"]["values"][:, x["audio"]["length"][1] :] = 0
    np.testing.assert_allclose(one.predict(values), found.predict(repeated), atol=1e-6)


@pytest.mark.parametrize("kind", ["concat", "joint"])
def test_rows_that_cannot_be_matched_raise(kind: str) -> None:
    found, x = classifier(kind), make_samples()
    for name in NUMERIC:
        view, values = found.modality_view(name, x), np.ascontiguousarray(numbers(x, name))
        for rows in (values[:5], values[:1], np.concatenate([values, values])):
            with pytest.raises(RowMismatch, match=r"came for 6 bound rows.*use for_each_sample\.$"):
                view.predict(rows)
            with pytest.raises(RowMismatch):
                view.loss_gradient(rows, np.zeros(len(rows), int))
        with pytest.raises(RowMismatch, match="cannot be trained"):
            view.fit(values, np.zeros(6, int))


def test_a_sequence_without_lengths_has_the_largest() -> None:
    found, x = classifier(), make_samples()
    others = x[1:2][["rgb", "lab", "note"]]
    values = np.random.default_rng(0).uniform(-1, 1, (3, 5, 3)).astype(np.float32)
    full = samples(**{**fields_of(np.repeat(others, 3)), "audio": values})
    np.testing.assert_allclose(found.modality_view("audio", others).predict(values), found.predict(full), atol=1e-6)
    short = found.modality_view("audio", others, lengths=np.array([2])).predict(values)
    cut = samples(**{**fields_of(np.repeat(others, 3)), "audio": list(values[:, :2])})
    np.testing.assert_allclose(short, found.predict(cut), atol=1e-6)


@pytest.mark.parametrize("kind", ["late", "joint"])
def test_copies_of_views(kind: str) -> None:
    found, x = classifier(kind), make_samples()
    packed = found.packed_view(NUMERIC, EPS, x)
    for view, values in (
        (found.modality_view("audio", x), np.ascontiguousarray(x["audio"]["values"])),
        (packed, packed.pack(x)),
    ):
        expected = view.predict(values)
        for twin in (copy.deepcopy(view), pickle.loads(pickle.dumps(view))):
            np.testing.assert_allclose(twin.predict(values), expected, atol=1e-6)
            assert type(twin) is type(view)
            for parameter in twin.model.parameters():
                parameter.data.mul_(2)
            assert np.abs(twin.predict(values) - expected).max() > 1e-3
            np.testing.assert_array_equal(view.predict(values), expected)
            with pytest.raises(RowMismatch):
                twin.predict(values[:2])


def test_packed_and_back() -> None:
    found, x = classifier(), make_samples()
    for box in ("clip_values", "inside"):
        view = found.packed_view(NUMERIC, EPS, x, box=box)
        vectors = view.pack(x)
        assert vectors.shape == (6, 3 * 36 + 15 + 4)
        np.testing.assert_allclose(view.predict(vectors), found.predict(x), atol=1e-5)
        same = view.unpack(vectors, x)
        assert all(same[name].tobytes() == x[name].tobytes() for name in NUMERIC)
        moved = vectors.copy()
        moved[:, ::3] += 0.5
        after = view.unpack(moved, x)
        start = 0
        for name in NUMERIC:
            old, new = numbers(x, name).reshape(6, -1), numbers(after, name).reshape(6, -1)
            changed = np.zeros(127, bool)
            changed[::3] = True
            changed = changed[start : start + old.shape[1]]
            assert new[:, ~changed].tobytes() == old[:, ~changed].tobytes()
            low, high = (
                np.broadcast_to(b, numbers(x, name).shape[1:]).ravel() for b in found.modalities[name].clip_values
            )
            assert (new >= low).all()
            assert (new <= high).all()
            assert np.abs(new - old).max() <= 0.5 * EPS[name] * (1 + 1e-5)
            start += old.shape[1]
        assert not after["audio"]["values"][~found.modalities["audio"].present(x["audio"])].any()
        assert after["note"].tolist() == x["note"].tolist()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("targeted", [False, True])
def test_pgd_on_the_packed_view_is_pgd_on_all_modalities(kind: str, targeted: bool) -> None:
    model = separate(kind).double() if kind != "joint" else Joint().eval().double()
    found, x = FusionClassifier(model, device_type="cpu"), make_samples()
    y = found.predict(x).argmax(axis=1)
    y = (y + 1) % 3 if targeted else y
    view = found.packed_view(NUMERIC, EPS, x)
    attack = ProjectedGradientDescent(
        view, eps=1, eps_step=0.23, max_iter=7, num_random_init=0, targeted=targeted, verbose=False, batch_size=6
    )
    assert isinstance(attack._attack, ProjectedGradientDescentPyTorch)
    after = view.unpack(attack.generate(view.pack(x), one_hot(y)), x)
    expected = by_hand(model, x, y, step=0.23, steps=7, sign=-1 if targeted else 1)
    for name in NUMERIC:
        low, high = found.modalities[name].clip_values
        own = numbers(after, name)
        assert np.abs(own - numbers(x, name)).max() <= EPS[name] * (1 + 1e-5)
        assert np.abs(own - numbers(x, name)).max() > 0.5 * EPS[name]
        assert (own >= low).all() if name != "audio" else True
        assert (own <= high).all()
        np.testing.assert_allclose(own / EPS[name], expected[name] / EPS[name], atol=1e-4)


def by_hand(
    model: MultimodalModel, x: np.ndarray, y: np.ndarray, step: float, steps: int, sign: int
) -> dict[str, np.ndarray]:
    """Steps of all modalities at once along the signs of their gradients, each in its own ball and range."""
    inputs = model.collate(x)
    first = {name: inputs[name].values for name in NUMERIC}
    now = dict(first)
    for _ in range(steps):
        leaves = {name: values.detach().requires_grad_(True) for name, values in now.items()}
        moved = {name: part.with_values(leaves[name]) if name in leaves else part for name, part in inputs.items()}
        loss = torch.nn.functional.cross_entropy(model(moved), torch.from_numpy(y))
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        for name, gradient in zip(leaves, gradients, strict=True):
            low, high = (torch.as_tensor(bound) for bound in model.modalities[name].clip_values)
            new = now[name] + sign * step * EPS[name] * gradient.sign()
            new = torch.maximum(torch.minimum(new, first[name] + EPS[name]), first[name] - EPS[name])
            now[name] = torch.maximum(torch.minimum(new, high), low)
    return {name: inputs[name].with_values(values).values.detach().numpy() for name, values in now.items()}


def test_nothing_is_bound_where_all_is_packed() -> None:
    found, x = without_text(), make_samples(lengths=[5] * 6)[["rgb", "audio", "lab"]]
    view = found.packed_view(NUMERIC, EPS)
    vectors, expected = view.pack(x), found.predict(x)
    for rows in ([3], [5, 0, 0, 2], [0, 1, 2, 3, 4, 5, 0]):
        np.testing.assert_allclose(view.predict(vectors[rows]), expected[rows], atol=1e-5)


def test_packed_sequences_need_their_lengths() -> None:
    found, x = without_text(), make_samples()[["rgb", "audio", "lab"]]
    with pytest.raises(InputError, match=r"^audio: the sequences have other lengths than the view.*others=x\)\.$"):
        found.packed_view(NUMERIC, EPS).pack(x)
    view = found.packed_view(NUMERIC, EPS, x)
    np.testing.assert_allclose(view.predict(view.pack(x)), found.predict(x), atol=1e-5)
    with pytest.raises(RowMismatch):
        view.pack(x[:3])


@pytest.mark.parametrize("kind", ["late", "joint"])
def test_what_is_missing_stays_missing(kind: str) -> None:
    found, x = classifier(kind), make_samples(lengths=(5, 0, 3, 1, 0, 4))
    x["rgb"][3], x["lab"][0] = np.nan, np.nan
    view = found.packed_view(NUMERIC, EPS, x)
    np.testing.assert_allclose(view.predict(view.pack(x)), found.predict(x), atol=1e-5)
    attack = ProjectedGradientDescent(view, eps=1, eps_step=0.3, max_iter=3, verbose=False, batch_size=6)
    after = view.unpack(attack.generate(view.pack(x), one_hot(np.zeros(6, int))), x)
    for name in NUMERIC:
        missing = found.modalities[name].missing(x[name])
        assert missing.any()
        np.testing.assert_array_equal(found.modalities[name].missing(after[name]), missing)
        alone = for_each_sample(
            lambda v: ProjectedGradientDescent(v, eps=0.05, eps_step=0.02, max_iter=3, verbose=False),
            found,
            x,
            np.zeros(6, int),
            modality=name,
        )
        assert alone[name][missing].tobytes() == x[name][missing].tobytes()
        changed = np.array([alone[name][row].tobytes() != x[name][row].tobytes() for row in range(6)])
        assert (changed == ~missing).all()
        for other in fields_of(x):
            assert other == name or all(
                a is b or np.array(a).tobytes() == np.array(b).tobytes()
                for a, b in zip(alone[other], x[other], strict=True)
            )


def test_only_values_that_count_are_warned_about() -> None:
    found, x = classifier(), make_samples(lengths=(5, 0, 3, 1, 0, 4))
    x["rgb"][3] = np.nan
    view, packed = found.modality_view("audio", x), found.packed_view(NUMERIC, EPS, x)
    values, vectors = np.ascontiguousarray(x["audio"]["values"]), packed.pack(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values[2, 3:] = 9.0  # behind the length
        view.predict(values)
        packed.predict(vectors)
        found.modality_view("rgb", x).predict(x["rgb"])
    values[2, 2] = 9.0
    with pytest.warns(UserWarning, match="audio: there are values outside of its clip_values: .* to 9"):
        view.predict(values)
    vectors[0, 0] = np.nan
    with pytest.warns(UserWarning, match="rgb: there are NaN or infinite values"):
        packed.predict(vectors)
    vectors[0, 0] = -1
    with pytest.warns(UserWarning, match=r"rgb: there are values outside of its clip_values: -0\.06 to"):
        packed.predict(vectors)


def test_success_is_counted_by_arts_own_function() -> None:
    found, x = classifier(), make_samples()
    y = found.predict(x).argmax(axis=1)
    view = found.packed_view(NUMERIC, dict.fromkeys(NUMERIC, 0.8), x)
    attack = ProjectedGradientDescent(view, eps=1, eps_step=0.3, max_iter=10, verbose=False, batch_size=6)
    after = view.unpack(attack.generate(view.pack(x), one_hot(y)), x)
    flipped = (found.predict(after).argmax(axis=1) != y).mean()
    assert flipped > 0
    assert compute_success(found, x, one_hot(y), after) == pytest.approx(flipped)


def test_what_is_refused() -> None:
    found, x = classifier(), make_samples()
    others = x[["audio", "lab", "note"]]
    cases = [
        (
            lambda: found.modality_view("depth", x),
            r"^The model knows no modality 'depth'; it takes rgb, audio, lab, note\.$",
        ),
        (lambda: found.modality_view("note", x), r"^note holds texts, which have no gradient\.$"),
        (lambda: found.modality_view("rgb"), r"^The view needs samples of the other modalities: audio, lab, note\.$"),
        (lambda: found.modality_view("rgb", x[["lab", "note"]]), r"^The samples lack audio; they have lab, note\.$"),
        (lambda: found.modality_view("rgb", ["a"]), r"^Samples are needed, samples\(audio=\.\.\., .*not list\.$"),
        (lambda: found.modality_view("rgb", x[:0]), "^The view needs at least one sample of the other modalities"),
        (lambda: found.modality_view("rgb", others, input_shape=(3, 9, 9)), r"^rgb: a sample has shape \(3, 6, 6\)"),
        (lambda: found.modality_view("audio", x[:1], lengths=np.array([1, 2])), "one for each bound row"),
        (lambda: found.modality_view("audio", x[:1], lengths=np.array([6])), r"^audio: lengths must lie in \[0, 5\]"),
        (lambda: found.modality_view("lab", x[:1], lengths=np.array([6])), r"^lab has no lengths\.$"),
        (lambda: found.packed_view("rgb", EPS, x), r"^eps must name the packed modalities"),
        (lambda: found.packed_view(["rgb"], EPS, x), r"^eps must name the packed modalities, \['rgb'\], and no others"),
        (lambda: found.packed_view(["rgb", "rgb"], {"rgb": 1}, x), "^eps must name the packed modalities"),
        (lambda: found.packed_view(["rgb", "depth"], {"rgb": 1, "depth": 1}, x), "knows no modality 'depth'"),
        (lambda: found.packed_view(["note"], {"note": 1}, x), "^note holds texts"),
        (
            lambda: found.packed_view(["rgb"], 0.1, x),
            r"^eps must be given by name, such as \{'rgb': 2/255\}, not float\.$",
        ),
        (
            lambda: found.packed_view(["rgb"], {"rgb": "2/255"}, x),
            r"^eps of rgb must be a positive number, not '2/255'\.$",
        ),
        (lambda: found.packed_view(["rgb"], {"rgb": 0.0}, x), "^eps of rgb must be a positive number, not 0"),
        (lambda: found.packed_view(["rgb"], {"rgb": np.nan}, x), "^eps of rgb must be a positive number, not nan"),
        (lambda: found.packed_view(["rgb"], {"rgb": 1}, x, box="x"), "^box must be 'clip_values' or 'inside', not 'x'"),
        (lambda: found.packed_view([], {}, x), "^Name at least one modality to pack"),
        (lambda: found.modality_view("rgb", x).predict(x["rgb"][:, :1]), r"^Images must have shape \(N, 3, H, W\)"),
        (lambda: found.modality_view("rgb", x).predict(x["rgb"].transpose(0, 2, 3, 1)), "channels seem to come last"),
        (
            lambda: found.modality_view("rgb", x).predict(x["rgb"][..., :4]),
            r"^This view takes arrays of shape \(N, 3, 6, 6\)",
        ),
        (lambda: found.modality_view("lab", x).predict(x["lab"][:, :2]), r"^This view takes arrays of shape \(N, 4\)"),
        (lambda: found.image_view("a"), r"^image_view\(texts\) is for image-text pairs; use modality_view"),
        (lambda: for_each_sample(lambda v: None, found, x, modality="note"), r"rgb, audio, lab, not 'note'\.$"),
    ]
    for work, said in cases:
        with pytest.raises(InputError, match=said) as caught:
            work()
        assert str(caught.value).isprintable()
