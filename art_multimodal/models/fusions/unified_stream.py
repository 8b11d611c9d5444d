"""One stream for the joints, bones and motion of a skeleton, which are linear images of one sensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.functional.sequences import largest_over_steps, positions_of
from art_multimodal.functional.skeletons import bones, check_parents, motion
from art_multimodal.modalities import Skeleton, skeleton
from art_multimodal.models.fusions.blocks import Block, check_widths
from art_multimodal.models.fusions.fusion import WHOLE_MODELS, modules_by_name
from art_multimodal.models.multimodal import Inputs, MultimodalModel, Part
from art_multimodal.sample_arrays import check_samples, samples

#: What is seen of a skeleton.
VIEWS = ("joint", "bone", "motion")
#: What an attacker changes.
THREATS = ("physical", "views")


class UnifiedStream(MultimodalModel):
    """Recognise what a body does from views of its skeleton that share one encoder (UmURL).

    Each view, ``joint``, ``bone`` or ``motion``, is embedded as a token for each frame and one for each joint. Fused
    early, as their mean and a linear map, they pass one transformer over the frames and one over the joints; the
    maxima of both, side by side, are the fused vector ``y``, and scores are linear in it. A view alone passes the same
    transformers, without the linear map.

    The views are linear images of one sensor, so that no attacker moves them one by one. Whoever does has more power
    than is real:

    | ``threat="physical"``: one field, the joints; the other views are made of them inside the model.
    | ``threat="views"``: a field for each view, as :meth:`as_views` makes them; an upper bound.

    With the views in three fields a sample may lack some: the mean is over those that it has. Embeddings of joints
    span all frames, those behind a length as zeros.

    | Paper link: https://arxiv.org/abs/2311.03106

    >>> from art_multimodal.demo.skeleton import PARENTS
    >>> from art_multimodal.modalities import skeleton
    >>> data = open_samples("demo:skeleton")
    >>> model = UnifiedStream(skeleton("joint", 32, 13), data.class_names, PARENTS, hidden=8, projection=8)
    >>> FusionClassifier(model).predict(data.samples(np.arange(4))).shape
    (4, 6)

    :param joint: The skeleton, its number of frames known; its name is that of the field.
    :param class_names: Names of the classes, distinct, at least two.
    :param parents: Of each joint the index of its parent; a root is its own.
    :param views: Which of the three are seen, at least one.
    :param threat: ``"physical"`` or ``"views"``.
    :param hidden: Width of a token; published with 1024.
    :param layers: Of each transformer.
    :param heads: Attention heads in each layer; they divide ``hidden``.
    :param projection: Width of the projectors, which take part in training without labels only; published with 4096.
    :param joint_positions: Tell joints apart by learned positions. Without, as published, the transformer over the
        joints gives the same maximum in any order of the joints.
    :raises InputError: If these do not fit together.
    """

    summary: ClassVar[str] = "joints, bones and motion of one skeleton in one stream: the class UnifiedStream"
    paper: ClassVar[str] = "UmURL, arXiv:2311.03106"
    family = "umurl"

    def __init__(
        self,
        joint: Skeleton,
        class_names: Sequence[str],
        parents: Sequence[int],
        views: Sequence[str] = VIEWS,
        threat: str = "physical",
        hidden: int = 256,
        layers: int = 1,
        heads: int = 1,
        projection: int = 1024,
        joint_positions: bool = False,
    ) -> None:
        self._check(joint, views, threat)
        fields = [joint] if threat == "physical" else [_field(joint, view) for view in views]
        super().__init__(fields, class_names)
        check_widths(hidden, layers, heads)
        if projection < 1:
            raise InputError(f"projection must be at least 1, the width of the projectors, not {projection}.")
        frames, joints, coordinates = (size or 0 for size in joint.shape)
        self.joint, self.views, self.threat = joint, tuple(views), threat
        self.parents = check_parents(parents, joints)
        self.hidden, self.layers, self.heads, self.projection = hidden, layers, heads, projection
        self.joint_positions = bool(joint_positions)
        self.of_frames = _by_view(views, lambda: _embedding(joints * coordinates, hidden))
        self.of_joints = _by_view(views, lambda: _embedding(frames * coordinates, hidden))
        self.mix_frames, self.mix_joints = (nn.Linear(hidden, hidden, bias=False) for _ in range(2))
        self.places = nn.Parameter(torch.randn(joints, hidden) * 0.02) if joint_positions else None
        self.over_frames, self.over_joints = (_Transformer(hidden, layers, heads) for _ in range(2))
        self.projectors = _by_view(views, lambda: _projector(2 * hidden, projection))
        self.head = nn.Linear(2 * hidden, len(self.class_names))

    def fuse(self, inputs: Inputs) -> Tensor:
        return self._fused(self._seen(inputs))

    def predict(self, fused: Tensor) -> Tensor:
        return self.head(fused)

    def unimodal(self, inputs: Inputs) -> dict[str, Tensor]:
        """What the encoder makes of each view alone, ``[N, 2 hidden]`` by name: :meth:`predict` takes it."""
        return {view: self._alone(view, *seen) for view, seen in self._seen(inputs).items()}

    def embeddings(self, crops: Sequence[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What one step of training without labels compares, behind the projectors.

        :param crops: Variations of the same samples' joints, ``[N, T, J, D]`` each with all frames: one for each view,
            in their order, and the last for all views together.
        :return: Of each view alone ``z_m``, and of the fused stream ``u_m``, ``[N, projection]`` by the name of the
            view; as :func:`~art_multimodal.functional.fusion_objectives.unified_stream` takes them.
        :raises InputError: If there are not as many, or of another shape.
        """
        if len(crops) != len(self.views) + 1:
            raise InputError(f"There must be {len(self.views) + 1} crops, one for each view and one, not {len(crops)}.")
        if wrong := [crop for crop in crops if crop.shape[1:] != self.joint.shape]:
            raise InputError(f"A crop must have shape (N, {self._shape}), not {tuple(wrong[0].shape)}.")
        alone = {}
        for view, crop in zip(self.views, crops, strict=False):
            alone[view] = self.projectors[view](self._alone(view, *self._of_joints(crop)[view]))
        fused = self._fused(self._of_joints(crops[-1]))
        return alone, {view: self.projectors[view](fused) for view in self.views}

    def as_views(self, x: np.ndarray) -> np.ndarray:
        """Samples with a field for each view, from samples of joints: what the model takes with ``threat="views"``.

        :param x: Samples ``(N,)`` with the field of joints.
        :raises InputError: If they have none, or what is in it cannot be used.
        """
        field = check_samples(x, [self.joint])[self.joint.name]
        field = self.joint.laid_out(field)
        values = torch.from_numpy(np.ascontiguousarray(self.joint.values(field)))
        lengths = torch.from_numpy(np.array(self.joint.lengths(field)))
        there = torch.from_numpy(~self.joint.missing(field))
        made = self._made(values, torch.arange(values.shape[1]) < lengths[:, None])
        fields = {}
        for view in self.views:
            of = torch.where(there[:, None, None, None], made[view], 0.0 if self.joint.variable else float("nan"))
            fields[self._name(view)] = self.joint.with_values(field, of.numpy())
        return samples(**fields)

    def _seen(self, inputs: Inputs) -> dict[str, tuple[Tensor, Tensor]]:
        """Each view, ``[N, T, J, D]``, and which of its frames there are, ``[N, T]``."""
        if self.threat == "physical":
            return self._of_joints(*self._whole(inputs[self.joint.name]))
        return {view: self._whole(inputs[self._name(view)]) for view in self.views}

    def _of_joints(self, joints: Tensor, frames: Tensor | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        if frames is None:
            frames = torch.ones(joints.shape[:2], dtype=torch.bool, device=joints.device)
        made = self._made(joints, frames)
        return {view: (made[view], frames) for view in self.views}

    def _made(self, joints: Tensor, frames: Tensor) -> dict[str, Tensor]:
        return {"joint": joints, "bone": bones(joints, self.parents), "motion": motion(joints, frames)}

    def _whole(self, part: Part) -> tuple[Tensor, Tensor]:
        """Numbers with all frames that the model spans, and which there are; the others are zero."""
        assert isinstance(part.values, Tensor)
        frames = part.steps
        values = torch.where(frames[:, :, None, None], part.values, 0.0)
        behind = (self.joint.shape[0] or 0) - values.shape[1]
        return F.pad(values, (0, 0, 0, 0, 0, behind)), F.pad(frames, (0, behind))

    def _tokens(self, view: str, values: Tensor) -> tuple[Tensor, Tensor]:
        """A token for each frame, ``[N, T, hidden]``, and one for each joint, ``[N, J, hidden]``."""
        return self.of_frames[view](values.flatten(2)), self.of_joints[view](values.transpose(1, 2).flatten(2))

    def _alone(self, view: str, values: Tensor, frames: Tensor) -> Tensor:
        return self._encoded(*self._tokens(view, values), frames)

    def _fused(self, seen: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        tokens = [self._tokens(view, values) for view, (values, _) in seen.items()]
        frames = torch.stack([there for _, there in seen.values()], dim=1)
        of_frames = _mean_of_views(torch.stack([of for of, _ in tokens], dim=1), frames)
        of_joints = _mean_of_views(torch.stack([of for _, of in tokens], dim=1), frames.any(dim=2, keepdim=True))
        return self._encoded(self.mix_frames(of_frames), self.mix_joints(of_joints), frames.any(dim=1))

    def _encoded(self, of_frames: Tensor, of_joints: Tensor, frames: Tensor) -> Tensor:
        """Fused vectors ``[N, 2 hidden]`` of tokens; zero where there is no frame."""
        of_frames = of_frames + positions_of(of_frames.shape[1], self.hidden, of_frames)
        of_joints = of_joints if self.places is None else of_joints + self.places
        anything = frames.any(dim=1, keepdim=True).expand(-1, of_joints.shape[1])
        return torch.cat([self.over_frames(of_frames, frames), self.over_joints(of_joints, anything)], dim=1)

    def _name(self, view: str) -> str:
        return self.joint.name if view == "joint" else view

    @property
    def _shape(self) -> str:
        return ", ".join(map(str, self.joint.shape))

    @staticmethod
    def _check(joint: Skeleton, views: Sequence[str], threat: str) -> None:
        if not isinstance(joint, Skeleton) or None in joint.shape:
            raise InputError("joint must be a skeleton whose number of frames is known, as skeleton() makes it.")
        if strange := [view for view in views if view not in VIEWS]:
            raise unknown_name("view of a skeleton", strange[0], VIEWS)
        if not views or len(set(views)) < len(views):
            raise InputError(f"views must name at least one of {', '.join(VIEWS)}, each once, not {tuple(views)}.")
        if threat not in THREATS:
            raise unknown_name("threat", threat, THREATS)


class _Transformer(nn.Module):
    """Layers of a transformer over tokens, and the maximum of what comes out, ``[N, hidden]``."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.last = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, ~there)
        return largest_over_steps(self.last(tokens), there)


def _field(joint: Skeleton, view: str) -> Skeleton:
    """The field of a view. A difference of two values lies within twice their range."""
    if view == "joint":
        return joint
    frames, joints, coordinates = (size or 0 for size in joint.shape)
    low, high = joint.clip_values
    span = float(np.max(high) - np.min(low))
    return skeleton(view, frames, joints, coordinates, clip_values=(-span, span), variable=joint.variable)


def _by_view(views: Sequence[str], make: Callable[[], nn.Module]) -> nn.ModuleDict:
    return modules_by_name({view: make() for view in views})


def _embedding(before: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(before, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))


def _projector(before: int, width: int) -> nn.Module:
    first = (nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU())
    second = (nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())
    return nn.Sequential(*first, *second, nn.Linear(width, width))


def _mean_of_views(tokens: Tensor, there: Tensor) -> Tensor:
    """Mean ``[N, T, D]`` of tokens ``[N, M, T, D]`` over the views that are ``there``, ``[N, M, T or 1]``."""
    kept = torch.where(there[:, :, :, None], tokens, 0.0)
    return kept.sum(dim=1) / there.sum(dim=1).clamp_min(1)[:, :, None]


WHOLE_MODELS.add("umurl", UnifiedStream)
