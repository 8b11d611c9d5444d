"""Made-up models of what removing points does, and the published decoupling procedure written down a second time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import ceil

import numpy as np
import torch
from tiny import TinyFusion

from art_multimodal import FusionClassifier, image_text_pairs
from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.attacks.evasion.decoupling.search import Linearisation, RemovalTask
from art_multimodal.attacks.searching import Answer, run_searches
from art_multimodal.functional.points import Costs, Layout, Removal
from art_multimodal.models.fusion import FusionModel

TEXTS = ["a cat sat on it", "what is\nthis,  and why?", "red", "", "yes yes no"]


def removal_task(shape: tuple[int, int], words: int, clean: Answer, **settings) -> RemovalTask:
    """A task in which each point costs 1."""
    layout = Layout((shape,) if all(shape) else (), words)
    return RemovalTask(clean=clean, layout=layout, costs=Costs.of_points(layout), **settings)


def published_procedure(answer, height, width, words, clean, max_combinations=500, min_block=None):
    """SPEC, word for word: (candidate blocks, candidate words, combinations tried, winning combination or None).

    :param answer: Maps (set of removed pixels, set of removed words) to (decision, label).
    :param min_block: Squares of at most this side are not divided, as in the published code; ``None`` for five levels.
    """

    def pixels(block):
        row, column, rows, columns = block
        return {(r, c) for r in range(row, row + rows) for c in range(column, column + columns)}

    side = max(height, width)
    blocks = []

    def descend(row, column, s, level=0):
        if (level == 5 or s <= 1) if min_block is None else s <= min_block:
            return
        s = ceil(s / 2)
        flipped = []
        for dr, dc in ((0, 0), (s, 0), (0, s), (s, s)):
            r, c = row + dr, column + dc
            rows, columns = min(s, height - r), min(s, width - c)
            if rows <= 0 or columns <= 0:
                continue
            block = (r, c, rows, columns)
            if answer(pixels(block), set())[0] != clean[0]:
                flipped.append((r, c, block))
        for r, c, block in flipped:
            blocks.append(block)
            descend(r, c, s, level + 1)

    descend(0, 0, side)
    flipping_words = [w for w in range(words) if answer(set(), {w})[0] != clean[0]]
    candidates = [(pixels(b), set()) for b in sorted(blocks, key=lambda b: b[2] * b[3])]
    candidates += [(set(), {w}) for w in flipping_words]
    tried = 0
    for size in range(1, len(candidates) + 1):
        for chosen in combinations(candidates, size):
            if tried == max_combinations:
                return blocks, flipping_words, tried, None
            tried += 1
            removed = set().union(*(p for p, _ in chosen)), set().union(*(w for _, w in chosen))
            if answer(*removed)[1] != clean[1]:
                return blocks, flipping_words, tried, removed
    return blocks, flipping_words, tried, None


def mask_of(removal: Removal, shape: tuple[int, int]) -> np.ndarray:
    """Which pixels of an image are removed, ``shape``."""
    return removal.mask(Layout((shape,))).reshape(shape)


class RandomModel:
    """A made-up model: decision and label by linear scores over pixels and words, the two watching different
    weights."""

    def __init__(self, height: int, width: int, words: int, seed: int, alike: bool) -> None:
        rng = np.random.default_rng(seed)
        self.points = height * width + words
        self.shape = (height, width, words)
        self.decision_weights = rng.standard_normal((self.points, 3)) ** 3
        self.label_weights = self.decision_weights if alike else rng.standard_normal((self.points, 3)) ** 3
        self.asked: list[tuple[frozenset, frozenset]] = []

    def __call__(self, pixels, words):
        height, width, _ = self.shape
        kept = np.ones(self.points)
        for row, column in pixels:
            kept[row * width + column] = 0
        for word in words:
            kept[height * width + word] = 0
        return int((kept @ self.decision_weights).argmax()), int((kept @ self.label_weights).argmax())

    def ask(self, probes):
        answers = []
        for _, removal in probes:
            pixels = {tuple(p) for p in np.argwhere(mask_of(removal, self.shape[:2]))}
            self.asked.append((frozenset(pixels), frozenset(removal.words)))
            answers.append(self.answer(pixels, set(removal.words)))
        return answers

    def answer(self, pixels: set, words: set) -> Answer:
        decision, label = self(pixels, words)
        return Answer(label, decision=decision)


class ScoreModel:
    """Scores that are linear in what is there, with a bend; counts every query by itself."""

    def __init__(self, height: int, width: int, words: int, seed: int, bend: float = 0.0, classes: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.height, self.width, self.words = height, width, words
        self.points = height * width + words
        self.weights = rng.standard_normal((self.points, classes))
        self.bend = bend
        self.queries = 0
        scores = self.scores(np.ones(self.points))
        self.label = int(scores.argmax())

    def scores(self, there: np.ndarray) -> np.ndarray:
        linear = there @ self.weights
        return linear + self.bend * np.sin(2 * linear)

    def there(self, removal: Removal) -> np.ndarray:
        there = np.ones(self.points)
        there[: self.height * self.width][mask_of(removal, (self.height, self.width)).ravel()] = 0
        there[[self.height * self.width + word for word in removal.words]] = 0
        return there

    def answer(self, there: np.ndarray) -> Answer:
        scores = self.scores(there)
        label = int(scores.argmax())
        return Answer(label, float(scores[self.label] - np.delete(scores, self.label).max()))

    def ask(self, probes) -> list[Answer]:
        answers = []
        for _, probe in probes:
            linearise = isinstance(probe, Linearisation)
            self.queries += 2 if linearise else 1
            there = self.there(probe.removal if linearise else probe)
            answer = self.answer(there)
            if linearise:
                linear = there @ self.weights
                slope = 1 + 2 * self.bend * np.cos(2 * linear)
                scores = self.scores(there)
                other = int(np.where(np.arange(len(scores)) == self.label, -np.inf, scores).argmax())
                other = other if probe.toward is None else probe.toward
                gradient = slope[self.label] * self.weights[:, self.label] - slope[other] * self.weights[:, other]
                saliency = gradient[: self.height * self.width]
                answer = Answer(answer.label, answer.margin, saliency=saliency)
            answers.append(answer)
        return answers

    def task(self, image: bool = True, rivals: bool = False) -> RemovalTask:
        clean = self.answer(np.ones(self.points))
        order = np.argsort(-self.scores(np.ones(self.points)), kind="stable")
        others = tuple(int(label) for label in order if label != self.label) if rivals else ()
        return removal_task((self.height, self.width) if image else (0, 0), self.words, clean, rivals=others)

    def run(self, search):
        (outcome,) = run_searches([search], self.ask)
        return outcome, outcome.queries - 1


def words_left(text: str, words: set[int]) -> str:
    """A text without words by index; what no word was removed from stays as it is."""
    return " ".join(word for index, word in enumerate(text.split()) if index not in words) if words else text


class Alone:
    """A fusion model on one pair, one removal at a time: (decision, label), asked of the torch model itself.

    :param decision: ``"label"``; ``"fusion"``, the largest coordinate of the fused vector; or a number: whether the
        cosine distance of the fused vector from the intact pair's is larger.
    """

    def __init__(self, model: FusionModel, pair: np.void, decision: str | float = "label") -> None:
        self.model, self.image, self.text, self.decision = model, pair["image"], pair["text"], decision
        self.fill = model.preprocess.mean.float().numpy()[:, :, 0]
        self.known: dict[tuple[frozenset, frozenset], tuple[torch.Tensor, int]] = {}

    @torch.no_grad()
    def ask(self, pixels: set[tuple[int, int]], words: set[int]) -> tuple[torch.Tensor, int]:
        """Fused vector and label."""
        key = frozenset(pixels), frozenset(words)
        if key not in self.known:
            image = self.image.copy()
            if pixels:
                rows, columns = np.array(sorted(pixels)).T
                image[:, rows, columns] = self.fill
            fused = self.model.fuse(torch.from_numpy(image)[None], self.model.tokenize([words_left(self.text, words)]))
            self.known[key] = fused[0], int(self.model.predict(fused)[0].argmax())
        return self.known[key]

    def __call__(self, pixels: set[tuple[int, int]], words: set[int]) -> tuple[int, int]:
        fused, label = self.ask(pixels, words)
        if self.decision == "label":
            return label, label
        if self.decision == "fusion":
            return int(fused.argmax()), label
        intact, _ = self.ask(set(), set())
        cosine = torch.dot(fused, intact) / (fused.norm() * intact.norm())
        return int(1 - cosine > self.decision), label


def check_returned(model: FusionModel, pairs: np.ndarray, returned: np.ndarray, attack: DecouplingAttack) -> None:
    """Hold what an untargeted or targeted attack returned against its records and against the model."""
    fill = attack.fill_colour()[:, :, 0]
    assert len(pairs) == len(returned) == len(attack.records)
    for pair, after, record in zip(pairs, returned, attack.records, strict=True):
        before_label, label = (Alone(model, one)(set(), set())[1] for one in (pair, after))
        assert (record.label_before, record.label_after) == (before_label, label)
        if not attack.targeted:
            assert record.success == (label != before_label)
        assert after["text"] == words_left(pair["text"], set(record.words))
        changed = (after["image"] != pair["image"]).any(axis=0)
        np.testing.assert_array_equal(after["image"][:, changed], np.broadcast_to(fill, (3, record.pixels)))
        assert changed.sum() == record.pixels
        assert len(set(record.words)) == len(record.words)
        assert set(record.words) <= set(range(len(pair["text"].split())))
        points = record.pixels + len(record.words)
        assert record.share_removed == points / (changed.size + len(pair["text"].split()))
        if not record.success:
            assert points == 0 and record.progress == ()
        elif not attack.targeted:
            assert points > 0
        if record.progress:
            queries, sizes = zip(*record.progress, strict=True)
            assert sorted(set(queries)) == list(queries) and sorted(set(sizes), reverse=True) == list(sizes)
            assert sizes[-1] == points
            assert queries[0] >= 2 and queries[-1] <= record.queries
        else:
            assert attack.search == "exhaustive" or points == 0


def make_pairs(count: int = 5, size: tuple[int, int] = (8, 8), seed: int = 3, texts: list[str] = TEXTS) -> np.ndarray:
    images = np.random.default_rng(seed).random((count, 3, *size), dtype=np.float32)
    return image_text_pairs(images, [texts[row % len(texts)] for row in range(count)], allow_empty=True)


def make(model_class: Callable[..., FusionModel] = TinyFusion, seed: int = 1, **settings) -> FusionClassifier:
    return FusionClassifier(model_class(seed=seed).eval(), device_type="cpu", **settings)


def run(classifier: FusionClassifier, pairs: np.ndarray, y=None, **settings) -> tuple[DecouplingAttack, np.ndarray]:
    """Attack; what goes in must not change."""
    attack = DecouplingAttack(classifier, verbose=False, **settings)
    before = pairs.copy()
    returned = attack.generate(pairs, y)
    assert returned.dtype == pairs.dtype
    np.testing.assert_array_equal(pairs["image"], before["image"])
    assert pairs["text"].tolist() == before["text"].tolist()
    return attack, returned


class Counter:
    """Counts by itself what a model is asked: rows through its parts, rows of gradients, and texts."""

    def __init__(self, model: FusionModel) -> None:
        self.rows = dict.fromkeys(("image_tower", "text_tower", "joint_tower", "predict"), 0)
        self.backward = 0
        self.texts: set[str] = set()
        for name in self.rows:
            setattr(model, name, self.counted(name, getattr(model, name)))
        tokenize = model.tokenize
        model.tokenize = lambda texts: (self.texts.update(texts), tokenize(texts))[1]

    def counted(self, name: str, part: Callable) -> Callable:
        def count_rows(*inputs):
            out = part(*inputs)
            self.rows[name] += len(out)
            if name == "predict" and out.requires_grad:
                out.register_hook(lambda gradient: setattr(self, "backward", self.backward + len(gradient)))
            return out

        return count_rows

    @property
    def queries(self) -> int:
        return self.rows["predict"] + self.backward
