"""Image-text retrieval with a CLIP-like model as an ART estimator of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.asking.dual_encoder import CaptionsAsking
from art_multimodal.estimators.defences import score_and_gradient, with_text_defences
from art_multimodal.estimators.image_classifier import check_batch_size, checked_images
from art_multimodal.estimators.pair_estimator import PairEstimator
from art_multimodal.estimators.retriever_module import RetrieverModule
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.contrastive import contrastive_cross_entropy
from art_multimodal.functional.retrieval import Recall, check_ks, cosine_ranks, recall_at
from art_multimodal.groups import first_rows, image_groups, numbered, text_groups
from art_multimodal.images import image_array
from art_multimodal.modalities import Modality
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.custom.given import as_dual_encoder
from art_multimodal.texts import as_texts

if TYPE_CHECKING:
    from art.defences.postprocessor import Postprocessor
    from art.defences.preprocessor import Preprocessor

LAYERS = ("image", "text")


class ImageTextRetriever(PairEstimator):
    """A CLIP-like model that finds texts for images and images for texts, over pairs of :func:`image_text_pairs`.

    An image with several captions stands in several rows, with equal pixels. Rows with equal pixels are one image, and
    all their texts are captions of it; likewise for rows with equal texts.

    Images are float32 ``(3, H, W)`` in [0, 1] at any size. In evaluation mode no gradients are computed for the
    parameters.

    | Paper link: https://arxiv.org/abs/2103.00020 (CLIP)

    >>> retriever = ImageTextRetriever(load_model("demo:scenes"))
    >>> retriever.predict(captioned).shape
    (8, 8)
    >>> retriever.recall(captioned, ks=(1, 5)).image_to_text
    {1: 1.0, 5: 1.0}
    """

    classifies = False
    #: There are no classes; attacks on texts that protect class names ask for them.
    class_names: tuple[str, ...] = ()
    #: The captions of all images that are looked up, for attacks that know them: see :meth:`as_classifier`.
    gallery: Sequence[Sequence[str]] = ()

    def __init__(
        self,
        model: DualEncoder | nn.Module,
        *,
        tokenizer: Any = None,
        processor: Any = None,
        input_shape: tuple[int, ...] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        preprocessing_defences: Preprocessor | list[Preprocessor] | None = None,
        postprocessing_defences: Postprocessor | list[Postprocessor] | None = None,
        device_type: str = "gpu",
    ) -> None:
        """
        :param model: The dual encoder, or a model of open_clip or transformers; shared, not copied.
        :param tokenizer: Of a model of open_clip or transformers that is given as it is; see :func:`as_dual_encoder`.
        :param processor: Likewise, what prepares its images.
        :param input_shape: Shape of an image for ART; default ``(3, *model.image_size)``. Other sizes are accepted too.
        :param optimizer: Over ``model.parameters()``; only training needs it.
        :param preprocessing_defences: ART preprocessors in front of the model: of images, or of texts
            (:class:`TextPreprocessor`).
        :param postprocessing_defences: ART postprocessors, applied to the predictions, which then are probabilities.
        :param device_type: ``"gpu"`` (where there is one) or ``"cpu"``.
        """
        model = as_dual_encoder(model, tokenizer, processor)
        model, preprocessing_defences = with_text_defences(model, preprocessing_defences)
        super().__init__(
            model=RetrieverModule(model).train(model.training),
            sample_shape=(3, *model.image_size),
            optimizer=optimizer,
            input_shape=input_shape,
            preprocessing_defences=preprocessing_defences,
            postprocessing_defences=postprocessing_defences,
            device_type=device_type,
        )

    @property
    def modalities(self) -> dict[str, Modality]:
        """What a sample consists of: an image and a text."""
        return self.dual_encoder.modalities

    def asking(self, batch_size: int = 128) -> CaptionsAsking:
        """Return how searches and attacks ask this retriever: see :class:`Asking`."""
        return CaptionsAsking(self, batch_size)

    @property
    def dual_encoder(self) -> DualEncoder:
        """The model inside."""
        return self._model.dual_encoder

    @property
    def image_text_model(self) -> DualEncoder:
        """The model inside, by the name that it has on a :class:`FusionClassifier` too."""
        return self.dual_encoder

    @property
    def layer_names(self) -> list[str]:
        """What :meth:`get_activations` takes."""
        return list(LAYERS)

    def image_features(self, images: np.ndarray, batch_size: int = 128) -> Tensor:
        """Return unnormalised image embeddings ``(N, D)`` on the model's device, behind ART's preprocessing.

        :param images: Shape ``(N, 3, H, W)`` in [0, 1]. Values outside are warned about, not changed.
        :param batch_size: Images per forward pass.
        :raises InputError: If the shape is not that of images with channels first.
        """
        self._model.eval()
        return self._encode_images(images, batch_size)

    def text_features(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Return unnormalised text embeddings ``(M, D)`` on the model's device; each distinct text is encoded once.

        :param texts: Strings; a single one is one text.
        :param batch_size: Texts per forward pass.
        :raises InputError: If the model refuses a text.
        """
        texts = as_texts(texts)
        check_batch_size(batch_size)
        self._model.eval()
        with torch.no_grad():
            # Of no texts the features have the right width nevertheless.
            return self._model.text_encoder(texts or ["-"], batch_size)[: len(texts)]

    def predict(self, x: np.ndarray, batch_size: int = 128, training_mode: bool = False, **kwargs: Any) -> np.ndarray:
        """Return the logits of every row's image against every row's text, ``(N, N)``: exp(logit_scale) * cosine.

        :param x: Pairs ``(N,)``.
        :param batch_size: Images, and texts, per forward pass. Each distinct one is encoded once.
        :param training_mode: Whether dropout and the like are active.
        :raises InputError: If ``x`` are not pairs.
        """
        self._check_pairs(x)
        if not len(x):
            return np.zeros((0, 0), dtype=np.float32)
        self._model.train(training_mode)
        images, texts = self._features_of_rows(x, batch_size)
        with torch.no_grad():
            logits = self._model.similarity(images, texts)
        return self._apply_postprocessing(preds=logits.cpu().numpy().astype(np.float32), fit=False)

    def recall(
        self, pairs: np.ndarray, truth: np.ndarray | None = None, ks: Sequence[int] = (1, 5, 10), batch_size: int = 128
    ) -> Recall:
        """Return how often images find one of their texts, and texts one of their images, among the ``k`` best.

        Each distinct image is a query and an item once, and each distinct text. Equal scores count against the model:
        see :func:`best_ranks`.

        :param pairs: Pairs ``(N,)``, clean or attacked.
        :param truth: The clean pairs, row by row, when ``pairs`` are attacked: they say which rows are one image, and
            which are one text, and so what belongs together. A text that was attacked differently in different rows
            counts once for each of its versions; all of them belong to all images of the clean text.
        :param ks: Whole numbers of at least 1; more than there are items is allowed.
        :param batch_size: Images, and texts, per forward pass.
        :raises InputError: If there are no pairs, ``truth`` has another number of rows, or rows of one clean image hold
            different attacked images.
        """
        self._check_pairs(pairs)
        check_ks(ks)
        if not len(pairs):
            raise InputError("There are no pairs to retrieve from.")
        truth = pairs if truth is None else truth
        self._check_pairs(truth)
        if len(truth) != len(pairs):
            raise InputError(f"truth must have a row for each of the {len(pairs)} pairs, not {len(truth)}.")
        image_of = image_groups(truth["image"])
        image_rows = first_rows(image_of)
        attacked_as = image_of if truth is pairs else image_groups(pairs["image"])
        differing = attacked_as != attacked_as[image_rows[image_of]]
        if differing.any():
            row = int(differing.argmax())
            raise InputError(
                f"Rows {image_rows[image_of[row]]} and {row} hold one image in truth, but different ones in pairs. "
                "In retrieval an image is attacked once, for all its texts."
            )
        clean_text_of = text_groups(truth["text"])
        text_of = numbered(zip(clean_text_of.tolist(), pairs["text"], strict=True))
        text_rows = first_rows(text_of)
        relevant = _incidence(image_of, clean_text_of)[:, clean_text_of[text_rows]]
        images = self.image_features(pairs["image"][image_rows], batch_size)
        texts = self.text_features(pairs["text"][text_rows].tolist(), batch_size)
        image_to_text, image_to_text_ci95 = recall_at(self.ranks(images, texts, relevant), ks)
        text_to_image, text_to_image_ci95 = recall_at(self.ranks(texts, images, relevant.T.tocsr()), ks)
        return Recall(
            image_to_text, text_to_image, image_to_text_ci95, text_to_image_ci95, len(image_rows), len(text_rows)
        )

    def as_classifier(self, captions: Sequence[Sequence[str]]) -> ZeroShotClassifier:
        """Return a classifier of images whose classes are the items of a gallery, with the same weights and defences.

        To find an image's caption among all captions is to classify it. So ART's image attacks apply to retrieval, and
        know what an image may be mistaken for.

        :param captions: For each item its captions; their mean embedding stands for it.
        :raises InputError: If there are fewer than two items, one has no caption, or the model refuses a text.
        """
        return ZeroShotClassifier(
            self.dual_encoder,
            [f"item {number}" for number in range(len(captions))],
            prompts=captions,
            input_shape=(self._input_shape[0], self._input_shape[1], self._input_shape[2]),
            preprocessing_defences=self.preprocessing_defences,
            postprocessing_defences=self.postprocessing_defences,
            device_type="cpu" if self._device.type == "cpu" else "gpu",
        )

    def ranks(self, queries: Tensor, gallery: Tensor, relevant: Any) -> np.ndarray:
        """Return the rank of the best relevant item for each query, from features: ``(Q,)``, 1 being the top.

        For texts of images, ``queries`` are image features and ``gallery`` text features; for images of texts, the
        other way round.

        :param queries: Shape ``(Q, D)``, from :meth:`image_features` or :meth:`text_features`.
        :param gallery: Shape ``(G, D)``, from the other one.
        :param relevant: Boolean ``(Q, G)``: an array, a tensor, or a scipy sparse array in CSR format.
        :raises InputError: If shapes do not fit, a query has no relevant item, or features are NaN.
        """
        return cosine_ranks(queries, gallery, relevant)

    def compute_loss(
        self, x: np.ndarray, y: np.ndarray | None = None, batch_size: int = 128, **kwargs: Any
    ) -> np.ndarray:
        """Return the loss of each pair among the pairs given, ``(N,)``: see :func:`contrastive_cross_entropy`.

        :param x: Pairs ``(N,)``.
        :param y: Not used: what belongs together is in the pairs.
        """
        self._check_pairs(x)
        if not len(x):
            return np.zeros(0, dtype=np.float32)
        self._model.eval()
        images, texts = self._features_of_rows(x, batch_size)
        with torch.no_grad():
            losses = contrastive_cross_entropy(self._model.similarity(images, texts), self._positives(x))
        return losses.cpu().numpy()

    def loss_gradient(
        self, x: np.ndarray, y: np.ndarray | None = None, batch_size: int = 128, **kwargs: Any
    ) -> np.ndarray:
        """Return the gradient of the mean loss over all pairs given with respect to the images, ``(N, 3, H, W)``.

        :param x: Pairs ``(N,)``.
        :param y: Not used: what belongs together is in the pairs.
        :param batch_size: Images per forward and backward pass. It changes nothing but memory: every pair is compared
            with all others.
        """
        self._check_pairs(x)
        if not len(x):
            return np.zeros(x["image"].shape, dtype=np.float32)
        self._model.eval()
        features, texts = self._features_of_rows(x, batch_size)
        features.requires_grad_(True)
        loss = contrastive_cross_entropy(self._model.similarity(features, texts), self._positives(x)).mean()
        (towards,) = torch.autograd.grad(loss, features)
        gradients = []
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            images = torch.from_numpy(image_array(x["image"][rows])).to(self._device)
            gradients.append(self._pulled_back(images, towards[rows]).cpu().numpy())
        return np.concatenate(gradients)

    def get_activations(
        self, x: np.ndarray, layer: int | str, batch_size: int = 128, framework: bool = False
    ) -> np.ndarray:
        """Return unnormalised embeddings ``(N, D)``: ``"image"`` or ``"text"``.

        :raises InputError: For ``framework=True``: the graph of one batch is not that of all.
        """
        if framework:
            raise InputError("get_activations on pairs returns arrays; use dual_encoder for tensors.")
        if isinstance(layer, (int, np.integer)) and 0 <= layer < len(LAYERS):
            layer = LAYERS[layer]
        if layer not in LAYERS:
            raise ValueError(f"layer must be one of {', '.join(LAYERS)}, or its index, not {layer!r}.")
        self._check_pairs(x)
        if layer == "image":
            return self.image_features(x["image"], batch_size).cpu().numpy()
        return self.text_features(x["text"].tolist(), batch_size).cpu().numpy()

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray | None = None,
        batch_size: int = 128,
        nb_epochs: int = 10,
        training_mode: bool = True,
        drop_last: bool = False,
        scheduler: Any = None,
        verbose: bool = False,
        **kwargs: Any,
    ) -> None:
        """Train on pairs: images and texts of a batch that belong together attract each other, all others repel.

        :param x: Pairs ``(N,)``.
        :param y: Not used: what belongs together is in the pairs.
        :param batch_size: Pairs per step, which are compared with each other; a batch of one teaches nothing.
        :param nb_epochs: Passes over the pairs, in a new order each time (torch's global generator, as ART does).
        :param training_mode: Whether dropout and the like are active.
        :param drop_last: Leave out the last batch where it is smaller.
        :param scheduler: Of the learning rate; stepped after every epoch.
        :param verbose: Show a progress bar.
        :raises InputError: For what are not pairs, none at all, or images that are not finite.
        """
        self._check_training_pairs(x)
        groups = image_groups(x["image"]), text_groups(x["text"])

        def batch_loss(rows: np.ndarray) -> Tensor:
            images = self._behind_defences(x["image"][rows], fit=True)
            logits = self._model(images, x["text"][rows].tolist())
            return contrastive_cross_entropy(logits, self._related(groups[0][rows], groups[1][rows])).mean()

        with self._model.trainable():
            self._train(x, batch_loss, batch_size, nb_epochs, training_mode, drop_last, scheduler, verbose)

    def _behind_defences(self, images: np.ndarray, fit: bool) -> Tensor:
        return torch.from_numpy(self._apply_preprocessing(image_array(images), y=None, fit=fit)[0]).to(self._device)

    def _encode_images(self, images: np.ndarray, batch_size: int) -> Tensor:
        images = checked_images(images, self._input_shape[0])
        check_batch_size(batch_size)
        with torch.no_grad():
            # Of no images the features have the right width nevertheless.
            parts = [
                self._model.image_features(self._behind_defences(images[start : start + batch_size], fit=False))
                for start in range(0, max(1, len(images)), batch_size)
            ]
        return torch.cat(parts)

    def _features_of_rows(self, x: np.ndarray, batch_size: int) -> tuple[Tensor, Tensor]:
        """Features of every row's image and text, each distinct one encoded once."""
        groups = image_groups(x["image"])
        images = self._encode_images(x["image"][first_rows(groups)], batch_size)
        with torch.no_grad():
            texts = self._model.text_encoder(x["text"].tolist(), batch_size)
        return images[torch.from_numpy(groups).to(self._device)], texts

    def _pulled_back(self, images: Tensor, towards: Tensor) -> Tensor:
        """The gradient with respect to images, from that with respect to their features."""

        def objective(inputs: Tensor) -> tuple[Tensor, Tensor]:
            products = self._model.image_features(inputs) * towards
            return products, products

        return score_and_gradient(self, images, objective)[1]

    def _positives(self, x: np.ndarray) -> Tensor:
        return self._related(image_groups(x["image"]), text_groups(x["text"]))

    def _related(self, images: np.ndarray, texts: np.ndarray) -> Tensor:
        """Which of ``N`` rows are positives of each other, ``[N, N]``: those with one image, or one text."""
        related = (images[:, None] == images) | (texts[:, None] == texts)
        return torch.from_numpy(related).to(self._device)


def _incidence(images: np.ndarray, texts: np.ndarray) -> csr_array:
    """Which image has which text, boolean: both are numbers of groups, row by row."""
    return csr_array((np.ones(len(images), dtype=bool), (images, texts)))
