"""Zero-shot classification with a CLIP-like model as an ART classifier."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.asking.dual_encoder import PromptsAsking
from art_multimodal.estimators.defences import with_text_defences
from art_multimodal.estimators.image_classifier import ImageClassifier, default_loss, fresh_optimizer
from art_multimodal.estimators.test_time import AtTestTime, TestTimeModule, check_embeds
from art_multimodal.estimators.zero_shot_module import ZeroShotModule
from art_multimodal.modalities import Modality
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.custom.given import as_dual_encoder
from art_multimodal.prompts import (
    DEFAULT_TEMPLATES,
    check_class_names,
    check_prompts,
    check_templates,
    fill_templates,
)

if TYPE_CHECKING:
    from art.defences.postprocessor import Postprocessor
    from art.defences.preprocessor import Preprocessor


class ZeroShotClassifier(ImageClassifier):
    """A CLIP-like model as a classifier of images: logits over the prompts of the classes.

    A genuine ``PyTorchClassifier``, so ART's attacks, defences, trainers and metrics take it as it is. Images are
    float32 ``(N, 3, H, W)`` in [0, 1] at any size: resizing and normalisation happen inside the model, so
    perturbations live in the caller's pixels. The embeddings of the prompts are computed once, and again when weights
    change.

    In evaluation mode no gradients are computed for the parameters, which ART's attacks would otherwise pay for.

    | Paper link: https://arxiv.org/abs/2103.00020 (CLIP)

    >>> classifier = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, "a photo of the digit {}.")
    >>> scores = classifier.predict(images)
    >>> scores.shape, scores.argmax(axis=1).tolist()
    ((8, 10), [0, 6, 2, 2, 5, 7, 1, 4])
    >>> from art.attacks.evasion import FastGradientMethod
    >>> attacked = FastGradientMethod(classifier, eps=8 / 255).generate(images, labels)
    >>> bool(np.abs(attacked - images).max() <= 8 / 255 + 1e-6)
    True
    """

    #: Whether the texts are the prompts of the classes, which samples share; elsewhere each sample has its own.
    texts_are_prompts = True
    #: Whether samples are image-text pairs.
    of_pairs = False
    #: Whether it answers with classes, so that samples have labels.
    classifies = True

    def __init__(
        self,
        model: DualEncoder | nn.Module,
        class_names: Sequence[str],
        templates: str | Sequence[str] = DEFAULT_TEMPLATES,
        *,
        prompts: Sequence[str | Sequence[str]] | None = None,
        tokenizer: Any = None,
        processor: Any = None,
        loss: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        input_shape: tuple[int, int, int] | None = None,
        preprocessing_defences: Preprocessor | list[Preprocessor] | None = None,
        postprocessing_defences: Postprocessor | list[Postprocessor] | None = None,
        test_time_defence: AtTestTime | None = None,
        device_type: str = "gpu",
        _probabilities: bool = False,
    ) -> None:
        """
        :param model: The dual encoder, or a model of open_clip or transformers; shared, not copied.
        :param class_names: ``K`` names, at least two distinct ones. Classes of one name have equal scores; the first is
            predicted.
        :param templates: Prompts with ``{}`` in place of the class name; several are averaged, as CLIP does.
        :param prompts: Prompts as they stand, one text or several per class, instead of templates.
        :param tokenizer: Of a model of open_clip or transformers that is given as it is; see :func:`as_dual_encoder`.
        :param processor: Likewise, what prepares its images.
        :param loss: Default: cross-entropy.
        :param optimizer: Over ``model.parameters()``; only training needs it.
        :param input_shape: Shape of an image for ART; default ``(3, *model.image_size)``. Other sizes are accepted too.
        :param preprocessing_defences: ART preprocessors in front of the model: of images, or of texts
            (:class:`TextPreprocessor`), which then repair every prompt.
        :param postprocessing_defences: ART postprocessors, applied to the predictions, which then are probabilities.
        :param test_time_defence: What computes at test time in front of the model (``defences.test_time``), inside of
            ``estimator.model``, so that attacks go through it.
        :param device_type: ``"gpu"`` (where there is one) or ``"cpu"``.
        :raises InputError: For class names, templates or prompts that cannot be used, or a text beyond the context.
        """
        model = as_dual_encoder(model, tokenizer, processor)
        self._class_names = check_class_names(class_names)
        self._templates = None if prompts is not None else check_templates(templates)
        self._prompts = (
            check_prompts(prompts, len(self._class_names))
            if prompts is not None
            else fill_templates(self._class_names, self._templates or ())
        )
        model, preprocessing_defences = with_text_defences(model, preprocessing_defences)
        self._test_time_defence = test_time_defence
        if test_time_defence is None:
            module = ZeroShotModule(model, self._prompts, _probabilities)
        else:
            module = TestTimeModule(model, self._prompts, test_time_defence, _probabilities)
        super().__init__(
            model=module.train(model.training),
            loss=loss or default_loss(_probabilities),
            input_shape=input_shape or (3, *model.image_size),
            nb_classes=len(self._class_names),
            optimizer=optimizer,
            channels_first=True,
            clip_values=(0.0, 1.0),
            preprocessing_defences=preprocessing_defences,
            postprocessing_defences=postprocessing_defences,
            preprocessing=None,
            device_type=device_type,
        )

        if self._templates is not None:
            self._check_distinguishable(model)

    def _check_distinguishable(self, model: DualEncoder) -> None:
        """Refuse class names that the tokenizer turns into the same thing ("cat" and "Cat", often)."""
        rows = model.tokenize([prompts[0] for prompts in self._prompts])
        seen: dict[bytes, str] = {}
        for name, row in zip(self._class_names, rows, strict=True):
            other = seen.setdefault(row.cpu().numpy().tobytes(), name)
            if other != name:
                raise InputError(f"To this model the class names {other!r} and {name!r} are the same text. Rename one.")

    @property
    def modalities(self) -> dict[str, Modality]:
        """What a sample and its class prompts consist of: an image and a text."""
        return self.dual_encoder.modalities

    def asking(self, batch_size: int = 128) -> PromptsAsking:
        """Return how searches and attacks ask this classifier: see :class:`Asking`."""
        return PromptsAsking(self, batch_size)

    @property
    def dual_encoder(self) -> DualEncoder:
        """The model inside."""
        return self.model.dual_encoder

    @property
    def image_text_model(self) -> DualEncoder:
        """The model inside, by the name that it has on a :class:`FusionClassifier` too."""
        return self.dual_encoder

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self._class_names

    @property
    def templates(self) -> tuple[str, ...] | None:
        """Prompt templates, or ``None`` where prompts were given as they stand."""
        return self._templates

    @property
    def prompts(self) -> tuple[tuple[str, ...], ...]:
        """For each class its prompts."""
        return self._prompts

    @property
    def test_time_defence(self) -> AtTestTime | None:
        """What computes at test time in front of the model, if anything does."""
        return self._test_time_defence

    def verdicts(self, x: np.ndarray, asks: int = 10, batch_size: int = 128) -> np.ndarray:
        """Return what a test-time defence answers when it is asked several times, each time with other random draws.

        :param x: Images ``(N, 3, H, W)`` in [0, 1].
        :param asks: How often each image is asked about.
        :return: Labels ``(asks, N)``; rows are equal where nothing is random.
        """
        asked = [self if self._test_time_defence is None else self._asked_again(number) for number in range(asks)]
        return np.stack([one.predict_labels(x, batch_size) for one in asked])

    def _asked_again(self, number: int) -> ZeroShotClassifier:
        assert self._test_time_defence is not None
        return self.with_test_time_defence(self._test_time_defence.asked_again(number))

    def with_test_time_defence(self, defence: AtTestTime | None) -> ZeroShotClassifier:
        """Return a classifier with the same weights, prompts and other defences behind a test-time defence, or none."""
        return self._variant(test_time_defence=defence)

    def with_prompts(self, prompts: Sequence[str | Sequence[str]]) -> ZeroShotClassifier:
        """Return a classifier with the same weights, defences and classes, and other prompts.

        This is how adversarial prompts are evaluated.

        :param prompts: For each class one text or several.
        """
        return self._variant(prompts=prompts)

    def prompt_features(self, prompts: np.ndarray | Sequence) -> Tensor:
        """Return the unit embeddings of the classes by other prompts, on the model's device.

        :param prompts: One set of prompts, ``(K,)``: for each class one text or several; or ``(N, K)``, a set for each
            of ``N`` images. As text attacks return them.
        :return: ``(K, D)``, or ``(N, K, D)``.
        :raises InputError: If there is not one entry per class, or the model refuses a text.
        """
        self.model.eval()
        if isinstance(prompts, np.ndarray) and prompts.ndim == 2:
            if not len(prompts):
                return self.class_features().new_zeros(0, *self.class_features().shape)
            return self.model.head.features_of([check_prompts(entry, self.nb_classes) for entry in prompts])
        return self.model.head.features_of([check_prompts(list(prompts), self.nb_classes)])[0]

    def predict_on(self, x: np.ndarray, prompts: np.ndarray | Sequence, batch_size: int = 128) -> np.ndarray:
        """Return what :meth:`predict` returns, ``(N, K)``, with other prompts: how adversarial ones are evaluated.

        :param x: Images ``(N, 3, H, W)`` in [0, 1].
        :param prompts: ``(K,)``, shared by all images, or ``(N, K)``, a set for each image; see
            :meth:`prompt_features`.
        :raises InputError: If shapes do not fit, or the model refuses a text.
        """
        x = self._checked(x)
        if isinstance(prompts, np.ndarray) and prompts.ndim == 2 and len(prompts) != len(x):
            raise InputError(f"{len(prompts)} sets of prompts came for {len(x)} images: give one per image, or one.")
        if not len(x):
            return np.zeros((0, self.nb_classes), dtype=np.float32)
        features = self.prompt_features(prompts)
        if self._test_time_defence is not None:
            per_image = features.ndim == 3
            starts = range(0, len(x), batch_size)
            rows = [slice(start, start + batch_size) for start in starts]
            return np.concatenate(
                [self.scores(self._seen(x[one], batch_size), features[one] if per_image else features) for one in rows]
            )
        return self.scores(self._seen(x, batch_size), features)

    def with_templates(self, templates: str | Sequence[str]) -> ZeroShotClassifier:
        """Return a classifier with the same weights, defences and classes, and other templates."""
        return self._variant(templates=templates)

    def with_probabilities(self) -> ZeroShotClassifier:
        """Return a view whose predictions are probabilities (SimBA, VirtualAdversarialMethod and STRIP want them)."""
        return self._variant(_probabilities=True, loss=None)

    def _variant(self, model: DualEncoder | None = None, **changes: Any) -> ZeroShotClassifier:
        if self._templates is None:
            texts: dict[str, Any] = {"prompts": self._prompts}
        else:
            texts = {"templates": self._templates}
        if "prompts" in changes or "templates" in changes:
            texts = {}
        settings: dict[str, Any] = {
            "loss": self._loss,
            "optimizer": self._optimizer,
            "input_shape": self._input_shape,
            "preprocessing_defences": self.preprocessing_defences,
            "postprocessing_defences": self.postprocessing_defences,
            "test_time_defence": self._test_time_defence,
            "device_type": "cpu" if self._device.type == "cpu" else "gpu",
            "_probabilities": self.model.probabilities,
            **texts,
            **changes,
        }
        return type(self)(model or self.dual_encoder, self._class_names, **settings)

    def image_features(self, x: np.ndarray, batch_size: int = 128) -> Tensor:
        """Return unnormalised image embeddings ``(N, D)`` on the model's device, behind ART's preprocessing.

        :raises InputError: Behind a test-time defence, which answers with scores.
        """
        check_embeds(self)
        return self._seen(x, batch_size)

    def _seen(self, x: np.ndarray, batch_size: int) -> Tensor:
        """What the head of the model meets: embeddings, or behind a test-time defence the images themselves."""
        self.model.eval()
        x, _ = self._apply_preprocessing(self._shaped(x), y=None, fit=False)
        with torch.no_grad():
            chunks = [self.model.image_encoder(part.to(self._device)) for part in torch.from_numpy(x).split(batch_size)]
        return torch.cat(chunks)

    def class_features(self) -> Tensor:
        """Return the unit embeddings of the classes, ``(K, D)``, on the model's device."""
        self.model.eval()
        with torch.no_grad():
            return self.model.head.class_features()

    def scores(self, image_features: Tensor, class_features: Tensor) -> np.ndarray:
        """Return what :meth:`predict` returns, from embeddings: ``(N, K)``."""
        with torch.no_grad():
            return self.as_predicted(self.model.head.similarity(image_features, class_features))

    def as_predicted(self, logits: Tensor) -> np.ndarray:
        """Return what :meth:`predict` makes of logits ``(N, K)`` over the class prompts."""
        outputs = logits.detach().softmax(dim=1) if self.model.probabilities else logits.detach()
        return self._apply_postprocessing(preds=outputs.cpu().numpy().astype(np.float32), fit=False)

    def clone_for_refitting(self) -> ZeroShotClassifier:
        """Return a copy with a new optimizer of the same kind and settings, and freshly initialised layers.

        As in ART, a layer is initialised by its ``reset_parameters``; parameters outside of such layers (position
        embeddings, class tokens) keep their values.
        """
        model = copy.deepcopy(self.dual_encoder)
        optimizer = fresh_optimizer(self._optimizer, model)
        clone = self._variant(model=model, optimizer=optimizer, loss=copy.deepcopy(self._loss))
        clone.reset()
        return clone
