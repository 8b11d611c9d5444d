"""The worst prompts of a zero-shot classifier for each image, from texts that are offered bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.estimators.asking import Asking, TextCost

#: Cosines that differ by less are equal: what rounding does to embeddings is smaller.
_NOTICEABLE = 1e-7
#: Most combinations of a class's prompts that are all tried, and rounds in which each is replaced in turn otherwise.
_COMBINATIONS, _ROUNDS = 2**14, 10


class PromptSearch:
    """For each image and class the texts that raise the margin the most, of all that were offered so far.

    The score of a class depends on its own prompts alone. So the worst for an image is what lowers its own class the
    most and raises every other one the most, each by itself, and with one prompt per class that is exact. Several
    prompts of a class add up to one direction: of few texts all combinations are tried, of many each prompt is replaced
    in turn while the others stay, until nothing more is gained, which may end short of the worst.

    A text that stands for several classes may change for each of them in its own way.

    :param asking: How the zero-shot classifier is asked.
    :param cost: Where work on texts is counted.
    :param images: ``(N, 3, H, W)``.
    :param labels: ``(N,)``: the true ones, or the wanted ones when targeted.
    """

    def __init__(
        self,
        asking: Asking,
        cost: TextCost,
        images: np.ndarray,
        labels: np.ndarray,
        targeted: bool,
    ) -> None:
        self._texts, self._cost = asking.text_table, cost
        estimator = asking.estimator
        self._scale = float(estimator.dual_encoder.logit_scale.detach().double().exp())
        self._images = F.normalize(estimator.image_features(images, asking.batch_size).double(), dim=-1)
        self._targeted = targeted
        self._labels = torch.from_numpy(labels).to(self._images.device)
        self.prompts = estimator.prompts
        #: Of each prompt ``[class][place]`` the texts that were offered, the original first, and their embeddings.
        self.texts: list[list[list[str]]] = [[[text] for text in entry] for entry in self.prompts]
        rows, table = self.embedded([text for entry in self.prompts for text in entry])
        self._tables: list[list[Tensor]] = [[table[[rows[text]]] for text in entry] for entry in self.prompts]
        #: Which of these each image has, ``[class][place]``: ``(N,)``.
        self.chosen = [[torch.zeros_like(self._labels) for _ in entry] for entry in self.prompts]
        self._cosines = torch.stack(
            [self._images @ F.normalize(sum(tables), dim=-1)[0] for tables in self._tables],  # type: ignore[arg-type]
            dim=1,
        )

    def embedded(self, texts: list[str]) -> tuple[dict[str, int], Tensor]:
        """Of each text that the model reads its row in a table of unit embeddings ``[R, D]``, in double precision."""
        rows, table = self._texts.rows(texts, self._cost)
        read = [text for text in dict.fromkeys(texts) if text in rows]
        picks = torch.tensor([rows[text] for text in read], dtype=torch.long, device=table.device)
        return {text: row for row, text in enumerate(read)}, F.normalize(table[picks].double(), dim=-1)

    def margins(self) -> np.ndarray:
        """The margin loss of each image with its worst prompts so far, ``(N,)``, in the units of the logits."""
        own = self._cosines.gather(1, self._labels[:, None])[:, 0]
        other = self._cosines.scatter(1, self._labels[:, None], -torch.inf).amax(dim=1)
        return (self._scale * (own - other if self._targeted else other - own)).cpu().numpy()

    def offer(self, offered: dict[str, list[str]], images: np.ndarray) -> None:
        """Let texts compete for the places of prompts, for some of the images.

        :param offered: For original prompts new texts that may stand in their place.
        """
        rows = torch.from_numpy(images).to(self._labels.device)
        known, table = self.embedded([text for texts in offered.values() for text in texts])
        for index, entry in enumerate(self.prompts):
            for place, prompt in enumerate(entry):
                texts = [text for text in offered.get(prompt, ()) if text in known]
                if texts:
                    first = len(self.texts[index][place])
                    self.texts[index][place] += texts
                    new = table[[known[text] for text in texts]]
                    if len(entry) > 1:
                        self._tables[index][place] = torch.cat([self._tables[index][place], new])
                    self._compete(index, place, new, first, rows)

    def settle(self, images: np.ndarray) -> bool:
        """Find the best combinations of several prompts of a class among all that was offered.

        :return: Whether all combinations were tried.
        """
        rows = torch.from_numpy(images).to(self._labels.device)
        exact = True
        for index, tables in enumerate(self._tables):
            if len(tables) == 1:
                continue
            if prod(map(len, tables)) <= _COMBINATIONS:
                self._try_all(index, tables, rows)
                continue
            exact = False
            for _ in range(_ROUNDS):
                gained = [self._compete(index, place, table, 0, rows) for place, table in enumerate(tables)]
                if not any(gained):
                    break
        return exact

    def worst(self) -> np.ndarray:
        """The prompts of each image, ``(N, K)``, each the texts of a class."""
        found = np.empty((len(self._labels), len(self.prompts)), dtype=object)
        for index, (texts, chosen) in enumerate(zip(self.texts, self.chosen, strict=True)):
            picks = torch.stack(chosen, dim=1).tolist()
            for row, numbers in enumerate(picks):
                found[row, index] = tuple(options[number] for options, number in zip(texts, numbers, strict=True))
        return found

    def _sign(self, index: int, rows: Tensor) -> Tensor:
        """Which way the score of a class is to go: 1 up, -1 down."""
        lowered = (self._labels[rows] == index) != self._targeted
        return 1 - 2 * lowered.double()

    def _compete(self, index: int, place: int, table: Tensor, first: int, rows: Tensor) -> bool:
        """Let the texts with these embeddings, numbers ``first`` and on, take a place; whether one has."""
        images = self._images[rows]
        products = images @ table.T
        if len(self.prompts[index]) > 1:
            rest = torch.zeros_like(images)
            for other, (embeddings, chosen) in enumerate(zip(self._tables[index], self.chosen[index], strict=True)):
                if other != place:
                    rest += embeddings[chosen[rows]]
            lengths = rest.square().sum(dim=1, keepdim=True) + 2 * rest @ table.T + 1
            products = (products + (images * rest).sum(dim=1, keepdim=True)) / lengths.clamp_min(1e-24).sqrt()
        return self._keep(index, rows, products, lambda numbers: {place: first + numbers})

    def _try_all(self, index: int, tables: Sequence[Tensor], rows: Tensor) -> None:
        numbers = torch.cartesian_prod(*(torch.arange(len(table), device=table.device) for table in tables))
        sums = sum(table[numbers[:, place]] for place, table in enumerate(tables))
        products = self._images[rows] @ F.normalize(sums, dim=-1).T  # type: ignore[arg-type]
        self._keep(index, rows, products, lambda picks: dict(enumerate(numbers[picks].T)))

    def _keep(
        self, index: int, rows: Tensor, products: Tensor, places_of: Callable[[Tensor], dict[int, Tensor]]
    ) -> bool:
        """Take the best of cosines ``[R, U]`` where it is better than what an image has."""
        sign = self._sign(index, rows)
        best, number = (sign[:, None] * products).max(dim=1)
        better = best > sign * self._cosines[rows, index] + _NOTICEABLE
        won = rows[better]
        self._cosines[won, index] = (sign * best)[better]
        for place, numbers in places_of(number[better]).items():
            self.chosen[index][place][won] = numbers
        return bool(len(won))
