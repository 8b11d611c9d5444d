"""The decoupling attack as an ART evasion attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.decoupling.fusion import FusionVictim
from art_multimodal.attacks.evasion.decoupling.guided import guided_search
from art_multimodal.attacks.evasion.decoupling.search import (
    MOST_COMBINATIONS,
    DecouplingRecord,
    Search,
    Task,
    exhaustive_search,
    run_searches,
)
from art_multimodal.attacks.evasion.decoupling.victim import Decision, Victim
from art_multimodal.attacks.evasion.decoupling.zero_shot import ZeroShotVictim, templates_without
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.occlusion import fill_removed, without_words
from art_multimodal.labels import label_indices
from art_multimodal.pairs import check_images, is_pairs
from art_multimodal.texts import check_strings

SEARCHES = ("guided", "exhaustive")
DECISIONS = ("label", "fusion")
MODALITIES = ("image", "text")
#: Samples that are searched side by side: as many, and as few as keep what is remembered of large images small.
_SAMPLES_AT_ONCE, _PIXELS_AT_ONCE = 64, 64 * 256 * 256
#: Classes that the white box aims at, besides the first that was reached.
_RIVALS = 4


class DecouplingAttack(EvasionAttack):
    """Take image and text apart by removing as little of the input as possible, until the answer changes.

    Points are pixels (all channels together) and words; removing a pixel writes ``fill``, removing a word deletes it.
    On a :class:`FusionClassifier` samples are pairs: words are removed from a pair's own text. On a
    :class:`ZeroShotClassifier` samples are images, and the text is the prompt template, whose words are removed from
    the prompts of every class; the class name itself is never touched.

    ``search="guided"`` removes far less: in a fixed number of queries it finds, shrinks and prunes a set of single
    pixels. With ``white_box`` it uses gradients, each counted as two queries; otherwise scores only.
    ``search="exhaustive"`` is the published procedure, a black box: quadrants of quadrants down to 1/32 of the side,
    each word alone, then combinations of what changed the decision. Non-square images are covered whole, which the
    published code does not do.

    After :meth:`generate`, :attr:`records` holds one :class:`DecouplingRecord` per sample. Returned pairs lack the
    removed words. Returned images cannot show that a template lost words: evaluate such a sample with
    ``estimator.with_templates(attack.templates_of(record))``.

    Guarantees: pixels that were not removed are returned bit for bit; samples without success are returned
    unchanged; the returned removal flips the label when evaluated again; ``search="guided"`` never asks more than
    ``max_queries`` and succeeds wherever a quadrant of the image or a single word would do, given queries for these;
    equal calls give equal results, and no global random state is used.

    | Paper link: https://arxiv.org/abs/2112.12792
    """

    attack_params = EvasionAttack.attack_params + [
        "search",
        "decision",
        "fusion_threshold",
        "modalities",
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
        modalities: Sequence[str] = MODALITIES,
        fill: str | float | Sequence[float] = "mean",
        min_block: int | None = None,
        targeted: bool = False,
        max_queries: int = 500,
        white_box: bool | None = None,
        max_combinations: int = MOST_COMBINATIONS,
        batch_size: int = 128,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier to attack.
        :param search: ``"guided"`` or ``"exhaustive"``.
        :param decision: What makes a block or word a candidate of the published procedure: ``"label"``, the predicted
            label changes; ``"fusion"``, the largest coordinate of the fused vector is another one. The fused vector of
            a dual encoder is its similarity to the prompts, so there both are the same.
        :param fusion_threshold: With ``decision="fusion"``: the fused vector's cosine distance from the intact
            sample's is larger than this, in [0, 2], instead.
        :param modalities: What may be removed: ``"image"``, ``"text"`` or both.
        :param fill: Colour of removed pixels: ``"mean"`` (what the model sees as zero), ``"black"``, one value or one
            per channel, in [0, 1].
        :param min_block: Squares of at most this side, in pixels, are not divided; ``None`` for five levels whatever
            the size, as the published procedure does at 224 pixels. ``"guided"`` prunes to single pixels regardless.
        :param targeted: Succeed only when the label becomes the one given.
        :param max_queries: For ``"guided"``: most evaluations of the model for a sample, the intact one included; a
            gradient counts as two.
        :param white_box: For ``"guided"``: whether to use gradients; ``None`` for where the estimator has them, which
            preprocessing defences written in numpy take away.
        :param max_combinations: For ``"exhaustive"``: most combinations of candidates to try for a sample, drill-down
            not counted.
        :param batch_size: Images per forward pass.
        :param verbose: Show a progress bar.
        """
        super().__init__(estimator=estimator)
        self.search = search
        self.decision = decision
        self.fusion_threshold = fusion_threshold
        self.modalities = modalities
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

        :param x: Pairs ``(N,)`` for a :class:`FusionClassifier`, images ``(N, 3, H, W)`` in [0, 1] for a
            :class:`ZeroShotClassifier`.
        :param y: Wanted labels when targeted; not used otherwise, since success is a change of the predicted label.
        :raises InputError: For samples or labels that cannot be used.
        """
        if isinstance(self.estimator, FusionClassifier) and not is_pairs(x):
            raise InputError("On a FusionClassifier the attack takes pairs, made by image_text_pairs(images, texts).")
        if is_pairs(x) and not isinstance(self.estimator, FusionClassifier):
            raise InputError('On a ZeroShotClassifier the attack takes images: pairs["image"].')
        images = check_images(x["image"] if is_pairs(x) else x)
        if is_pairs(x) and len(x):
            check_strings(x["text"])
            self.estimator.model.tokenize(list(dict.fromkeys(x["text"])))  # one too long is refused before any work
        targets = label_indices(y, self.estimator.nb_classes, len(x)) if self.targeted else None
        if self.targeted and targets is None:
            raise ValueError("A targeted attack needs the wanted labels in `y`.")
        adversarial = x.copy() if is_pairs(x) else images.copy()
        self.records = []
        height, width = images.shape[2:]
        at_once = max(1, min(_SAMPLES_AT_ONCE, _PIXELS_AT_ONCE // (height * width)))
        for start in tqdm(range(0, len(x), at_once), desc="Decoupling", disable=not self.verbose):
            rows = slice(start, start + at_once)
            samples, some = adversarial[rows], None if targets is None else targets[rows]
            if is_pairs(x):
                victim: Victim = FusionVictim(
                    self.estimator, images[rows], samples["text"].tolist(), *self._asking(some)
                )
                records = self._attack_batch(victim, samples["image"])
                samples["text"] = [
                    without_words(text, record.words) for text, record in zip(samples["text"], records, strict=True)
                ]
            else:
                victim = ZeroShotVictim(self.estimator, images[rows], *self._asking(some))
                records = self._attack_batch(victim, samples)
            self.records += records
        return adversarial

    def templates_of(self, record: DecouplingRecord) -> tuple[str, ...]:
        """Return the estimator's templates without the words that a record removed.

        :raises InputError: On a :class:`FusionClassifier`, which has none: the returned pairs lack the words.
        """
        if isinstance(self.estimator, FusionClassifier):
            raise InputError("A fusion model has no templates: the returned pairs lack the removed words already.")
        return templates_without(self.estimator.templates or (), record.words)

    def fill_colour(self) -> np.ndarray:
        """Return the colour of removed pixels, shape ``(C, 1, 1)``."""
        channels = self.estimator.input_shape[0]
        if isinstance(self.fill, str):
            if self.fill == "mean":
                return self.estimator.image_text_model.mean_colour
            return np.zeros((channels, 1, 1), dtype=np.float32)
        return np.broadcast_to(np.asarray(self.fill, dtype=np.float32).reshape(-1, 1, 1), (channels, 1, 1)).copy()

    def _asking(self, targets: np.ndarray | None) -> tuple[np.ndarray, int, np.ndarray | None, Decision]:
        """What every victim is told besides its samples."""
        return self.fill_colour(), self.batch_size, targets, Decision(self.decision, self.fusion_threshold)

    def _attack_batch(self, victim: Victim, images: np.ndarray) -> list[DecouplingRecord]:
        """Attack samples; removes pixels from ``images`` in place."""
        height, width = images.shape[2:]
        clean = victim.clean()
        touch_image, touch_text = "image" in self.modalities, "text" in self.modalities
        tasks = [
            Task(
                height=height if touch_image else 0,
                width=width if touch_image else 0,
                words=victim.words(row) if touch_text else 0,
                clean=answer,
                target=None if victim.targets is None else int(victim.targets[row]),
                rivals=() if victim.targets is not None else victim.rivals(row)[:_RIVALS],
                min_block=self.min_block,
            )
            for row, answer in enumerate(clean)
        ]
        outcomes, queries = run_searches([self._search(task) for task in tasks], victim.ask)
        records = []
        for row, (task, outcome) in enumerate(zip(tasks, outcomes, strict=True)):
            removal = outcome.removal
            records.append(
                DecouplingRecord(
                    success=outcome.success,
                    share_removed=removal.share(height, width, victim.words(row)),
                    pixels=removal.pixels(height, width),
                    words=removal.words,
                    blocks=removal.blocks,
                    label_before=task.clean.label,
                    label_after=outcome.answer.label,
                    queries=queries[row] + 1,
                    combinations=outcome.combinations,
                    progress=outcome.progress,
                )
            )
            fill_removed(images[row], removal, victim.fill)
        return records

    def _search(self, task: Task) -> Search:
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
        if isinstance(self.modalities, str):
            self.modalities = (self.modalities,)
        if not isinstance(self.modalities, Sequence):
            raise ValueError(f"modalities must name 'image', 'text' or both, not {self.modalities!r}.")
        self.modalities = tuple(self.modalities)
        if not self.modalities or not set(self.modalities) <= set(MODALITIES):
            raise ValueError(f"modalities must name 'image', 'text' or both, not {self.modalities!r}.")
        if isinstance(self.fill, str):
            if self.fill not in ("mean", "black"):
                raise ValueError(f"fill must be 'mean', 'black' or colours in [0, 1], not {self.fill!r}.")
        else:
            colours = np.asarray(self.fill, dtype=float)
            channels = self.estimator.input_shape[0]
            if colours.size not in (1, channels) or not ((colours >= 0) & (colours <= 1)).all():
                raise ValueError(f"fill must be one colour value or {channels}, each in [0, 1], not {self.fill!r}.")
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
