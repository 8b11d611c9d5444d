"""An attack on smoothed classifiers: the elements whose votes matter most, with the values that turn these votes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from torch import Tensor
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.errors import InputError, check_count
from art_multimodal.estimators.asking.asking import joined
from art_multimodal.estimators.certification import ABSTAINED, AblatedEnsemble
from art_multimodal.estimators.certification.masks import Ballot
from art_multimodal.estimators.certification.voting import EstimatorVoters
from art_multimodal.functional.certificates.locations import worst_locations
from art_multimodal.labels import label_indices
from art_multimodal.sample_arrays import with_field

#: The elements of each modality that are touched, in the order of the ensemble's modalities.
Touched = tuple[tuple[int, ...], ...]
#: Share of the range of values that the first step moves; later ones are shorter.
_FIRST_STEP = 0.25


class VoteFlippingAttack(EvasionAttack):
    """Change a few elements of each modality of an :class:`AblatedEnsemble`'s samples, to anything that is allowed.

    Where: the elements that a certificate finds worst for a rival class, for several rivals, then elements at random.
    What: values that raise the rival's share of the votes that see them, by the gradient of the mean soft vote, exact
    since the masks are known; words from a list, the best one for each place. Of a base function without gradients,
    values are drawn at random.

    No certificate within the budget can be broken: one that is says that attack or certificate is wrong.

    | Paper link: https://arxiv.org/abs/2403.19080 (the threat model)

    >>> from art_multimodal.ablation import elements_of
    >>> from art_multimodal.estimators.certification import AblatedEnsemble, Partition
    >>> elements = {"image": elements_of(classifier.modalities["image"], "blocks:8")}
    >>> ensemble = AblatedEnsemble(classifier, elements, Partition({"image": 4}))
    >>> attack = VoteFlippingAttack(ensemble, {"image": 1}, max_iter=1, restarts=0, verbose=False)
    >>> attacked = attack.generate(images[:2], labels[:2])
    >>> bool(((attacked != images[:2]).any(axis=1).sum(axis=(1, 2)) <= 64).all())
    True
    """

    attack_params = EvasionAttack.attack_params + ["budget", "max_iter", "restarts", "words", "seed", "verbose"]
    _estimator_requirements = (BaseEstimator, AblatedEnsemble)

    def __init__(
        self,
        ensemble: AblatedEnsemble,
        budget: Mapping[str, int],
        max_iter: int = 20,
        restarts: int = 2,
        words: Sequence[str] = (),
        seed: int = 0,
        verbose: bool = True,
    ) -> None:
        """
        :param ensemble: What is attacked.
        :param budget: Most elements that are changed in each modality, by name.
        :param max_iter: Steps on the values for each choice of elements.
        :param restarts: Choices of elements at random, after those that are worst.
        :param words: That may be put in the place of words; those of all texts that are attacked when empty.
        :param seed: Of what is drawn; the same for all samples.
        :param verbose: Show a progress bar.
        :raises InputError: For a modality without elements.
        """
        super().__init__(estimator=ensemble)
        self.budget = dict(budget)
        self.max_iter, self.restarts = max_iter, restarts
        self.words, self.seed, self.verbose = tuple(words), seed, verbose
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return samples ``(N,)`` with no more changes than the budget; those that cannot be turned are unchanged.

        :param x: Samples as the ensemble takes them.
        :param y: Class indices ``(N,)`` or one-hot rows; the ensemble's answers when missing. Samples that are wrong
            before stay as they are.
        """
        ensemble: AblatedEnsemble = self.estimator
        x = ensemble.checked(x)
        labels = label_indices(y, ensemble.nb_classes, len(x))
        found, words = x.copy(), self.words or self._words_in(x)
        for row, (counts, ballot, votes) in enumerate(
            tqdm(ensemble.voted(x), total=len(x), desc="Votes", disable=not self.verbose)
        ):
            answer = ensemble.answer(votes)
            if answer == ABSTAINED or (labels is not None and answer != labels[row]):
                continue
            one = _Sample(ensemble, x[row : row + 1], counts, ballot, votes, answer)
            for touched, rival in self._places(one):
                changed = self._turned(one, touched, rival, words)
                if changed is not None:
                    found[row : row + 1] = changed
                    break
        return found

    def _places(self, one: _Sample) -> Iterator[tuple[Touched, int]]:
        """Elements to touch, and the class that votes are turned to."""
        edits = [min(self.budget.get(name, 0), count) for name, count in one.counts.items()]
        if not any(edits):
            return
        tally = self.estimator.tally(one.votes)
        rivals = [int(of) for of in np.argsort(-tally, kind="stable") if of != one.answer]
        for rival in rivals[:2]:
            margins = (one.votes == one.answer).astype(np.int64) - (one.votes == rival)
            yield worst_locations(margins, one.ballot.elements_seen, edits).touched, rival
        rng = np.random.default_rng(self.seed)
        for number in range(self.restarts):
            drawn = (
                tuple(sorted(rng.choice(count, size=of, replace=False).tolist()))
                for count, of in zip(one.counts.values(), edits, strict=True)
            )
            yield tuple(drawn), rivals[number % len(rivals)]

    def _turned(self, one: _Sample, touched: Touched, rival: int, words: Sequence[str]) -> np.ndarray | None:
        """The sample with these elements changed so that the answer is another one, or nothing."""
        rng = np.random.default_rng([self.seed, 1])
        free = one.free(touched)
        current = one.x
        for attempt in range(2):
            # From the sample's own values, then from the ends of the range.
            values = {name: one.start(name, where, rng, attempt) for name, where in free.items()}
            for step in range(self.max_iter):
                current = one.with_values(values)
                if one.is_turned(current):
                    return current
                if not values:
                    break
                values = one.stepped(values, free, touched, rival, _FIRST_STEP * (1 - step / self.max_iter), rng)
        if any(not one.ensemble.modalities[name].numeric for name in one.counts):
            return self._with_words(one, current, touched, rival, words)
        return None

    def _with_words(
        self, one: _Sample, current: np.ndarray, touched: Touched, rival: int, words: Sequence[str]
    ) -> np.ndarray | None:
        """Put the word in each place, one place after the other, that turns most votes to the rival."""
        for name, elements in zip(one.counts, touched, strict=True):
            if one.ensemble.modalities[name].numeric:
                continue
            for element in elements:
                tried = [one.with_word(current, name, element, word) for word in words]
                gains = [one.gain(other, rival) for other in tried]
                if not tried:
                    return None
                current = tried[int(np.argmax(gains))]
                if one.is_turned(current):
                    return current
        return None

    def _words_in(self, x: np.ndarray) -> list[str]:
        """The words of all texts, each once."""
        found: dict[str, None] = {}
        for name, field in self.estimator.fields(x).items():
            modality = self.estimator.modalities[name]
            if not modality.numeric and name in self.estimator.elements:
                found |= dict.fromkeys(word for text in field.tolist() for word in text.split())
        return list(found)

    def _check_params(self) -> None:
        for name, most in self.budget.items():
            check_count(f"The budget of {name}", most, least=0)
            if name not in self.estimator.elements:
                raise InputError(
                    f"The ensemble counts no elements in {name!r}; it does in {', '.join(self.estimator.elements)}."
                )
        check_whole_number(self, "max_iter", least=1)
        check_whole_number(self, "restarts", least=0)
        check_whole_number(self, "seed", least=0)


@dataclass(frozen=True)
class _Sample:
    """One sample, and what its votes say before the attack."""

    ensemble: AblatedEnsemble
    x: np.ndarray
    counts: dict[str, int]
    ballot: Ballot
    votes: np.ndarray
    answer: int

    def is_turned(self, x: np.ndarray) -> bool:
        """Whether the ensemble answers something else."""
        return self.ensemble.answer(self.ensemble.ask(x, 0, self.ballot)) != self.answer

    def gain(self, x: np.ndarray, rival: int) -> int:
        """Votes for the rival, less those for the answer."""
        tally = self.ensemble.tally(self.ensemble.ask(x, 0, self.ballot))
        return int(tally[rival] - tally[self.answer])

    def free(self, touched: Touched) -> dict[str, np.ndarray]:
        """Which values may change, booleans that broadcast to a field of one sample, of each modality of numbers."""
        found = {}
        for (name, count), elements in zip(self.counts.items(), touched, strict=True):
            modality = self.ensemble.modalities[name]
            if modality.numeric and elements:
                field = self.ensemble.fields(self.x)[name]
                of = np.zeros((1, count), dtype=bool)
                of[0, list(elements)] = True
                points = self.ensemble.elements[name].shown(field, of)
                values = modality.values(field)
                found[name] = np.broadcast_to(modality.spread(points, values.ndim), values.shape)
        return found

    def start(self, name: str, free: np.ndarray, rng: np.random.Generator, attempt: int) -> np.ndarray:
        """Values to begin with: the sample's own, or at random one of the two ends of the range."""
        modality = self.ensemble.modalities[name]
        values = modality.values(self.ensemble.fields(self.x)[name])
        if not attempt:
            return values.copy()
        low, high = modality.clip_values
        return np.where(free, np.where(rng.random(values.shape) < 0.5, low, high), values).astype(values.dtype)

    def with_values(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The sample with other numbers."""
        x = self.x
        for name, of in values.items():
            field = self.ensemble.modalities[name].with_values(self.ensemble.fields(x)[name], of)
            x = with_field(x, name, field) if x.dtype.names else field
        return x

    def with_word(self, x: np.ndarray, name: str, element: int, word: str) -> np.ndarray:
        """A sample with another word in the place of an element."""
        return with_field(x, name, self.ensemble.elements[name].with_word(x[name], element, word))

    def stepped(
        self,
        values: dict[str, np.ndarray],
        free: Mapping[str, np.ndarray],
        touched: Touched,
        rival: int,
        share: float,
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """Values after a step that moves those that are free by a share of their range, and stays in it."""
        gradients = self._gradients(values, touched, rival)
        found = {}
        for name, of in values.items():
            low, high = (np.asarray(end, dtype=np.float64) for end in self.ensemble.modalities[name].clip_values)
            if gradients is None:
                moved = rng.uniform(low, high, size=of.shape)
            else:
                moved = np.clip(of + share * (high - low) * np.sign(gradients[name]), low, high)
            found[name] = np.where(free[name], moved, of).astype(of.dtype)
        return found

    def _gradients(
        self, values: Mapping[str, np.ndarray], touched: Touched, rival: int
    ) -> dict[str, np.ndarray] | None:
        """Of the mean soft margin of the rival over the votes that see a touched element, where there are gradients."""
        voters = self.ensemble.voters
        if type(voters) is not EstimatorVoters or self.ensemble.edits != "modify":
            return None
        asking, x = voters.asking, self.with_values(values)
        views = voters.views(voters.fields(x), 0, self.ballot, in_place=True)
        leaves: dict[str, Tensor] = {}
        parts: dict[str, Any] = {}
        for name, field in views.items():
            modality = asking.modalities[name]
            if name not in values:
                parts[name] = (
                    asking.see_field(name, field) if modality.numeric else asking.see_texts(name, field.tolist())
                )
                continue
            leaf = torch.from_numpy(values[name].copy()).to(asking.device).requires_grad_()
            leaves[name] = leaf
            whole = np.repeat(voters.fields(x)[name], len(field), axis=0)
            points = voters.elements[name].shown(whole, self.ballot.kept[name])
            shown = torch.from_numpy(np.ascontiguousarray(modality.spread(points, leaf.ndim))).to(asking.device)
            hidden = torch.from_numpy(np.ascontiguousarray(modality.values(field))).to(asking.device)
            lengths = (
                torch.from_numpy(np.array(modality.lengths(field))).to(asking.device) if modality.variable else None
            )
            seen = []
            for start in range(0, len(field), voters.batch_size):
                rows = slice(start, start + voters.batch_size)
                numbers = torch.where(shown[rows], leaf, hidden[rows])
                of_rows = None if lengths is None else lengths[rows]
                seen.append(asking.see(name, asking.through_defences(name, numbers), of_rows))
            parts[name] = joined(seen)
        hit = self._hit(touched)
        total = torch.zeros((), device=asking.device)
        for start in range(0, len(hit), voters.batch_size):
            some = self.ballot.seen[hit[start : start + voters.batch_size]]
            taken = {
                name: part.take(torch.from_numpy(voters.rows(name, some)).to(asking.device))
                for name, part in parts.items()
            }
            soft = torch.softmax(asking.scores(asking.fused(taken)), dim=1)
            total = total + (soft[:, rival] - soft[:, self.answer]).sum()
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        return {
            name: np.zeros(leaf.shape) if of is None else np.nan_to_num(of.cpu().numpy())
            for (name, leaf), of in zip(leaves.items(), found, strict=True)
        }

    def _hit(self, touched: Touched) -> np.ndarray:
        """Numbers of the votes that see a touched element."""
        hit = np.zeros(self.ballot.votes, dtype=bool)
        for seen, elements in zip(self.ballot.elements_seen, touched, strict=True):
            hit |= seen[:, list(elements)].any(axis=1)
        return np.flatnonzero(hit)
