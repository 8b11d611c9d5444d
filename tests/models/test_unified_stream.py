"""Views of a skeleton in one stream: their gradients, orders, lengths, what is missing, training, and the disk."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod
from models.test_saving_fusions import edited, refusal
from torch import Tensor

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
from art_multimodal.errors import InputError
from art_multimodal.functional.fusion_objectives import unified_stream
from art_multimodal.functional.skeletons import bones, motion
from art_multimodal.modalities import Skeleton, sequence, skeleton
from art_multimodal.models.families.family import FAMILIES
from art_multimodal.models.fusions import WHOLE_MODELS, UnifiedStream
from art_multimodal.models.loading import load_model
from art_multimodal.models.saving import INDEX, check_can_be_saved, save_model
from art_multimodal.sample_arrays import samples

FRAMES, JOINTS, PARENTS, ACTIONS = 6, 5, (0, 0, 1, 1, 3), ("wave", "sit", "walk")
VIEWS = ("joint", "bone", "motion")


def made(seed: int = 0, variable: bool = True, parents: tuple = PARENTS, **options: object) -> UnifiedStream:
    options = {"hidden": 8, "heads": 2, "projection": 12} | options
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        joint = skeleton("joint", FRAMES, JOINTS, clip_values=(-2.0, 2.0), variable=variable)
        return UnifiedStream(joint, ACTIONS, parents, **options).double().eval()


def drawn(lengths: tuple = (6, 2, 0, 4, 1), seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return samples(joint=[generator.uniform(-1, 1, (n, JOINTS, 3)).astype(np.float32) for n in lengths])


def scores(model: UnifiedStream, x: np.ndarray) -> Tensor:
    return model(model.collate(x))


# --- what it computes


def test_gradients_to_joints_are_those_of_all_views() -> None:
    """``g_j + B' g_b + D' g_m``, with both maps as matrices."""
    physical, views = made(), made(threat="views")
    views.load_state_dict(physical.state_dict())
    part = physical.collate(drawn((6, 6, 6)))["joint"]
    images = {"joint": part.values, "bone": bones(part.values, PARENTS), "motion": motion(part.values)}
    apart = {name: replace(part, values=of) for name, of in images.items()}
    given = {name: part.values.clone().requires_grad_() for name, part in apart.items()}
    views({name: apart[name].with_values(of) for name, of in given.items()})[:, 0].sum().backward()
    joints = part.values.clone().requires_grad_()
    physical({"joint": part.with_values(joints)})[:, 0].sum().backward()
    to_bones = torch.eye(JOINTS, dtype=torch.float64)
    for joint, parent in enumerate(PARENTS):
        to_bones[joint, parent] -= 1
    to_motion = torch.diag(torch.ones(FRAMES - 1, dtype=torch.float64), 1) - torch.eye(FRAMES, dtype=torch.float64)
    to_motion[-1] = 0
    expected = given["joint"].grad + torch.einsum("vj,ntvd->ntjd", to_bones, given["bone"].grad)
    expected = expected + torch.einsum("ts,ntjd->nsjd", to_motion, given["motion"].grad)
    torch.testing.assert_close(joints.grad, expected, atol=1e-12, rtol=1e-9)
    assert all(of.grad.abs().max() > 1e-6 for of in given.values())


@pytest.mark.parametrize("views", [VIEWS, VIEWS[:1], VIEWS[1:2], VIEWS[2:], VIEWS[:2], VIEWS[1:], VIEWS[::2]])
def test_both_threats_have_one_answer(views: tuple) -> None:
    physical, apart = made(views=views), made(views=views, threat="views")
    assert list(physical.modalities) == ["joint"] and list(apart.modalities) == list(views)
    apart.load_state_dict(physical.state_dict())
    x = drawn()
    torch.testing.assert_close(scores(apart, physical.as_views(x)), scores(physical, x), atol=1e-6, rtol=1e-5)


def test_views_as_fields_are_views() -> None:
    model, x = made(), drawn()
    found = model.as_views(x)
    joints = torch.from_numpy(x["joint"]["values"].copy())
    frames = torch.arange(joints.shape[1]) < torch.from_numpy(x["joint"]["length"].copy())[:, None]
    steps = joints.shape[1]
    np.testing.assert_array_equal(found["joint"]["values"][:, :steps], joints)
    np.testing.assert_array_equal(found["bone"]["values"][:, :steps], bones(joints, PARENTS))
    np.testing.assert_array_equal(found["motion"]["values"][:, :steps], motion(joints, frames))
    for view in VIEWS:
        np.testing.assert_array_equal(found[view]["length"], x["joint"]["length"])
    low, high = made(threat="views").modalities["bone"].clip_values
    assert (low, high) == (-4, 4)


def test_some_views_are_the_mean_of_those() -> None:
    """Without motion the answer is that of a model that has none; with one view alone, its tokens are the mean."""
    model, two = made(threat="views"), made(views=VIEWS[:2], threat="views")
    two.load_state_dict({key: of for key, of in model.state_dict().items() if ".motion." not in key})
    x = model.as_views(drawn((6, 2, 5, 4, 1)))
    without = x.copy()
    without["motion"] = model.modalities["motion"].left_out(x["motion"])
    torch.testing.assert_close(scores(model, without), scores(two, x[["joint", "bone"]]), atol=1e-12, rtol=1e-9)
    assert (scores(model, without) - scores(model, x)).abs().max() > 1e-3
    inputs = model.collate(x)
    alone = model.unimodal(inputs)
    assert all(of.shape == (5, 16) for of in alone.values()) and list(alone) == list(VIEWS)
    for mix in (model.mix_frames, model.mix_joints):
        torch.nn.init.eye_(mix.weight)
    only = x.copy()
    for view in VIEWS[1:]:
        only[view] = model.modalities[view].left_out(x[view])
    torch.testing.assert_close(model.fuse(model.collate(only)), alone["joint"], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("joint_positions", [False, True])
def test_joints_have_an_order_only_where_they_have_positions(joint_positions: bool) -> None:
    order = [3, 0, 4, 1, 2]
    parents = tuple(order.index(PARENTS[joint]) for joint in order)
    model, other = made(joint_positions=joint_positions), made(parents=parents, joint_positions=joint_positions)
    other.load_state_dict(model.state_dict())
    x = drawn((6, 6))
    turned = samples(joint=x["joint"][:, :, order])
    before, after = model.fuse(model.collate(x)), other.fuse(other.collate(turned))
    # Behind the maxima over frames stand those over joints.
    same = (after - before)[:, 8:].abs().max() < 1e-9
    assert bool(same) is not joint_positions
    # Frames have one.
    backwards = samples(joint=x["joint"][:, ::-1])
    assert (model.fuse(model.collate(backwards)) - before)[:, :8].abs().max() > 1e-3


# --- batches, lengths, what is missing


@pytest.mark.parametrize("variable", [True, False])
def test_a_sample_is_answered_as_it_is_alone(variable: bool) -> None:
    model = made(variable=variable)
    x = drawn((6, 2, 0, 4, 1) if variable else (6,) * 5)
    if not variable:
        x["joint"][2] = np.nan
    found = scores(model, x)
    for row in range(5):
        alone = x[row : row + 1]
        if variable:
            alone = samples(joint=[alone["joint"]["values"][0, : alone["joint"]["length"][0]]])
        torch.testing.assert_close(scores(model, alone)[0], found[row], atol=1e-10, rtol=1e-9)
    # What is missing says nothing.
    torch.testing.assert_close(found[2], model.head.bias)
    assert all(torch.isfinite(of).all() for of in model.unimodal(model.collate(x)).values())


def test_what_is_behind_a_length_gets_no_gradient() -> None:
    model = made()
    part = model.collate(drawn())["joint"]
    joints = part.values.clone().requires_grad_()
    model({"joint": part.with_values(joints)}).square().sum().backward()
    assert joints.grad is not None and not joints.grad[~part.steps].any()
    assert joints.grad[part.steps].flatten(1).abs().amax(dim=1).min() > 0
    # The model leaves it out by itself, too.
    spoiled = torch.where(part.steps[:, :, None, None], part.values, 1e3)
    given = type(part)(spoiled, part.present, part.lengths)
    torch.testing.assert_close(model({"joint": given}), model({"joint": part}))


def test_a_classifier_of_skeletons() -> None:
    model, x = made(), drawn((6, 2, 5, 4, 1))
    found = FusionClassifier(model, device_type="cpu")
    y = np.arange(5) % 3
    expected = found.predict(x)
    np.testing.assert_allclose(found.predict(x, batch_size=2), expected, atol=1e-6)
    gradient = found.loss_gradient(x, y)
    direction = np.where(model.modalities["joint"].present(x["joint"])[..., None], 1.0, 0.0)
    direction = torch.from_numpy(direction * np.random.default_rng(0).standard_normal(direction.shape[:3] + (3,)))
    part = model.collate(x)["joint"]

    def loss(scale: float) -> float:
        moved = part.with_values(part.values + scale * direction)
        return torch.nn.functional.cross_entropy(model({"joint": moved}), torch.from_numpy(y)).item()

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert (gradient * direction.numpy()).sum() == pytest.approx(slope, rel=1e-4)
    view = found.modality_view("joint", x)
    after = FastGradientMethod(view, eps=0.05).generate(x["joint"]["values"], np.eye(3)[y])
    assert np.abs(after - x["joint"]["values"]).max() <= 0.05 + 1e-6
    pgd = ProjectedGradientDescentMultimodal(found, {"joint": 0.1}, max_iter=3, num_random_init=0, verbose=False)
    assert (found.compute_loss(pgd.generate(x, y), y) >= found.compute_loss(x, y)).all()
    apart = made(threat="views")
    several = FusionClassifier(apart, device_type="cpu")
    fields = apart.as_views(x)
    pgd = ProjectedGradientDescentMultimodal(several, dict.fromkeys(VIEWS, 0.1), max_iter=3, verbose=False, seed=0)
    moved = pgd.generate(fields, y)
    assert all(np.abs(moved[view]["values"] - fields[view]["values"]).max() > 0.05 for view in VIEWS)


# --- training without labels


def test_embeddings_are_of_each_view_alone_and_of_all() -> None:
    model = made()
    crops = [torch.from_numpy(drawn((6,) * 4, seed)["joint"].copy()).double() for seed in range(4)]
    alone, fused = model.embeddings(crops)
    assert list(alone) == list(fused) == list(VIEWS)
    for number, view in enumerate(VIEWS):
        inputs = model.collate(samples(joint=crops[number].numpy()))
        expected = model.projectors[view](model.unimodal(inputs)[view])
        torch.testing.assert_close(alone[view], expected, atol=1e-5, rtol=1e-4)
        together = model.projectors[view](model.fuse(model.collate(samples(joint=crops[3].numpy()))))
        torch.testing.assert_close(fused[view], together, atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="must be 4 crops"):
        model.embeddings(crops[:3])
    with pytest.raises(InputError, match=r"shape \(N, 6, 5, 3\), not \(4, 5, 5, 3\)"):
        model.embeddings([crop[:, 1:] for crop in crops])


def trained(objective) -> tuple[UnifiedStream, float]:
    """Some steps without labels; and the least spread of an embedding in the end, over the samples."""
    model = made(hidden=16).float().train()
    generator = torch.Generator().manual_seed(0)
    joints = torch.randn(48, 1, JOINTS, 3, generator=generator) + torch.randn(48, FRAMES, 1, 3, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        crops = [joints + 0.1 * torch.randn(joints.shape, generator=generator) for _ in range(4)]
        optimizer.zero_grad()
        objective(*model.embeddings(crops)).backward()
        optimizer.step()
    with torch.no_grad():
        alone, fused = model.embeddings([joints] * 4)
    return model, min(float(of.std(dim=0).mean()) for of in (*alone.values(), *fused.values()))


def test_training_without_labels_does_not_collapse() -> None:
    def agreement(alone: dict, fused: dict) -> Tensor:
        return sum(
            (of - fused[view]).square().mean() + (of - alone["joint"]).square().mean() for view, of in alone.items()
        )

    model, deviation = trained(unified_stream)
    assert deviation > 0.7
    assert trained(agreement)[1] < 0.2
    # The head takes no part, and all that is not the head does.
    missed = [name for name, of in model.named_parameters() if of.grad is None]
    assert missed == ["head.weight", "head.bias"]


# --- the disk


@pytest.mark.parametrize("threat", ["physical", "views"])
def test_a_saved_model_answers_as_before(tmp_path, threat: str) -> None:
    model = made(threat=threat, joint_positions=True, views=("bone", "joint"), layers=2).float()
    x = drawn() if threat == "physical" else model.as_views(drawn())
    save_model(model, tmp_path / "best")
    again = load_model(f"checkpoint:{tmp_path}")
    assert type(again) is UnifiedStream and again.modalities == model.modalities and not again.training
    assert torch.equal(scores(again, x), scores(model, x))
    save_model(again, tmp_path / "again")
    files = [json.loads((tmp_path / name / INDEX).read_text())["files"] for name in ("best", "again")]
    assert files[0] == files[1]
    assert "umurl" in FAMILIES and WHOLE_MODELS["umurl"] is UnifiedStream


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("parents",), [0, 0]),
        (("parents",), [1, 0, 1, 1, 3]),
        (("parents",), None),
        (("views",), ["joint", "face"]),
        (("views",), []),
        (("threat",), "both"),
        (("hidden",), 10**9),
        (("hidden",), "wide"),
        (("layers",), 10**9),
        (("joint", "kind"), "table"),
        (("joint", "shape"), [6, 5]),
        (("joint", "shape"), [None, 5, 3]),
        (("class_names",), ["wave"]),
    ],
)
def test_a_model_that_a_folder_makes_up_is_refused(tmp_path, path: tuple, to: object) -> None:
    save_model(made().float(), tmp_path / "best")
    edited(tmp_path / "best", *path, to=to)
    assert "\n" not in refusal(tmp_path)


def test_classes_of_ones_own_are_not_saved() -> None:
    class Mine(UnifiedStream):
        pass

    class Body(Skeleton):
        pass

    model = made()
    body = Body("joint", (FRAMES, JOINTS, 3), (0, 1), (-2.0, 2.0), variable=True)
    other = UnifiedStream(body, ACTIONS, PARENTS, hidden=4, projection=4)
    model.__class__ = Mine
    for refused, name in ((model, "Mine"), (other, "Body")):
        with pytest.raises(InputError, match=f"of class {name}, and code is never saved"):
            check_can_be_saved(refused)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"parents": (0, 0)}, "each of the 5 joints"),
        ({"views": ("joint", "joint")}, "each once"),
        ({"views": ("joints",)}, "Did you mean joint"),
        ({"threat": "phys"}, "threat"),
        ({"hidden": 9, "heads": 2}, "multiple of heads"),
        ({"projection": 0}, "projection must be at least 1"),
    ],
)
def test_options_that_are_none(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        made(**options)
    with pytest.raises(InputError, match="joint must be a skeleton"):
        UnifiedStream(sequence("joint", 6, 15), ACTIONS, PARENTS)  # type: ignore[arg-type]
