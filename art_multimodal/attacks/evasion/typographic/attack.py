"""The typographic attack as an ART evasion attack."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.typographic.labelling import Labelling
from art_multimodal.attacks.evasion.typographic.search import (
    Catalogue,
    LabelOutcome,
    LabelSearch,
    LabelTask,
    TypographicRecord,
)
from art_multimodal.attacks.searching import criterion_for, run_searches
from art_multimodal.errors import InputError
from art_multimodal.functional.lettering import LEAST_SIZE, load_font, missing_letters
from art_multimodal.labels import label_indices
from art_multimodal.pairs import check_images, is_pairs
from art_multimodal.texts import check_strings

#: A colour: a name that Pillow knows, one value, or one per channel, in [0, 1].
Colour = str | float | Sequence[float]
#: Samples that are searched side by side.
_SAMPLES_AT_ONCE = 64


class TypographicAttack(EvasionAttack):
    """Write a word into the image, on a label, where and as large as it misleads the model.

    CLIP-like models read: an apple with a paper that says "iPod" is an iPod to them. The attack knows scores only. For
    each image it tries every word once, then moves, recolours and resizes the labels that came closest to success,
    coarse moves first, and looks at random ones in between. After a success it looks for a smaller label that succeeds
    too, for a quarter of the queries that are left.

    On a :class:`FusionClassifier` samples are pairs, and the texts stay as they are. On other classifiers of images
    with channels first in [0, 1], ``words`` must be given.

    What comes back is the best image seen: with the smallest label that succeeds; otherwise with the one that lowers
    the margin most; the original where none lowers it. :attr:`records` holds one :class:`TypographicRecord` per sample,
    :attr:`skipped` the words that were not tried, each with the reason.

    Guarantees: pixels outside one rectangle of at most ``max_share`` of the image's area come back bit for bit, images
    lie in [0, 1]; no sample costs more than ``max_queries`` evaluations, and each distinct image of it is evaluated
    once; the label in the record is the returned image's. Equal calls give equal results, whatever the batch size and
    whatever stands beside a sample, unless the model's rounding decides; no global random state is used.

    This is no perturbation of a bounded norm: anybody can see the label, and what it covers is gone. Never mix its
    results with those of an ``eps``.

    | Paper link: https://distill.pub/2021/multimodal-neurons/

    >>> attack = TypographicAttack(classifier, max_share=0.25, max_queries=20, verbose=False)
    >>> attacked = attack.generate(images[:2], labels[:2])
    >>> record = attack.records[0]
    >>> record.queries <= 20, record.share <= 0.25, record.label_before
    (True, True, 0)
    """

    attack_params = EvasionAttack.attack_params + [
        "words",
        "max_share",
        "max_queries",
        "colours",
        "font",
        "targeted",
        "batch_size",
        "seed",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, ClassifierMixin)

    def __init__(
        self,
        estimator: Any,
        words: Sequence[str] | None = None,
        max_share: float = 0.1,
        max_queries: int = 500,
        colours: Sequence[tuple[Colour, Colour]] = (("black", "white"), ("white", "black")),
        font: str | None = None,
        targeted: bool = False,
        batch_size: int = 128,
        seed: int = 0,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier to attack.
        :param words: What may be written, the most promising first; ``None`` for the class names, those with the
            largest scores first (targeted: the target's name, then these), without that of the predicted class.
        :param max_share: Most of the image's area that the label takes, in (0, 1].
        :param max_queries: Most evaluations of the model for a sample, the intact one included.
        :param colours: Pairs of a text's and its patch's colour: names that Pillow knows, one value, or one per
            channel, in [0, 1].
        :param font: A TrueType or OpenType file; ``None`` for Pillow's built-in font, which has letters for plain
            English only.
        :param targeted: Succeed only when the label becomes the one given.
        :param batch_size: Images per forward pass; fewer where they are large.
        :param seed: Seeds the choice of random labels, the same for each sample.
        :param verbose: Show a progress bar.
        """
        super().__init__(estimator=estimator)
        self.words = words
        self.max_share = max_share
        self.max_queries = max_queries
        self.colours = colours
        self.font = font
        self._targeted = targeted
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self.records: list[TypographicRecord] = []
        self.skipped: dict[str, str] = {}
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return samples with a word written into their images, where that lowers the margin.

        :param x: Pairs ``(N,)`` for a :class:`FusionClassifier`, images ``(N, C, H, W)`` in [0, 1] otherwise.
        :param y: Wanted labels when targeted; not used otherwise, since success is a change of the predicted label.
        :raises InputError: For samples or labels that cannot be used, or where no word can be written at all.
        """
        on_pairs = getattr(self.estimator, "texts_are_prompts", True) is False
        if on_pairs and not is_pairs(x):
            raise InputError("On a FusionClassifier the attack takes pairs, made by image_text_pairs(images, texts).")
        if is_pairs(x) and not on_pairs:
            raise InputError('On a classifier of images the attack takes images: pairs["image"].')
        images = check_images(x["image"] if on_pairs else x, self._channels)
        if on_pairs and len(x):
            check_strings(x["text"])
            self.estimator.model.tokenize(list(dict.fromkeys(x["text"])))  # one too long is refused before any work
        targets = label_indices(y, self.estimator.nb_classes, len(x)) if self.targeted else None
        if self.targeted and targets is None:
            raise ValueError("A targeted attack needs the wanted labels in `y`.")
        adversarial = x.copy() if on_pairs else images.copy()
        if on_pairs:
            adversarial["image"] = images  # what leaves [0, 1] by rounding is brought back
        self.records, self.skipped = [], {}
        if not len(x):
            return adversarial
        words = self._writable_words()
        catalogue = Catalogue(words, images.shape[1:], self.max_share, self._colours(), self.font)
        self._check_sizes(words, catalogue)
        for start in tqdm(range(0, len(x), _SAMPLES_AT_ONCE), desc="Typographic", disable=not self.verbose):
            rows = slice(start, start + _SAMPLES_AT_ONCE)
            some = None if targets is None else targets[rows]
            labelling = Labelling(
                self.estimator, images[rows], x["text"][rows] if on_pairs else None, some, catalogue, self.batch_size
            )
            written = (adversarial["image"] if on_pairs else adversarial)[rows]
            tasks = [
                LabelTask(
                    clean=clean,
                    criterion=criterion_for(None if some is None else int(some[row])),
                    catalogue=catalogue,
                    image=images[start + row],
                    words=self._order(labelling, row, words),
                    max_queries=self.max_queries,
                    seed=self.seed,
                )
                for row, clean in enumerate(labelling.clean)
            ]
            outcomes = run_searches([LabelSearch(task).run() for task in tasks], labelling.ask)
            for image, task, outcome in zip(written, tasks, outcomes, strict=True):
                if outcome.label is not None:
                    catalogue.write(image, outcome.label)
                self.records.append(self._record(task, outcome, words))
        return adversarial

    def _writable_words(self) -> list[str]:
        """The words that the font has all letters of; the others go to :attr:`skipped`."""
        words = []
        for word in dict.fromkeys(self._all_words):
            if missing := missing_letters(word, self.font):
                self.skipped[word] = f"the font has no letters for {missing!r}"
            else:
                words.append(word)
        return words

    def _check_sizes(self, words: list[str], catalogue: Catalogue) -> None:
        """Note the words that are too long for these images.

        :raises InputError: If none is left.
        """
        for word, sizes in zip(words, catalogue.letters, strict=True):
            if not sizes:
                self.skipped[word] = f"its letters would be smaller than {LEAST_SIZE:g} pixels"
        if len(self.skipped) == len(set(self._all_words)):
            word, reason = next(iter(self.skipped.items()))
            raise InputError(
                f"None of the words can be written on images of {catalogue.height} by {catalogue.width} pixels with "
                f"max_share={self.max_share}; {word!r:.60}, for one: {reason}. Give shorter words, a larger max_share, "
                "or a font that has their letters."
            )
        if self.skipped:
            warnings.warn(
                f"{len(self.skipped)} of the words are not tried, such as {next(iter(self.skipped))!r:.60}: "
                "see attack.skipped for the reasons.",
                stacklevel=3,
            )

    def _order(self, labelling: Labelling, row: int, words: list[str]) -> tuple[int, ...]:
        """Indices of the words to write into a sample, the most promising first."""
        catalogue, scores = labelling.catalogue, labelling.scores[row]
        if self.words is not None:
            ranked = list(words)
        else:
            order = [int(label) for label in np.argsort(-scores, kind="stable") if label != labelling.labels[row]]
            if labelling.targets is not None:
                target = int(labelling.targets[row])
                order = [target, *(label for label in order if label != target)]
            ranked = [self.estimator.class_names[label] for label in order]
        index = {word: number for number, word in enumerate(words) if catalogue.letters[number]}
        return tuple(index[word] for word in ranked if word in index)

    def _record(self, task: LabelTask, outcome: LabelOutcome, words: list[str]) -> TypographicRecord:
        label, area = outcome.label, task.catalogue.height * task.catalogue.width
        box = None if label is None else task.catalogue.box(label)
        return TypographicRecord(
            word=None if label is None else words[label.word],
            box=box,
            colours=None if label is None else self.colours[label.colours],
            share=0.0 if box is None else box.area / area,
            queries=outcome.queries,
            label_before=task.clean.label,
            label_after=outcome.answer.label,
            success=outcome.success,
        )

    @property
    def _all_words(self) -> tuple[str, ...]:
        return tuple(self.estimator.class_names if self.words is None else self.words)

    @property
    def _channels(self) -> int:
        return int(self.estimator.input_shape[0])

    def _colours(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(self._colour(text), self._colour(patch)) for text, patch in self.colours]

    def _colour(self, colour: Colour) -> np.ndarray:
        """One colour, shape ``(C, 1, 1)``.

        :raises ValueError: If it is none.
        """
        from PIL import ImageColor

        try:
            if isinstance(colour, str):
                named = ImageColor.getcolor(colour, "L" if self._channels == 1 else "RGB")
                values = np.atleast_1d(np.asarray(named, dtype=np.float32)) / np.float32(255)
            else:
                values = np.atleast_1d(np.asarray(colour, dtype=np.float32))
            if values.shape not in ((1,), (self._channels,)) or not ((values >= 0) & (values <= 1)).all():
                raise ValueError
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"A colour is a name such as 'black' or '#ffee00', one value, or {self._channels} values, in [0, 1], "
                f"not {colour!r:.60}."
            ) from error
        return np.broadcast_to(values.reshape(-1, 1, 1), (self._channels, 1, 1)).copy()

    def _check_params(self) -> None:
        if not getattr(self.estimator, "channels_first", True):
            raise ValueError("The attack needs a classifier of images with channels first: (N, C, H, W).")
        clip_values = getattr(self.estimator, "clip_values", None)
        if clip_values is not None and not (np.all(clip_values[0] == 0) and np.all(clip_values[1] == 1)):
            raise ValueError(f"The attack needs a classifier of images in [0, 1], not in {clip_values}.")
        self._check_words()
        is_number = isinstance(self.max_share, Real) and not isinstance(self.max_share, bool)
        if not is_number or not 0 < self.max_share <= 1:
            raise ValueError(f"max_share is a part of the image's area, in (0, 1], not {self.max_share!r}.")
        if isinstance(self.colours, str) or not isinstance(self.colours, Sequence) or not self.colours:
            raise ValueError(f"colours must be pairs of a text's and its patch's colour, not {self.colours!r:.80}.")
        if any(isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2 for pair in self.colours):
            raise ValueError(f"colours must be pairs of a text's and its patch's colour, not {self.colours!r:.80}.")
        self.colours = tuple((text, patch) for text, patch in self.colours)
        for (text, patch), pair in zip(self._colours(), self.colours, strict=True):
            if (text == patch).all():
                raise ValueError(f"Text and patch must differ in colour, or nothing is written: {pair!r}.")
        for name, least in (("max_queries", 1), ("batch_size", 1), ("seed", 0)):
            check_whole_number(self, name, least)

    def _check_words(self) -> None:
        if self.font is not None and not isinstance(self.font, str):
            raise ValueError(f"font must be the path of a font file, or None, not {self.font!r:.80}.")
        load_font(LEAST_SIZE, self.font)
        if self.words is None:
            if not getattr(self.estimator, "class_names", ()):
                raise ValueError("This estimator does not know the names of its classes: give the words to write.")
            return
        if isinstance(self.words, str) or not isinstance(self.words, Sequence) or not self.words:
            raise ValueError(f"words must be a list of words, at least one, not {self.words!r:.80}.")
        for word in self.words:
            if not isinstance(word, str) or not word.strip():
                raise ValueError(f"words must be strings with at least one letter, not {word!r:.80}.")
            if missing := missing_letters(word, self.font):
                raise ValueError(
                    f"The font has no letters for {missing!r} in {word!r:.60}. Give a font file that has them."
                )
        self.words = tuple(self.words)
