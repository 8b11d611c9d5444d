"""From a batch of samples to what an objective asks for: attack it, then ask the fusion model once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.defences.trainer.fusion.batches import SampleBatch
from art_multimodal.defences.trainer.fusion.memory import Memory
from art_multimodal.defences.trainer.gathering import gathered_rows
from art_multimodal.defences.trainer.learner import Learner, at_least_float32
from art_multimodal.defences.trainer.methods import Method
from art_multimodal.defences.trainer.samples import generator_of
from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.functional.skeletons import varied
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.fusion import move_tokens
from art_multimodal.models.fusions import Equilibrium, Fusion
from art_multimodal.models.fusions.orthogonal import Orthogonal
from art_multimodal.models.fusions.unified_stream import UnifiedStream
from art_multimodal.models.lipschitz import lipschitz_bound
from art_multimodal.models.multimodal import Features, MultimodalModel, Part
from art_multimodal.processes import process_index

#: Quantities that are tensors of samples by name, and those that are one.
_BY_NAME, _WHOLE = ("features", "unimodal_scores", "weights"), ("scores", "fused")
#: Those that are a number of each sample.
_NUMBERS = ("radius", "steepness")
#: Random vectors by which steepness is estimated, as published.
_VECTORS = 2


class SampleLearner(Learner):
    """Attacks batches of samples, and makes losses of what a fusion model says about them.

    :param estimator: Around the model in training.
    :param count: Number of samples that are trained on; ``None`` where they are not known again.
    :raises InputError: If the model does not have what the method asks for.
    """

    estimator: FusionClassifier

    def __init__(
        self,
        estimator: FusionClassifier,
        method: Method,
        settings: TrainingSettings,
        options: dict[str, Any] | None = None,
        count: int | None = None,
    ) -> None:
        super().__init__(estimator, method, settings, options)
        self.multimodal: MultimodalModel = estimator.multimodal
        self._asking = estimator.asking()
        kind = next((stage.memory for stage in method.stages if stage.memory is not None), None)
        self.memory = None if kind is None else kind(self, count)
        assert self.memory is None or isinstance(self.memory, Memory)

    def check(self) -> None:
        """Refuse a model that does not have what the method asks for, before anything is trained.

        :raises InputError: Saying which models have it.
        """
        model = self.multimodal
        needs = frozenset().union(*(stage.needs for stage in self.method.stages))
        for name, lacking in _LACKING.items():
            if name in needs and not _has(model, name):
                raise InputError(lacking)
        widths = getattr(getattr(model, "fusion", None), "widths", {})
        if "features" in needs and len(set(widths.values())) > 1:
            said = ", ".join(f"{name} {width}" for name, width in widths.items())
            raise InputError(f"This method compares embeddings, so it needs towers of one width, not {said}.")

    @cached_property
    def only_numeric(self) -> str:
        """The only modality that holds numbers."""
        (name,) = (name for name, modality in self.estimator.modalities.items() if modality.numeric)
        return name

    def attacked(self, batch: SampleBatch, generator: torch.Generator) -> np.ndarray | None:
        """The process's own samples under the attack of the method; ``None`` where there is none."""
        self.estimator.model.eval()
        attack = self.method.image_attack
        return None if attack is None else attack.attack(self, batch, generator)

    def quantities(self, batch: SampleBatch, attacked: np.ndarray | None) -> dict[str, Any]:
        needs = self.method.needs | (frozenset() if self.memory is None else self.memory.needs)
        found: dict[str, Any] = {"targets": batch.targets, "present": batch.present, "turn": batch.turn}
        if "clean_scores" in needs:
            found["clean_scores"] = self._asked(batch, batch.x, {"scores"})["scores"]
        if own := needs & {*_BY_NAME, *_WHOLE, *_NUMBERS, "adversarial_scores"}:
            said = self._asked(batch, batch.x if attacked is None else attacked, own)
            found |= said | {"adversarial_scores": said["scores"]}
        if "ablated_scores" in needs:
            views = [self._asked(batch, view, {"scores"})["scores"] for view in batch.views]
            found["ablated_scores"] = torch.stack(views)
        if needs & {"projected", "fused_projected"}:
            found |= self._projected(batch)
        return found | ({} if self.memory is None else self.memory.quantities(batch))

    def before_step(self, batch: SampleBatch, progress: float) -> None:
        if self.memory is not None:
            self.memory.before_step(batch, progress)

    def after_step(self, batch: SampleBatch, found: dict[str, Any], progress: float) -> None:
        if self.memory is not None:
            self.memory.after_step(batch, found, progress)

    def notes(self) -> tuple[str, ...]:
        return () if self.memory is None else self.memory.notes()

    def remembered(self) -> dict[str, Tensor]:
        return {} if self.memory is None else self.memory.tensors

    def remember(self, tensors: dict[str, Tensor]) -> None:
        own = self.remembered()
        if {name: of.shape for name, of in own.items()} != {name: of.shape for name, of in tensors.items()}:
            raise InputError("The checkpoint is of another training: what it remembers of the steps does not fit.")
        if self.memory is not None:
            self.memory.tensors = {name: of.to(own[name]) for name, of in tensors.items()}

    def _asked(self, batch: SampleBatch, x: np.ndarray, needs: set[str] | frozenset[str]) -> dict[str, Any]:
        """What the model says of the process's own samples, of all processes together."""
        own: dict[str, Any] = {}
        if len(x):
            with self.computing("bf16"):
                own = self._said(batch, x, needs)
        device, size = self.multimodal.device, batch.size
        found: dict[str, Any] = {name: gathered_rows(own.get(name), size, device) for name in _WHOLE}
        for name in _BY_NAME:
            if name in needs:
                of, gather = own.get(name) or {}, _gathered_numbers if name == "weights" else gathered_rows
                found[name] = {one: gather(of.get(one), size, device) for one in self.multimodal.modalities}
        for name in _NUMBERS:
            if name in needs:
                found[name] = _gathered_numbers(own.get(name), size, device)
        return found

    def _said(self, batch: SampleBatch, x: np.ndarray, needs: set[str] | frozenset[str]) -> dict[str, Any]:
        model = self.multimodal
        seen = {name: model.see(name, part) for name, part in self.parts(x).items()}
        fused = model.meet(seen)
        said: dict[str, Any] = {"fused": at_least_float32(fused), "scores": at_least_float32(model.predict(fused))}
        if "radius" in needs:
            # Before processes meet: its parameters are to get the gradient of the own samples alone.
            said["radius"] = self._radius(said["fused"], batch.labels[batch.own])
        features = {name: part.values for name, part in seen.items() if isinstance(part.values, Tensor)}
        present = {name: part.present for name, part in seen.items()}
        if "steepness" in needs:
            said["steepness"] = at_least_float32(self._steepness(batch, features, present))
        by_name: dict[str, Mapping[str, Tensor] | None] = {}
        if "features" in needs:
            by_name["features"] = features if model.separate_towers else None
        if "unimodal_scores" in needs:
            by_name["unimodal_scores"] = model.unimodal_scores(features)
        if "weights" in needs:
            by_name["weights"] = model.weights(features, present)
        for name, of in by_name.items():
            if of is None:
                raise InputError(_LACKING[name])
            said[name] = {one: at_least_float32(values) for one, values in of.items()}
        return said

    def parts(self, x: np.ndarray) -> dict[str, Part]:
        """Samples as the model takes them, behind the preprocessing defences, on its device."""
        device, parts = self.multimodal.device, {}
        for name, modality in self.multimodal.modalities.items():
            field = x[name]
            if not modality.numeric:
                tokens = move_tokens(self._asking.tokenize(name, field.tolist()), device)
                parts[name] = Part(tokens, torch.from_numpy(~modality.missing(field)).to(device))
                continue
            values = torch.from_numpy(np.ascontiguousarray(modality.values(field))).to(device)
            lengths = torch.from_numpy(np.array(modality.lengths(field))).to(device) if modality.variable else None
            with torch.no_grad():
                values = self._asking.through_defences(name, values)
            parts[name] = self.multimodal.numbers(name, values, lengths)
        return parts

    def _radius(self, fused: Tensor, labels: np.ndarray) -> Tensor:
        fusion = self.multimodal.fusion
        assert isinstance(fusion, Orthogonal)
        return fusion.radius(fused, torch.from_numpy(labels).to(fused.device), self._constants)

    def _steepness(self, batch: SampleBatch, features: Features, present: dict[str, Tensor]) -> Tensor:
        """Of the process's own samples, by their rows of what is drawn for the whole batch."""
        fusion = self.multimodal.fusion
        assert isinstance(fusion, Equilibrium)
        found = fusion.found or fusion.solve(features, present)
        rng = generator_of(self.settings.seed, 5, batch.number)
        drawn = rng.standard_normal((_VECTORS, batch.size, found.state.shape[1]))
        vectors = torch.from_numpy(drawn[:, batch.own]).to(found.state)
        return fusion.steepness(features, present, found.state, vectors)

    @cached_property
    def _constants(self) -> Tensor:
        """Bounds of the Lipschitz constants of the towers, which stay as they are while the radius is raised, ``[M]``.

        Where one is not known, all count alike.
        """
        assert isinstance(self.multimodal, ModularModel)
        try:
            bounds = [
                lipschitz_bound(tower.module, [size or 1 for size in tower.modality.shape])
                for tower in map(self.multimodal.tower, self.multimodal.modalities)
            ]
        except InputError as error:
            warnings.warn(f"{error} So all towers count alike.", stacklevel=2)
            bounds = [1.0] * len(self.multimodal.modalities)
        return torch.tensor(bounds)

    def _projected(self, batch: SampleBatch) -> dict[str, Any]:
        """Embeddings of variations of the same skeletons; in several processes each draws its own."""
        model = self.multimodal
        assert isinstance(model, UnifiedStream)
        alone: dict[str, Tensor] = {}
        together: dict[str, Tensor] = {}
        if len(batch.x):
            part = self.parts(batch.x)[model.joint.name]
            seed = generator_of(self.settings.seed, 3, batch.number, process_index()).integers(2**62)
            generator = torch.Generator().manual_seed(int(seed))
            assert isinstance(part.values, Tensor)
            lengths = None if part.lengths is None else part.lengths.clamp_min(1)
            crops = [varied(part.values, generator, lengths) for _ in range(len(model.views) + 1)]
            with self.computing("bf16"):
                alone, together = model.embeddings(crops)
        found: dict[str, Any] = {}
        for name, of in (("projected", alone), ("fused_projected", together)):
            own = {view: at_least_float32(values) for view, values in of.items()}
            found[name] = {view: gathered_rows(own.get(view), batch.size, model.device) for view in model.views}
        return found


#: What is said where a model does not have what is asked for.
_LACKING = {
    "features": "This method looks at the embedding of each modality, and this model lets them meet before.",
    "unimodal_scores": "This method needs scores of each modality alone: give a model with a fusion that has them, "
    "such as late, qmf or unis_mmc.",
    "weights": "This method trains weights of modalities: give a model with a fusion that weighs them, such as qmf.",
    "projected": "This method trains a model of skeletons: a UnifiedStream.",
    "steepness": "This method keeps the layer of an equilibrium from being steep: give a model with the fusion deq.",
    "radius": "This method raises the radius of orthonormal heads: give a model with the fusion orthogonal.",
}


def _has(model: MultimodalModel, quantity: str) -> bool:
    """Whether a model defines what :class:`MultimodalModel`, or its fusion what :class:`Fusion`, leaves open."""
    fusion = getattr(model, "fusion", None)
    if quantity == "radius":
        return isinstance(fusion, Orthogonal)
    if quantity == "steepness":
        return isinstance(fusion, Equilibrium)
    if quantity == "projected":
        return isinstance(model, UnifiedStream)
    if quantity == "features":
        return model.separate_towers
    if quantity == "weights":
        return model.weighs
    of, left_open = (fusion, Fusion) if isinstance(fusion, Fusion) else (model, MultimodalModel)
    return getattr(type(of), quantity) is not getattr(left_open, quantity)


def _gathered_numbers(own: Tensor | None, count: int, device: torch.device) -> Tensor:
    """Numbers ``[n]`` of all processes, ``[count]``; also where this one has none, and does not see their shape."""
    return gathered_rows(None if own is None else own[:, None], count, device)[:, 0]
