"""A model over any modalities, put together from towers and a fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.fusion import Tokens
from art_multimodal.models.fusions import Fusion, new_fusion
from art_multimodal.models.fusions.fusion import modules_by_name
from art_multimodal.models.multimodal import Features, MultimodalModel, Part


class Tower(nn.Module):
    """Embed one modality.

    A module of one's own becomes a tower with ``Tower(modality, module, width)``: it is called with numbers
    ``[N, *shape]``, of a sequence with ``(values, mask)``. Of texts :meth:`tokenize` is needed: make a subclass.

    >>> from art_multimodal.modalities import table
    >>> tower = Tower(table("audio", 6), torch.nn.Linear(6, 4), width=4)
    >>> tower.width, tower.modality.name
    (4, 'audio')

    :param modality: What the tower takes.
    :param module: Maps the modality's numbers to embeddings ``[N, width]``, or, under a fusion that takes steps, to
        ``[N, T, width]``, of a sequence with the steps that came in; :class:`EachStep` applies layers to each step.
    :param width: Of the embedding.
    """

    def __init__(self, modality: Modality, module: nn.Module, width: int) -> None:
        super().__init__()
        self.modality, self.module, self.width = modality, module, width

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Turn texts into tokens, on the CPU; an empty text is allowed.

        :raises InputError: If a text is longer than the tower reads.
        """
        raise InputError(f"{self.modality.name}: a tower of texts needs tokenize(); make a subclass of Tower.")

    def forward(self, part: Part) -> Tensor:
        """Embeddings ``[N, width]``, or of steps."""
        if part.lengths is None:
            return self.module(part.values)
        return self.module(part.values, part.mask)


class ModularModel(MultimodalModel):
    """A tower for each modality, and a fusion of what they say.

    >>> from art_multimodal.modalities import image, table
    >>> rgb = Tower(image("rgb", 3, 8, 8), torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4)), width=4)
    >>> audio = Tower(table("audio", 6), torch.nn.Linear(6, 4), width=4)
    >>> model = FusionClassifier(ModularModel([rgb, audio], "concat", ["no", "yes"]))
    >>> from art_multimodal import samples
    >>> model.predict(samples(rgb=np.zeros((5, 3, 8, 8)), audio=np.zeros((5, 6)))).shape
    (5, 2)

    :param towers: One for each modality, in the order of the fields.
    :param fusion: A name of the registry (``"concat"``, ``"gated"``, ``"late"``, ...), or a fusion of one's own.
    :param class_names: Names of the classes, distinct, at least two.
    :param options: Of the fusion, where it is named.
    :raises InputError: For names, towers or options that cannot be used; on use, if a tower returns another shape.
    """

    family = "modular"

    def __init__(
        self, towers: Sequence[Tower], fusion: str | Fusion, class_names: Sequence[str], **options: Any
    ) -> None:
        super().__init__([tower.modality for tower in towers], class_names)
        self.towers = modules_by_name({tower.modality.name: tower for tower in towers})
        self.fusion = fusion if isinstance(fusion, Fusion) else self._named(fusion, options)
        if list(self.fusion.widths) != list(self.modalities) or self.fusion.classes != len(self.class_names):
            raise InputError(
                f"The fusion is made for {', '.join(self.fusion.widths)} and {self.fusion.classes} classes, the model "
                f"has {', '.join(self.modalities)} and {len(self.class_names)}."
            )

    @property
    def takes_steps(self) -> bool:
        return self.fusion.takes_steps

    def tokenize(self, name: str, texts: Sequence[str]) -> Tokens:
        return self.tower(name).tokenize(texts)

    def encode(self, name: str, part: Part) -> Tensor:
        tower = self.tower(name)
        embedded = tower(part)
        if embedded.shape != (len(part), tower.width) and not self._of_steps(tower, part, embedded):
            steps = "" if part.lengths is None else f" of its {part.mask.shape[1]} steps"
            also = f", or ({len(part)}, steps, {tower.width}){steps}" if self.takes_steps else ""
            raise InputError(
                f"{name}: the tower must return embeddings of shape ({len(part)}, {tower.width}){also}, "
                f"not {tuple(embedded.shape)}."
            )
        return embedded

    def combine(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        return self.fusion(features, present)

    def predict(self, fused: Tensor) -> Tensor:
        return self.fusion.predict(fused)

    def unimodal_scores(self, features: Features) -> dict[str, Tensor] | None:
        return self.fusion.unimodal_scores(features)

    @property
    def weighs(self) -> bool:
        return self.fusion.weighs

    @property
    def by_agreement(self) -> bool:
        return self.fusion.by_agreement

    def weights(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        return self.fusion.weights(features, present)

    def _of_steps(self, tower: Tower, part: Part, embedded: Tensor) -> bool:
        """Whether these are embeddings of steps: of a sequence, of all of its steps, so that its lengths hold."""
        if not self.takes_steps or embedded.ndim != 3 or not tower.modality.numeric:
            return False
        steps = embedded.shape[1] if part.lengths is None else part.mask.shape[1]
        return embedded.shape == (len(part), steps, tower.width) and steps > 0

    def _named(self, name: str, options: Mapping[str, Any]) -> Fusion:
        widths = {name: self.tower(name).width for name in self.modalities}
        return new_fusion(name, widths, len(self.class_names), **options)

    def tower(self, name: str) -> Tower:
        """The tower of a modality."""
        tower = self.towers[name]
        assert isinstance(tower, Tower)
        return tower
