"""The decoupling attack as an ART evasion attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.decoupling.guided import guided_search
from art_multimodal.attacks.evasion.decoupling.removals import Decision, Removals
from art_multimodal.attacks.evasion.decoupling.search import (
    MOST_COMBINATIONS,
    DecouplingRecord,
    RemovalTask,
    Removing,
    exhaustive_search,
)
from art_multimodal.attacks.searching import Criterion, criterion_for, run_searches
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.points import Removal
from art_multimodal.labels import label_indices
from art_multimodal.modalities.modality import Modality
from art_multimodal.pairs import check_images, is_pairs
from art_multimodal.prompts import templates_without
from art_multimodal.sample_arrays import with_field
from art_multimodal.texts import check_strings, without_words

SEARCHES = ("guided", "exhaustive")
DECISIONS = ("label", "fusion")
COSTS = ("points", "modalities")
#: Samples that are searched side by side: as many, and as few as keep what is remembered of large ones small.
_SAMPLES_AT_ONCE, _POINTS_AT_ONCE = 64, 64 * 256 * 256
#: Classes that the white box aims at, besides the first that was reached.
_RIVALS = 4


class DecouplingAttack(EvasionAttack):
    """Take fused modalities apart by removing as little of the input as possible, until the answer changes.

    Points are pixels (all channels together), time steps, joints, columns and words; a removed point of numbers becomes
    ``fill``, and the model is not told; a removed word is deleted. On a :class:`FusionClassifier` samples are pairs, or
    those of any modalities: words are removed from a sample's own text. On a :class:`ZeroShotClassifier` samples are
    images, and the text is the prompt template, whose words are removed from the prompts of every class; the class name
    itself is never touched.

    ``search="guided"`` removes far less: in a fixed number of queries it finds, shrinks and prunes a set of single
    points, those of all modalities in one ranking. With ``white_box`` it uses gradients, each counted as two queries;
    otherwise scores only. ``search="exhaustive"`` is the published procedure, a black box: quadrants of quadrants down
    to 1/32 of the side (halves of halves of a sequence), each word alone, then combinations of what changed the
    decision. Images that are no squares are covered whole, which the published code does not do.

    After :meth:`generate`, :attr:`records` holds one :class:`DecouplingRecord` per sample. Returned samples lack the
    removed words. Returned images cannot show that a template lost words: evaluate such a sample with
    ``estimator.with_templates(attack.templates_of(record))``.

    Guarantees: points that were not removed are returned bit for bit, and so is what lies behind the length of a
    sequence; samples without success are returned unchanged; the returned removal flips the label when evaluated again;
    ``search="guided"`` never asks more than ``max_queries`` and succeeds wherever a quadrant of an image (a half of a
    sequence) or a single word would do, given queries for these; equal calls give equal results, and no global random
    state is used.

    | Paper link: https://arxiv.org/abs/2112.12792

    >>> attack = DecouplingAttack(fusion, max_queries=40, verbose=False)
    >>> attacked = attack.generate(pairs[:2])
    >>> record = attack.records[0]
    >>> record.queries <= 40, 0 <= record.share_removed <= 1
    (True, True)
    """

    attack_params = EvasionAttack.attack_params + [
        "search",
        "decision",
        "fusion_threshold",
        "modalities",
        "cost",
        "criterion",
        "fill",
        "min_block",
        "targeted",
        "max_queries",
        "white_box",
        "max_combinations",
        "batch_size",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, (FusionClassifier, ZeroShotClassifier))

    def __init__(
        self,
        estimator: FusionClassifier | ZeroShotClassifier,
        search: str = "guided",
        decision: str = "label",
        fusion_threshold: float | None = None,
        modalities: str | Sequence[str] | None = None,
        fill: str | float | Sequence[float] | Mapping[str, Any] = "mean",
        min_block: int | None = None,
        targeted: bool = False,
        max_queries: int = 500,
        white_box: bool | None = None,
        max_combinations: int = MOST_COMBINATIONS,
        batch_size: int = 128,
        verbose: bool = True,
        cost: str = "points",
        criterion: Criterion | None = None,
    ) -> None:
        """
        :param estimator: The classifier to attack.
        :param search: ``"guided"`` or ``"exhaustive"``.
        :param decision: What makes a block or word a candidate of the published procedure: ``"label"``, the predicted
            label changes; ``"fusion"``, the largest coordinate of the fused vector is another one. The fused vector of
            a dual encoder is its similarity to the prompts, so there both are the same.
        :param fusion_threshold: With ``decision="fusion"``: the fused vector's cosine distance from the intact
            sample's is larger than this, in [0, 2], instead.
        :param modalities: Names of what may be removed: of pairs and images ``"image"``, ``"text"`` or both; ``None``
            for all.
        :param fill: What removed points become: ``"mean"``, each modality's own fill (of images what the model sees as
            zero), ``"black"``, one value or one per channel, within the values that the modality takes; or these by
            name of the modality.
        :param min_block: Squares of at most this side, in points, are not divided; ``None`` for five levels whatever
            the size, as the published procedure does at 224 pixels. ``"guided"`` prunes to single points regardless.
        :param targeted: Succeed only when the label becomes the one given.
        :param max_queries: For ``"guided"``: most evaluations of the model for a sample, the intact one included; a
            gradient counts as two.
        :param white_box: For ``"guided"``: whether to use gradients; ``None`` for where the estimator has them, which
            preprocessing defences written in numpy take away.
        :param max_combinations: For ``"exhaustive"``: most combinations of candidates to try for a sample, drill-down
            not counted.
        :param batch_size: Images per forward pass.
        :param verbose: Show a progress bar.
        :param cost: What is to be small: ``"points"``, the number of removed points, a word being one, as published; or
            ``"modalities"``, the mean of the shares of each modality, so that thousands of pixels do not hide twenty
            time steps.
        :param criterion: What a success is, untargeted. ``None`` for :class:`Misclassified`: the predicted label
            changes. ``RankFell(5)``: it is no longer among the five largest scores. Or a combination of such by ``&``
            and ``|``.
        :raises ValueError: For parameters that cannot be used.
        """
        super().__init__(estimator=estimator)
        self.search = search
        self.decision = decision
        self.fusion_threshold = fusion_threshold
        self.modalities = modalities
        self.cost = cost
        self.criterion = criterion
        self.fill = fill
        self.min_block = min_block
        self._targeted = targeted
        self.max_queries = max_queries
        self.white_box = white_box
        self.max_combinations = max_combinations
        self.batch_size = batch_size
        self.verbose = verbose
        self.records: list[DecouplingRecord] = []
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return samples with pixels (and, in pairs, words) removed where that changed the label.

        :param x: Pairs or other samples ``(N,)`` for a :class:`FusionClassifier`, images ``(N, 3, H, W)`` in [0, 1] for
            a :class:`ZeroShotClassifier`.
        :param y: Wanted labels when targeted; not used otherwise, since success is a change of the predicted label.
        :raises InputError: For samples or labels that cannot be used.
        """
        x = self._checked(x)
        targets = label_indices(y, self.estimator.nb_classes, len(x)) if self.targeted else None
        if self.targeted and targets is None:
            raise ValueError("A targeted attack needs the wanted labels in `y`.")
        adversarial = x.copy()
        if not len(x):
            self.records = []
            return adversarial
        asking = self.estimator.asking(self.batch_size)
        fields = asking.fields(x)
        for name, modality in asking.modalities.items():
            if not modality.numeric and not self.estimator.texts_are_prompts:
                asking.tokenize(name, list(dict.fromkeys(fields[name])))  # one too long is refused before any work
        self.records = []
        fills = {name: self._fill(name) for name, modality in asking.modalities.items() if modality.numeric}
        points = sum(int(np.prod(asking.modalities[name].point_shape(fields[name]))) for name in fills)
        at_once = max(1, min(_SAMPLES_AT_ONCE, _POINTS_AT_ONCE // points))
        for start in tqdm(range(0, len(x), at_once), desc="Decoupling", disable=not self.verbose):
            rows = slice(start, start + at_once)
            removals = Removals(
                asking,
                {name: field[rows] for name, field in fields.items()},
                fills,
                tuple(self.modalities or ()),
                None if targets is None else targets[rows],
                Decision(self.decision, self.fusion_threshold),
                self.cost,
                1 if self.criterion is None else self.criterion.rank,
            )
            self._attack_batch(removals, adversarial[rows])
        return adversarial

    def templates_of(self, record: DecouplingRecord) -> tuple[str, ...]:
        """Return the estimator's templates without the words that a record removed.

        :raises InputError: On a :class:`FusionClassifier`, which has none: the returned pairs lack the words.
        """
        if not self.estimator.texts_are_prompts:
            raise InputError("A fusion model has no templates: the returned pairs lack the removed words already.")
        return templates_without(self.estimator.templates or (), record.words)

    def fill_colour(self) -> np.ndarray:
        """Return the colour of removed pixels of pairs and images, shape ``(C, 1, 1)``."""
        return self._fill("image")

    def _fill(self, name: str) -> np.ndarray:
        """What removed points of a modality of numbers become; broadcasts to a sample.

        :raises ValueError: If it does not.
        """
        modality = self._known[name]
        given = self.fill.get(name, "mean") if isinstance(self.fill, Mapping) else self.fill
        if isinstance(given, str) and given not in ("mean", "black"):
            raise ValueError(f"fill must be 'mean', 'black' or colours in [0, 1], not {given!r}.")
        named = {"mean": modality.fill, "black": 0.0}.get(given) if isinstance(given, str) else None
        values = np.asarray(given if named is None else named, dtype=np.float32)
        low, high = modality.clip_values
        within = named is not None or bool(np.all((values >= np.min(low)) & (values <= np.max(high))))
        if modality.kind == "image":
            channels = modality.shape[0] or 1
            if values.size not in (1, channels) or not within:
                raise ValueError(f"fill must be one colour value or {channels}, each in [0, 1], not {given!r}.")
            return np.broadcast_to(values.reshape(-1, 1, 1), (channels, 1, 1)).copy()
        if named is None and (values.size != 1 or not within):
            raise ValueError(f"fill of {name} must be one of the values that it takes, not {given!r:.80}.")
        return values

    @cached_property
    def _known(self) -> Mapping[str, Modality]:
        """What the estimator's samples consist of, by name."""
        return self.estimator.modalities

    def _checked(self, x: np.ndarray) -> np.ndarray:
        """Samples as the estimator takes them.

        :raises InputError: If they are of another kind, or hold what it does not take.
        """
        if self.estimator.texts_are_prompts:
            if is_pairs(x):
                raise InputError('On a ZeroShotClassifier the attack takes images: pairs["image"].')
            return check_images(x)
        if list(self._known) != ["image", "text"]:
            return self.estimator.checked(x)
        if not is_pairs(x):
            raise InputError("On a FusionClassifier the attack takes pairs, made by image_text_pairs(images, texts).")
        check_strings(x["text"])
        images = check_images(x["image"])
        return x if images is x["image"] else with_field(x, "image", images)

    def _attack_batch(self, removals: Removals, samples: np.ndarray) -> None:
        """Attack samples, and remove points and words from them in place."""
        tasks = [
            RemovalTask(
                clean=clean,
                criterion=self.criterion
                or criterion_for(None if removals.targets is None else int(removals.targets[row])),
                layout=removals.layouts[row],
                costs=removals.costs[row],
                rivals=() if removals.targets is not None else removals.rivals(row)[:_RIVALS],
                min_block=self.min_block,
            )
            for row, clean in enumerate(removals.clean())
        ]
        outcomes = run_searches([self._search(task) for task in tasks], removals.ask)
        for row, (task, outcome) in enumerate(zip(tasks, outcomes, strict=True)):
            self._remove(removals, row, outcome.removal, samples)
            self.records.append(
                DecouplingRecord(
                    success=outcome.success,
                    share_removed=task.costs.of(outcome.removal, task.layout) / task.costs.total,
                    pixels=outcome.removal.numbers(task.layout),
                    words=outcome.removal.words,
                    blocks=outcome.removal.blocks,
                    label_before=task.clean.label,
                    label_after=outcome.answer.label,
                    queries=outcome.queries,
                    combinations=outcome.combinations,
                    progress=outcome.progress,
                    removed=removals.shares(row, outcome.removal),
                )
            )

    def _remove(self, removals: Removals, row: int, removal: Removal, samples: np.ndarray) -> None:
        """Write a removal into a sample."""
        layout, one_field = removals.layouts[row], self.estimator.texts_are_prompts
        for number, (name, numbers) in enumerate(removals.numbers.items()):
            field = samples if one_field else samples[name]
            numbers.remove(self._known[name].values(field)[row], number, removal, layout)
        if one_field:
            return
        for name, words in removals.remaining_words(row, removal.words).items():
            samples[name][row] = without_words(samples[name][row], words)

    def _search(self, task: RemovalTask) -> Removing:
        if self.search == "exhaustive":
            return exhaustive_search(task, self.max_combinations)
        return guided_search(task, self.max_queries, self._uses_gradients)

    @property
    def _uses_gradients(self) -> bool:
        return self.estimator.all_framework_preprocessing if self.white_box is None else self.white_box

    def _check_params(self) -> None:
        if self.search not in SEARCHES:
            raise ValueError(f"search must be one of {', '.join(SEARCHES)}, not {self.search!r}.")
        if self.decision not in DECISIONS:
            raise ValueError(f"decision must be one of {', '.join(DECISIONS)}, not {self.decision!r}.")
        if self.fusion_threshold is not None and (self.decision != "fusion" or not 0 <= self.fusion_threshold <= 2):
            raise ValueError(
                "fusion_threshold is a cosine distance in [0, 2] and goes with decision='fusion', "
                f"not {self.fusion_threshold!r} with decision={self.decision!r}."
            )
        if self.criterion is not None:
            if not isinstance(self.criterion, Criterion) or self.targeted:
                raise ValueError(
                    "criterion is a Criterion of an untargeted attack, such as RankFell(5), not "
                    f"{self.criterion!r:.80}."
                )
            if not 1 <= self.criterion.rank < self.estimator.nb_classes:
                raise ValueError(
                    f"The rank of a criterion lies in [1, {self.estimator.nb_classes - 1}] with "
                    f"{self.estimator.nb_classes} classes, not {self.criterion.rank!r}."
                )
        if self.cost not in COSTS:
            raise ValueError(f"cost must be one of {', '.join(COSTS)}, not {self.cost!r}.")
        known = list(self._known)
        said = "'image', 'text' or both" if known == ["image", "text"] else f"some of {', '.join(known)}"
        given = known if self.modalities is None else self.modalities
        names = (given,) if isinstance(given, str) else given
        if not isinstance(names, Sequence) or not names or not set(names) <= set(known):
            raise ValueError(f"modalities must name {said}, not {self.modalities!r}.")
        self.modalities = tuple(names)
        if isinstance(self.fill, Mapping) and (strange := [name for name in self.fill if name not in known]):
            raise ValueError(f"fill names {strange[0]!r}; the model takes {', '.join(known)}.")
        for name, modality in self._known.items():
            if modality.numeric:
                self._fill(name)
        if self.white_box not in (None, True, False):
            raise ValueError(f"white_box must be True, False or None, not {self.white_box!r}.")
        if self.white_box and not self.estimator.all_framework_preprocessing:
            raise ValueError(
                "white_box=True needs gradients to the pixels, which this estimator's preprocessing defences do not "
                "pass on. Use white_box=False."
            )
        for name in ("max_queries", "max_combinations", "batch_size"):
            check_whole_number(self, name, 1)
        if self.min_block is not None:
            check_whole_number(self, "min_block", 1)
