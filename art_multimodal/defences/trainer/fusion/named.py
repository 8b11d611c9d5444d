"""Published ways of training fusions as trainers of their own names: the same as ``FusionTrainer(..., "qmf")``."""

from __future__ import annotations

from art_multimodal.defences.trainer.ablating import Kept
from art_multimodal.defences.trainer.fusion.attack import ScoreAscent
from art_multimodal.defences.trainer.fusion.trainer import FusionTrainer
from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.estimators.fusion import FusionClassifier


class FusionTrainerQMF(FusionTrainer):
    """Quality-aware fusion: the weight of a modality falls as its losses rise.

    The published code divides 0 by 0 in its first batch, where no loss is known; here the ranking begins with 0.

    | Paper link: https://arxiv.org/abs/2306.02050

    >>> from art_multimodal.models.families.modular.towers import fitting_model
    >>> trained = FusionClassifier(fitting_model("qmf", sensors.modalities.values(), views.class_names, x))
    >>> FusionTrainerQMF(trained, attack={"pix": 0.1}).fit(x, y, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: FusionClassifier,
        settings: TrainingSettings | None = None,
        attack: dict[str, float] | ScoreAscent | None = None,
        lambda_rank: float = 0.1,
    ) -> None:
        """
        :param classifier: Around a model with a fusion that weighs modalities, such as ``qmf``.
        :param settings: See :class:`TrainingSettings`.
        :param attack: As for :class:`FusionTrainer`.
        :param lambda_rank: Weight of the ranking.
        :raises InputError: If the model has no weights of modalities, or no scores of each alone.
        """
        super().__init__(classifier, "qmf", settings, attack, lambda_rank=lambda_rank)


class FusionTrainerUniSMMC(FusionTrainer):
    """Contrast between modalities, supervised by which of them is right by itself.

    The published code takes the first row of the similarities for the diagonal.

    | Paper link: https://arxiv.org/abs/2305.09299

    >>> from art_multimodal.models.families.modular.towers import fitting_model
    >>> trained = FusionClassifier(fitting_model("unis_mmc", sensors.modalities.values(), views.class_names, x))
    >>> FusionTrainerUniSMMC(trained).fit(x, y, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: FusionClassifier,
        settings: TrainingSettings | None = None,
        attack: dict[str, float] | ScoreAscent | None = None,
        lambda_contrast: float = 0.1,
        temperature: float = 0.07,
    ) -> None:
        """
        :param classifier: Around a model with scores of each modality alone and towers of one width, such as a
            :class:`ModularModel` with the fusion ``unis_mmc``.
        :param settings: See :class:`TrainingSettings`.
        :param attack: As for :class:`FusionTrainer`.
        :param lambda_contrast: Weight of the contrast.
        :param temperature: Divides the cosines.
        :raises InputError: If the model has no scores of each modality, or towers of different widths.
        """
        super().__init__(
            classifier, "unis_mmc", settings, attack, lambda_contrast=lambda_contrast, temperature=temperature
        )


class FusionTrainerMLA(FusionTrainer):
    """Modalities take turns on one shared head, which keeps what it says about those that it has seen.

    In the published code the projection is never applied, and by its formula it would protect nothing.

    | Paper link: https://arxiv.org/abs/2311.10707

    >>> from art_multimodal.models.families.modular.towers import fitting_model
    >>> trained = FusionClassifier(fitting_model("mla", sensors.modalities.values(), views.class_names, x))
    >>> FusionTrainerMLA(trained).fit(x, y, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: FusionClassifier,
        settings: TrainingSettings | None = None,
        attack: dict[str, float] | ScoreAscent | None = None,
        alpha: float = 0.1,
    ) -> None:
        """
        :param classifier: Around a model with the fusion ``mla``.
        :param settings: See :class:`TrainingSettings`.
        :param attack: As for :class:`FusionTrainer`.
        :param alpha: How much of a protected direction is left to the head; greater than 0.
        :raises InputError: If the model has another fusion.
        """
        super().__init__(classifier, "mla", settings, attack, alpha=alpha)


class FusionTrainerCRMT(FusionTrainer):
    """First margins of the worst modality are raised, then the weights are chosen that leave the largest radius.

    A quarter of the epochs is the second step, in which nothing moves but the weights by class and modality. Its
    constants are pairwise and bounds; the published code takes gradients, and those of the second modality for zero.

    | Paper link: https://arxiv.org/abs/2402.06244

    >>> from art_multimodal.models.families.modular.towers import fitting_model
    >>> trained = FusionClassifier(fitting_model("orthogonal", sensors.modalities.values(), views.class_names, x))
    >>> FusionTrainerCRMT(trained).fit(x, y, batch_size=8, nb_epochs=4)
    """

    def __init__(
        self,
        classifier: FusionClassifier,
        settings: TrainingSettings | None = None,
        attack: dict[str, float] | ScoreAscent | None = None,
        rho: float = 2.0,
        largest_radius: float = 1.0,
    ) -> None:
        """
        :param classifier: Around a model with the fusion ``orthogonal``.
        :param settings: See :class:`TrainingSettings`.
        :param attack: As for :class:`FusionTrainer`.
        :param rho: Weight of the margins in the first step.
        :param largest_radius: What counts as large enough in the second, in the l_2 norm over all modalities.
        :raises InputError: If the model has another fusion.
        """
        super().__init__(classifier, "crmt", settings, attack, rho=rho, largest_radius=largest_radius)


class FusionTrainerDEQ(FusionTrainer):
    """An equilibrium whose layer is kept from being steep at its fixed points, so that its solver gets there.

    The steepness is that of the Jacobian, estimated by two random vectors in each step.

    | Paper link: https://arxiv.org/abs/2306.16645

    >>> from art_multimodal.models.families.modular.towers import fitting_model
    >>> trained = FusionClassifier(fitting_model("deq", sensors.modalities.values(), views.class_names, x))
    >>> FusionTrainerDEQ(trained).fit(x, y, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: FusionClassifier,
        settings: TrainingSettings | None = None,
        attack: dict[str, float] | ScoreAscent | None = None,
        gamma: float = 1.0,
    ) -> None:
        """
        :param classifier: Around a model with the fusion ``deq``.
        :param settings: See :class:`TrainingSettings`.
        :param attack: As for :class:`FusionTrainer`.
        :param gamma: Weight of the steepness; published with 20 on data of gene expression.
        :raises InputError: If the model has another fusion.
        """
        super().__init__(classifier, "deq", settings, attack, gamma=gamma)


class FusionTrainerMMLoRA(FusionTrainer):
    """First each modality alone with its head, then low-rank adapters on all towers together.

    Adapters of rank 8 are put into a model that has none (:func:`~art_multimodal.models.adapters.add_low_rank`). In the
    second half of the epochs they are trained, with what of the fusion no modality reaches alone; everything else stays
    bit for bit. Before the first step of it the model is the ensemble of what the modalities say alone.

    | Paper link: https://arxiv.org/abs/2310.05193

    >>> from art_multimodal.models.families.modular.towers import fitting_model
    >>> trained = FusionClassifier(fitting_model("late", sensors.modalities.values(), views.class_names, x))
    >>> FusionTrainerMMLoRA(trained).fit(x, y, batch_size=8, nb_epochs=2)
    """

    def __init__(
        self,
        classifier: FusionClassifier,
        settings: TrainingSettings | None = None,
        attack: dict[str, float] | ScoreAscent | None = None,
    ) -> None:
        """
        :param classifier: Around a :class:`ModularModel` with scores of each modality alone: with the fusion ``late``
            (an ensemble) or ``unis_mmc`` (a head on all embeddings).
        :param settings: See :class:`TrainingSettings`.
        :param attack: As for :class:`FusionTrainer`.
        :raises InputError: If the model is another one.
        """
        super().__init__(classifier, "mmlora", settings, attack)


class FusionTrainerUmURL(FusionTrainer):
    """Views of skeletons agree without labels, then a linear head is trained on what came out.

    A quarter of the epochs is that of the head, with everything else as it is. An attack changes samples in these
    alone, since before there are no labels. Batch normalisation in the projectors goes by the batch.

    | Paper link: https://arxiv.org/abs/2311.03106

    >>> from art_multimodal.demo.skeleton import PARENTS
    >>> from art_multimodal.modalities import skeleton
    >>> from art_multimodal.models.fusions import UnifiedStream
    >>> data, joint = open_samples("demo:skeleton"), skeleton("joint", 32, 13)
    >>> trained = FusionClassifier(UnifiedStream(joint, data.class_names, PARENTS, hidden=8, projection=8))
    >>> trainer = FusionTrainerUmURL(trained)
    >>> trainer.fit(data.samples(np.arange(8)), data.labels[:8], batch_size=8, nb_epochs=4)
    """

    def __init__(
        self,
        classifier: FusionClassifier,
        settings: TrainingSettings | None = None,
        attack: dict[str, float] | ScoreAscent | None = None,
    ) -> None:
        """
        :param classifier: Around a :class:`~art_multimodal.models.fusions.UnifiedStream`.
        :param settings: See :class:`TrainingSettings`.
        :param attack: As for :class:`FusionTrainer`.
        :raises InputError: If the model is another one.
        """
        super().__init__(classifier, "umurl", settings, attack)


class AblationTrainer(FusionTrainer):
    """Train on samples of which all but a few elements are hidden: the base classifier of a certificate by ablation.

    In every step each sample is seen under masks of its own, drawn as the certificate draws them. A model that was
    never trained so answers at random under them.

    | Paper link: https://arxiv.org/abs/2403.19080 (MMCert; one modality: https://arxiv.org/abs/1911.09272)

    >>> trained = FusionClassifier(load_model("demo:views"))
    >>> AblationTrainer(trained, {"pix": 4, "fou": 30}).fit(x, y, batch_size=8, nb_epochs=1)
    """

    def __init__(
        self,
        classifier: FusionClassifier,
        keep: Kept,
        settings: TrainingSettings | None = None,
        consistency: float = 0.0,
    ) -> None:
        """
        :param classifier: Around the model to train.
        :param keep: How many elements are kept of each modality, by name; masks to choose from, booleans ``[G, n]``; or
            a :class:`~art_multimodal.ablation.Keep`. What is not named is seen whole.
        :param settings: See :class:`TrainingSettings`.
        :param consistency: Weight of the variance of the votes of two masks, at least 0. Above 0 each sample is seen
            twice in a step, which doubles the cost.
        :raises InputError: For an unknown modality, or what does not fit its elements.
        """
        super().__init__(classifier, "ablation", settings, keep=keep, consistency=consistency)
