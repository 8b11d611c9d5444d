"""Attacks as augmentations of MAITE: a batch in, the batch with adversarial images out."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np
from art.attacks.attack import EvasionAttack
from numpy.typing import ArrayLike

from art_multimodal.attacks.evasion.universal import UniversalPerturbation
from art_multimodal.errors import InputError, check_count
from art_multimodal.evaluations.suite.entry import SAMPLES_TOGETHER
from art_multimodal.interop.maite.batches import as_numpy, check_counts, labels_in
from art_multimodal.interop.maite.layouts import ImageLayout, Layout
from art_multimodal.interop.maite.model import check_takes_images
from art_multimodal.interop.maite.records import ATTACK_KEY, AttackedMetadata, AttackRecord, places_in
from art_multimodal.interop.maite.runners import ArtRunner, Ran, Runner, SuiteRunner

if TYPE_CHECKING:
    from maite.protocols import AugmentationMetadata, DatumMetadata

Given = TypeVar("Given")
Back = TypeVar("Back")


class BatchAttack(Generic[Given, Back]):
    """Attacks the samples of a batch that the classifier has right, and notes in the metadata what was done.

    :param runner: Runs the attack.
    :param layout: Of the samples.
    :param group_size: Samples that are attacked together.
    """

    def __init__(self, runner: Runner, layout: Layout[Given, Back], group_size: int) -> None:
        check_count("group_size", group_size)
        check_count("batch_size", runner.batch_size)
        check_count("The seed", runner.seed, least=0, most=2**63 - 1)
        self.runner, self.layout, self.group_size = runner, layout, group_size
        self.metadata: AugmentationMetadata = {"id": runner.name}

    def __call__(
        self, batch: tuple[Sequence[Given], Sequence[ArrayLike], Sequence[DatumMetadata]], /
    ) -> tuple[Sequence[Back], Sequence[np.ndarray], Sequence[AttackedMetadata]]:
        """Attack a batch.

        :param batch: Inputs; targets, one-hot rows or probabilities ``(K,)``, of which the largest is the truth; and
            metadata. None of them is changed.
        :return: New inputs, the same targets as arrays, and copies of the metadata with an :class:`AttackRecord` under
            ``adversarial_attack``. An empty batch comes back empty.
        :raises InputError: For unequal counts, inputs or targets that the classifier does not have, and samples that
            were attacked before: two attacks would spend two budgets.
        """
        inputs, targets, given = batch
        count = check_counts(inputs=inputs, targets=targets, metadata=given)
        metadata = cast("Sequence[Mapping[str, Any]]", given)
        for one in metadata:
            if ATTACK_KEY in one:
                raise InputError(
                    f"{self.runner.name} was given samples that were attacked already: give it the data themselves."
                )
        labels = labels_in(targets, self.runner.classifier.nb_classes)
        found: list[Back | None] = [None] * count
        records: list[AttackRecord | None] = [None] * count
        for number, members in self._groups(metadata):
            for group, (places, x) in enumerate(self.layout.groups([inputs[int(place)] for place in members])):
                rows = members[places]
                said = self.runner.labels(x)
                ran = self.runner.run(x, labels[rows], said, self.layout.shape_of(x), number, group)
                for row, sample, record in zip(
                    rows, self.layout.split(ran.x), self._records(labels[rows], said, ran), strict=True
                ):
                    found[row], records[row] = sample, record
        noted = [{**one, ATTACK_KEY: record} for one, record in zip(metadata, records, strict=True)]
        return cast("list[Back]", found), [as_numpy(one) for one in targets], cast("list[AttackedMetadata]", noted)

    def _groups(self, metadata: Sequence[Mapping[str, Any]]) -> list[tuple[int, np.ndarray]]:
        """Samples that are attacked together, each group with its number: of an audit, if there are places."""
        places = places_in(metadata)
        if places is not None:
            numbers = np.array(places, dtype=np.int64) // self.group_size
            return [(int(number), np.flatnonzero(numbers == number)) for number in dict.fromkeys(numbers.tolist())]
        starts = range(0, len(metadata), self.group_size)
        groups = [np.arange(start, min(start + self.group_size, len(metadata))) for start in starts]
        # Numbered by who is in it, so that it does not matter which batches came before.
        return [(zlib.crc32(repr([metadata[int(row)]["id"] for row in rows]).encode()), rows) for rows in groups]

    def _records(self, labels: np.ndarray, said: np.ndarray, ran: Ran) -> list[AttackRecord]:
        before, after, runner = said == labels, ran.labels == labels, self.runner
        return [
            {
                "name": runner.name,
                "norm": runner.norm,
                "eps": dict(runner.eps) if isinstance(runner.eps, dict) else runner.eps,
                "seed": ran.seed,
                "attacked": bool(attacked),
                "right_before": bool(was),
                "right_after": bool(is_now),
                "success": bool(was and not is_now),
            }
            for was, is_now, attacked in zip(before, after, ran.attacked, strict=True)
        ]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.runner.name!r}, on a {type(self.runner.classifier).__name__})"


class MaiteAttack(BatchAttack[ArrayLike, np.ndarray]):
    """An attack on images as an ``Augmentation`` of MAITE.

    Samples that the classifier has wrong come back as they are: they are no success of an attack. The same samples in
    the same groups give the same images, whatever was attacked before. With a :class:`MaiteDataset` that has the order
    and a seed of an audit, in batches of ``group_size`` or a multiple of it, they are those of the audit.

    :param attack: The name of an attack on images, as in ``art-multimodal list attacks``; or an attack of ART that is
        made on a classifier already, and not targeted. What it returns is brought into [0, 1], and into the ball of its
        ``norm`` and ``eps`` where it has them.
    :param classifier: What is attacked: a :class:`ZeroShotClassifier`, or an :class:`AnsweringClassifier` of images. An
        attack of ART has its own.
    :param seed: Of all random numbers.
    :param batch_size: Images per forward pass.
    :param group_size: Samples that are attacked together: ART's attacks draw one stream of random numbers for them.
    :param surrogates: Models that attackers have of their own, by name, for ``transfer@NAME``.
    :param universal: One perturbation for all images, for ``universal``.
    :param budget: What may be spent, by the names of an audit's options: ``eps``, ``norm``, ``steps``, ``eps_step``,
        ``max_queries``, ``max_share``, ...
    :raises InputError: For an unknown name, an attack that the classifier does not allow or that changes prompts, a
        targeted one, or a budget that nothing could be spent of.
    """

    def __init__(
        self,
        attack: str | EvasionAttack,
        classifier: Any = None,
        *,
        seed: int = 0,
        batch_size: int = 32,
        group_size: int = SAMPLES_TOGETHER,
        surrogates: Mapping[str, Any] | None = None,
        universal: UniversalPerturbation | None = None,
        **budget: Any,
    ) -> None:
        if isinstance(attack, str):
            if classifier is None:
                raise InputError(f"{attack} is made on a classifier: give one.")
            check_takes_images(classifier)
            runner: Runner = SuiteRunner(classifier, attack, seed, batch_size, budget, surrogates, universal)
        elif isinstance(attack, EvasionAttack):
            if classifier is not None and classifier is not attack.estimator:
                raise InputError(f"{type(attack).__name__} has a classifier already: leave out the other one.")
            if budget or surrogates or universal:
                raise InputError(f"{type(attack).__name__} has a budget already: set it there, and leave it out here.")
            check_takes_images(attack.estimator)
            runner = ArtRunner(attack, seed, batch_size)
        else:
            raise InputError(
                "attack is a name of art-multimodal list attacks, or an EvasionAttack of ART, not "
                f"{type(attack).__name__}."
            )
        super().__init__(runner, ImageLayout(runner.classifier), group_size)
