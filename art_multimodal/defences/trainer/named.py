"""The trainers by their names: one for each method, all of them thin."""

from __future__ import annotations

from collections.abc import Sequence

from art_multimodal.defences.trainer.ablating import Kept
from art_multimodal.defences.trainer.inner_attacks import TextPerturbation
from art_multimodal.defences.trainer.samples import Estimator
from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.defences.trainer.trainers import DualEncoderTrainer


class AdversarialTrainerMMCoA(DualEncoderTrainer):
    """Multimodal contrastive adversarial training: both towers against attacks on images and on texts.

    | Paper link: https://arxiv.org/abs/2404.19287 (MMCoA)

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, digits.templates)
    >>> AdversarialTrainerMMCoA(trained, TrainingSettings(max_iter=1)).fit(images, labels, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: Estimator,
        settings: TrainingSettings | None = None,
        text_attack: TextPerturbation | None = None,
        lambda_img: float = 0.5,
        lambda_txt: float = 0.5,
    ) -> None:
        """
        :param classifier: Around the model to train.
        :param settings: ``TrainingSettings(positives="index")`` for the targets as published.
        :param text_attack: Default: :class:`BertAttack`.
        :param lambda_img: Weight of adversarial images against clean texts.
        :param lambda_txt: Weight of adversarial texts against clean images.
        """
        super().__init__(classifier, "mmcoa", settings, text_attack, lambda_img=lambda_img, lambda_txt=lambda_txt)


class AdversarialTrainerTextContrastive(DualEncoderTrainer):
    """Contrastive training on adversarial texts and clean images: the text side of MMCoA alone.

    | Paper link: https://arxiv.org/abs/2404.19287 (MMCoA)

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = ImageTextRetriever(load_model("demo:scenes"))
    >>> AdversarialTrainerTextContrastive(trained, TrainingSettings(seed=1)).fit(captioned, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: Estimator,
        settings: TrainingSettings | None = None,
        text_attack: TextPerturbation | None = None,
    ) -> None:
        """
        :param classifier: Around the model to train.
        :param settings: See :class:`TrainingSettings`.
        :param text_attack: Default: :class:`BertAttack`.
        """
        super().__init__(classifier, "text-contrastive", settings, text_attack)


class AdversarialTrainerTeCoA(DualEncoderTrainer):
    """Classification of adversarial images by the prompts of the classes.

    The paper trains the image tower alone: ``TrainingSettings(towers="image")``.

    | Paper link: https://arxiv.org/abs/2212.07016 (TeCoA)

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, digits.templates)
    >>> settings = TrainingSettings(towers="image", eps=4 / 255, max_iter=1)
    >>> AdversarialTrainerTeCoA(trained, settings).fit(images, labels, batch_size=8, nb_epochs=1)
    """

    def __init__(self, classifier: Estimator, settings: TrainingSettings | None = None) -> None:
        """
        :param classifier: Around the model to train.
        :param settings: See :class:`TrainingSettings`.
        """
        super().__init__(classifier, "tecoa", settings)


class AdversarialTrainerFARE(DualEncoderTrainer):
    """Adversarial images are kept where the original model has the clean ones; labels are not used.

    The text tower takes no part.

    | Paper link: https://arxiv.org/abs/2402.12336 (FARE)

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, digits.templates)
    >>> AdversarialTrainerFARE(trained, TrainingSettings(max_iter=1)).fit(images, batch_size=8, nb_epochs=1)
    """

    def __init__(self, classifier: Estimator, settings: TrainingSettings | None = None) -> None:
        """
        :param classifier: Around the model to train, as it is before training.
        :param settings: See :class:`TrainingSettings`.
        """
        super().__init__(classifier, "fare", settings)


class AdversarialTrainerPMGAFT(DualEncoderTrainer):
    """TeCoA, held near the answers of the original model and near the model's own answers on clean images.

    | Paper link: https://arxiv.org/abs/2401.04350 (PMG-AFT)

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, digits.templates)
    >>> trainer = AdversarialTrainerPMGAFT(trained, TrainingSettings(towers="image", max_iter=1), lambda_clean=0.5)
    >>> trainer.fit(images, labels, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: Estimator,
        settings: TrainingSettings | None = None,
        lambda_original: float = 1.0,
        lambda_clean: float = 1.0,
    ) -> None:
        """
        :param classifier: Around the model to train, as it is before training.
        :param settings: See :class:`TrainingSettings`.
        :param lambda_original: Weight of the distance to the original model's answers.
        :param lambda_clean: Weight of the distance to the answers on clean images.
        """
        super().__init__(classifier, "pmg-aft", settings, lambda_original=lambda_original, lambda_clean=lambda_clean)


class AdversarialTrainerLEAF(DualEncoderTrainer):
    """Mistyped texts are kept where the original model has the clean ones. The image tower takes no part.

    | Paper link: https://arxiv.org/abs/2506.03355 (LEAF)

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = ImageTextRetriever(load_model("demo:scenes"))
    >>> AdversarialTrainerLEAF(trained, TrainingSettings(towers="text")).fit(captioned[:2], batch_size=2, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: Estimator,
        settings: TrainingSettings | None = None,
        text_attack: TextPerturbation | None = None,
    ) -> None:
        """
        :param classifier: Around the model to train, as it is before training.
        :param settings: See :class:`TrainingSettings`.
        :param text_attack: Default: :class:`CharacterAttack` with one edit of the most important word.
        """
        super().__init__(classifier, "leaf", settings, text_attack)


class AdversarialTrainerJointAnchored(DualEncoderTrainer):
    """Images and texts attacked together, with the model held near what it was: our own method.

    Adversarial images are classified by the prompts (TeCoA), adversarial texts meet both clean and adversarial images
    (MMCoA has the former), and the embeddings of clean and adversarial images, of adversarial texts and of texts about
    other things stay near those of the original model's clean ones (FARE and LEAF do so for one tower each). See
    :func:`~art_multimodal.functional.objectives.joint_anchored`.

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, digits.templates)
    >>> settings = TrainingSettings(eps=4 / 255, max_iter=1)
    >>> AdversarialTrainerJointAnchored(trained, settings).fit(images, labels, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: Estimator,
        settings: TrainingSettings | None = None,
        text_attack: TextPerturbation | None = None,
        reference_texts: Sequence[str] | None = None,
        lambda_txt: float = 0.0,
        lambda_joint: float = 0.5,
        lambda_image_anchor: float = 2.0,
        lambda_text_anchor: float = 50.0,
        lambda_reference: float = 50.0,
    ) -> None:
        """
        :param classifier: Around the model to train, as it is before training.
        :param settings: See :class:`TrainingSettings`.
        :param text_attack: Default: :class:`BertAttack`.
        :param reference_texts: Texts that the model shall go on to understand; captions of what it will meet are best.
            Default: English words in the classifier's templates.
        :param lambda_txt: Weight of adversarial texts against clean images.
        :param lambda_joint: Weight of adversarial texts against adversarial images.
        :param lambda_image_anchor: Weight of the distance of images to the original clean ones.
        :param lambda_text_anchor: Weight of the distance of adversarial texts to the original clean ones.
        :param lambda_reference: Weight of the distance of reference texts to the original ones.
        """
        super().__init__(
            classifier,
            "joint-anchored",
            settings,
            text_attack,
            reference_texts,
            lambda_txt=lambda_txt,
            lambda_joint=lambda_joint,
            lambda_image_anchor=lambda_image_anchor,
            lambda_text_anchor=lambda_text_anchor,
            lambda_reference=lambda_reference,
        )


class ImageAblationTrainer(DualEncoderTrainer):
    """Classification by the prompts of images of which all but a few elements are hidden.

    What it leaves is the base classifier of a certificate by ablation; :class:`AblationTrainer` does the same for
    fusion models.

    | Paper link: https://arxiv.org/abs/1911.09272

    >>> from art_multimodal.defences.trainer import TrainingSettings
    >>> trained = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, digits.templates)
    >>> trainer = ImageAblationTrainer(trained, {"image": 4}, TrainingSettings(towers="image"))
    >>> trainer.fit(images, labels, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: Estimator,
        keep: Kept,
        settings: TrainingSettings | None = None,
        consistency: float = 0.0,
    ) -> None:
        """
        :param classifier: Around the model to train.
        :param keep: ``{"image": 16}``: how many elements of an image are kept, by default blocks of a quarter of its
            side; masks to choose from, booleans ``[G, n]``; or a :class:`~art_multimodal.ablation.Keep`.
        :param settings: ``TrainingSettings(towers="image")`` leaves the text tower alone.
        :param consistency: As for :class:`AblationTrainer`.
        :raises InputError: For another modality, or what does not fit its elements.
        """
        super().__init__(classifier, "image-ablation", settings, keep=keep, consistency=consistency)
