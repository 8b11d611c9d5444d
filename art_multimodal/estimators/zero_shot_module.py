"""The torch module inside a :class:`ZeroShotClassifier`: images in, logits over class prompts out.

Everything that a forward pass needs lives here, because some of ART's attacks (APGD, ACG, ReACG, Brendel-Bethge)
rebuild a plain ``PyTorchClassifier`` around ``estimator.model`` and forget the estimator.
"""

from __future__ import annotations

from collections import ChainMap, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.estimators.asking.memory import TextMemory
from art_multimodal.estimators.modules import LearningModule, RememberedFeatures
from art_multimodal.models.dual_encoder import DualEncoder

_TEXTS_PER_BATCH = 256
#: Sets of other prompts whose classes are remembered: those that several attacks share among all images.
_OTHER_SETS = 4

#: For each class its prompts.
Prompts = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Known:
    """What is known of prompts while the weights stay as they are.

    :param texts: Unit embeddings of the distinct prompts, ``[M, D]``.
    :param classes: Unit embeddings of the classes, ``[K, D]``.
    :param others: The same of the classes by other prompts.
    """

    texts: Tensor
    classes: Tensor
    others: OrderedDict[Prompts, Tensor] = field(default_factory=OrderedDict)


class ImageEncoder(nn.Module):
    """The image tower as a module that is called, so that ART's ``get_activations`` can hook it."""

    def __init__(self, dual_encoder: DualEncoder) -> None:
        super().__init__()
        self.dual_encoder = dual_encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.dual_encoder.encode_image(images, normalize=False)


def similarity_logits(dual_encoder: DualEncoder, image_features: Tensor, text_features: Tensor) -> Tensor:
    """Logits ``[N, K]``, in at least float32: exp(logit_scale) * cosine (+ logit_bias).

    :param image_features: Shape ``[N, D]``, of any length.
    :param text_features: Unit vectors: ``[K, D]``, or ``[N, K, D]``, others for each image.
    """
    units = F.normalize(image_features, dim=-1)
    cosines = torch.einsum("nd,nkd->nk", units, text_features) if text_features.ndim == 3 else units @ text_features.T
    logits = dual_encoder.logit_scale.exp() * cosines
    if dual_encoder.logit_bias is not None:
        logits = logits + dual_encoder.logit_bias
    return logits.to(torch.promote_types(torch.float32, logits.dtype))


class PromptHead(RememberedFeatures):
    """Similarity of image features to class prompts.

    :param dual_encoder: Registered by :class:`ImageEncoder`; only referred to here, so weights have one name.
    :param prompts: For each class at least one text; a class's embedding is the unit mean of its prompts' embeddings.
    """

    tokens: Tensor
    class_of: Tensor
    text_of: Tensor

    def __init__(self, dual_encoder: DualEncoder, prompts: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self._dual_encoder = (dual_encoder,)
        texts = dict.fromkeys(text for class_prompts in prompts for text in class_prompts)
        #: The distinct prompts, and the row of each.
        self.row_of = {text: row for row, text in enumerate(texts)}
        places = [(index, self.row_of[text]) for index, class_prompts in enumerate(prompts) for text in class_prompts]
        self.register_buffer("tokens", dual_encoder.tokenize(list(texts)), persistent=False)
        self.register_buffer("class_of", torch.tensor([place[0] for place in places]), persistent=False)
        self.register_buffer("text_of", torch.tensor([place[1] for place in places]), persistent=False)
        self.nb_classes = len(prompts)

    def class_features(self) -> Tensor:
        """Unit embeddings of the classes, ``[K, D]``: once per prompt set, and again when weights have changed.

        While training they are computed in every call, with gradients.
        """
        return self.known().classes

    def known(self) -> Known:
        """What is known of the prompts; computed where nothing is."""
        return self.remember(self.dual_encoder, self._weights, self._encode)

    @property
    def _weights(self) -> list[Tensor]:
        return [self.tokens, *self.dual_encoder.text_parameters()]

    def _encode(self) -> Known:
        texts = self._embedded(self.tokens)
        # The mean's length does not matter: the sum has its direction.
        sums = texts.new_zeros(self.nb_classes, texts.shape[1])
        return Known(texts, F.normalize(sums.index_add(0, self.class_of, texts[self.text_of]), dim=-1))

    def features_of(self, prompts: Sequence[Prompts]) -> Tensor:
        """Unit embeddings ``[N, K, D]`` of the classes by ``N`` sets of prompts, without gradients.

        Each distinct text is encoded once, and the prompts of the classifier not again. A single set is remembered:
        attacks whose prompts all images share ask about it batch by batch.

        :param prompts: For each set, for each class at least one text.
        """
        own = any(text in self.row_of for entry in prompts for texts in entry for text in texts)
        with torch.no_grad():
            if not own and not self.remembers(self.dual_encoder, self._weights):
                # Nobody has asked by the prompts of the classifier, and nobody asks now.
                return self._classes_of(prompts, None)
            known = self.known()
            if len(prompts) != 1:
                return self._classes_of(prompts, known.texts)
            (only,) = prompts
            if only not in known.others:
                known.others[only] = self._classes_of(prompts, known.texts)[0]
            known.others.move_to_end(only)
            if len(known.others) > _OTHER_SETS:
                known.others.popitem(last=False)
            return known.others[only][None]

    def _classes_of(self, prompts: Sequence[Prompts], own: Tensor | None) -> Tensor:
        """Unit embeddings ``[N, K, D]`` of the classes by ``N`` sets of prompts, from those of the own prompts."""
        known, parts = ({}, []) if own is None else (self.row_of, [own])
        texts = dict.fromkeys(text for entry in prompts for texts in entry for text in texts)
        new = [text for text in texts if text not in known]
        if new:
            parts.append(self._embedded(self.dual_encoder.tokenize(new).to(self.tokens.device)))
        row_of = ChainMap({text: len(known) + number for number, text in enumerate(new)}, known)
        features = torch.cat(parts)
        places = [
            (number * self.nb_classes + index, row_of[text])
            for number, entry in enumerate(prompts)
            for index, texts in enumerate(entry)
            for text in texts
        ]
        class_of, text_of = torch.tensor(places, device=features.device).T
        sums = features.new_zeros(len(prompts) * self.nb_classes, features.shape[1])
        sums.index_add_(0, class_of, features[text_of])
        return F.normalize(sums, dim=-1).view(len(prompts), self.nb_classes, -1)

    def lend(self, memory: TextMemory) -> None:
        """Put the embeddings of the prompts, where there are any, into a memory of the model's texts.

        What asks about texts alone then does not embed the prompts of the classes once more.
        """
        if not self.remembers(self.dual_encoder, self._weights):
            return
        texts = self.known().texts
        with memory.lock:
            if missing := memory.missing(list(self.row_of)):
                memory.keep(missing, texts[[self.row_of[text] for text in missing]])

    def _embedded(self, tokens: Tensor) -> Tensor:
        """Unit embeddings ``[M, D]`` of texts.

        Of many texts what they have in common from their beginning on is computed once: 1,000 classes in 80 templates
        take a quarter of the work.
        """
        dual_encoder = self.dual_encoder
        if len(tokens) > _TEXTS_PER_BATCH and dual_encoder.shares_prefixes and not torch.is_grad_enabled():
            return dual_encoder.encode_texts_sharing_prefixes(tokens)[0]
        return torch.cat([dual_encoder.encode_text(part) for part in tokens.split(_TEXTS_PER_BATCH)])

    @property
    def dual_encoder(self) -> DualEncoder:
        """The model that embeds the prompts."""
        return self._dual_encoder[0]

    def forward(self, image_features: Tensor) -> Tensor:
        return self.similarity(image_features, self.class_features())

    def similarity(self, image_features: Tensor, class_features: Tensor) -> Tensor:
        """Logits ``[N, K]`` of what :class:`ImageEncoder` returns against class features."""
        return self.similarity_of(image_features, class_features)

    def similarity_of(self, image_features: Tensor, class_features: Tensor) -> Tensor:
        """Logits ``[N, K]`` of image embeddings against class features; see :func:`similarity_logits`."""
        return similarity_logits(self._dual_encoder[0], image_features, class_features)


class DualEncoderModule(LearningModule):
    """A module over a dual encoder whose image tower comes first."""

    def __init__(self, dual_encoder: DualEncoder) -> None:
        super().__init__()
        self.image_encoder = ImageEncoder(dual_encoder)

    @property
    def dual_encoder(self) -> DualEncoder:
        """The model inside."""
        return self.image_encoder.dual_encoder

    def image_features(self, images: Tensor) -> Tensor:
        """Unnormalised image embeddings ``[N, D]``, with parameters in the graph or not as in :meth:`forward`."""
        with self.parameters_in_graph(images):
            return self.image_encoder(images)


class ZeroShotModule(DualEncoderModule):
    """Images ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]`` (or probabilities).

    In evaluation mode the parameters take no part in the graph, so an attack's backward pass costs no parameter
    gradients whoever runs it; gradients to the images are the same. In training mode, and inside :meth:`trainable`,
    they do.
    """

    def __init__(
        self, dual_encoder: DualEncoder, prompts: Sequence[Sequence[str]], probabilities: bool = False
    ) -> None:
        super().__init__(dual_encoder)
        self.head = PromptHead(dual_encoder, prompts)
        self.probabilities = probabilities

    def forward(self, images: Tensor) -> Tensor:
        return self.in_parts(self._scores, images)

    def _scores(self, images: Tensor, rows: slice) -> Tensor:
        with self.parameters_in_graph(images):
            logits = self.head(self.image_encoder(images))
        return logits.softmax(dim=1) if self.probabilities else logits
