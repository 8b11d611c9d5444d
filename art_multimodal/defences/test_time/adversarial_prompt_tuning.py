"""Test-time adversarial prompt tuning (TAPT): its objective, with statistics of the user's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from art_multimodal.defences.test_time.contract import Passes, TestTimeDefence, entropies, number_between, whole_number
from art_multimodal.defences.test_time.layer_statistics import LayerStatistics, layers_of
from art_multimodal.defences.test_time.prompt_tuning import TunablePrompts, check_own_prompts, logits_of_views
from art_multimodal.defences.test_time.views import cropped, uniform
from art_multimodal.estimators.test_time import BareModel
from art_multimodal.models.saving import weights_sha256
from art_multimodal.shown import brief


class TestTimeAdversarialPromptTuning(TestTimeDefence):
    """Tune prompts of both towers for each image, on views of it, towards the statistics of clean images (TAPT).

    Of ``views`` views, the image among them, the share ``selected`` with the lowest entropies counts. One step of
    AdamW lowers ``entropy + alpha * d(robust) + (1 - alpha) * d(clean)``: the entropy of their mean probability
    (equation 3), and the l_1 distances of mean and variance of the states in each layer, averaged over layers, from
    two sets of statistics (equations 6 to 8). The image is then classified with the tuned prompts.

    **The objective of TAPT, and not its results.** The paper starts from prompts that were trained against attacks on
    ImageNet for 100 epochs, and computes both sets of statistics there, under these and under cleanly trained prompts.
    Here the words of the prompts start as they are, and states that are added to those of the image as the mean first
    state of clean images; statistics are those that the user gives. Without ``robust`` there is one set, and the
    objective is that of PromptAlign (arXiv:2311.01459).

    Chosen here, since the paper leaves it open: statistics go over views and states of the image, and not over its
    class state alone; states are added in front of the first layer alone; crops have at least half of the area; AdamW's
    decay of weights is left out, and its first step is the sign of the gradient times ``lr``.

    The text tower must be causal and the image tower one whose layers are known, as those of open_clip's CLIPs are.

    | Paper link: https://arxiv.org/abs/2411.13136

    >>> from art_multimodal.defences.test_time import LayerStatistics
    >>> defence = TestTimeAdversarialPromptTuning(LayerStatistics.of(classifier, images), views=4, selected=0.5)
    >>> classifier.with_test_time_defence(defence).predict(images[:1]).shape
    (1, 10)
    """

    defence_params = ["views", "smallest", "selected", "prompts", "alpha", "lr", *TestTimeDefence.defence_params]
    random = True

    def __init__(
        self,
        clean: LayerStatistics,
        robust: LayerStatistics | None = None,
        views: int = 64,
        smallest: float = 0.5,
        selected: float = 0.1,
        prompts: int = 2,
        alpha: float = 0.5,
        lr: float = 5e-4,
        seed: int = 0,
        draws: int = 1,
        gradient: str = "unrolled",
        softness: float = 0.5,
    ) -> None:
        """
        :param clean: Statistics of clean images.
        :param robust: Those of a model, or under prompts, that were trained against attacks; default ``clean``.
        :param views: Number of views, the image itself among them; others are random crops, half of them mirrored.
        :param smallest: Least area of a crop, as a share of the image's.
        :param selected: Share of the views that count; at least one.
        :param prompts: Number of states that are added to those of the image.
        :param alpha: Share of ``robust``.
        :param lr: Length of the step.
        """
        super().__init__(seed, draws, gradient, softness)
        self.clean, self.robust = clean, clean if robust is None else robust
        self.views, self.smallest, self.selected = views, smallest, selected
        self.prompts, self.alpha, self.lr = prompts, alpha, lr
        self._check_params()

    def passes(self) -> Passes:
        return Passes(2 * self.views + 1, self.views, 2, 1)

    def check(self, bare: BareModel) -> None:
        TunablePrompts.of(bare.head)
        for statistics in (self.clean, self.robust):
            statistics.check_fits(bare.dual_encoder)

    def notes(self, bare: BareModel) -> tuple[str, ...]:
        # Those of another model, under attack, are meant to be another's.
        own = weights_sha256(bare.dual_encoder)
        if self.clean.weights_sha256 in ("", own):
            return ()
        name = brief(self.clean.model or "a model without a name", 80)
        return (f"the clean statistics of TAPT are of {name}, with other weights than those of this model",)

    def one_answer(
        self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        words = TunablePrompts.of(bare.head)
        check_own_prompts(bare, classes)
        views = [images]
        for _ in range(self.views - 1):
            view = cropped(images, self.smallest, generators)
            mirrored = torch.tensor([uniform(generator, 0, 1) < 0.5 for generator in generators], device=view.device)
            views.append(self.transformed(images, torch.where(mirrored[:, None, None, None], view.flip(-1), view)))
        seen = torch.cat(views)
        first = self.clean.first.to(images).expand(len(images), self.prompts, -1)
        added = words.zeros(len(images), like=images)
        number = max(1, int(self.selected * self.views))
        features = self._passed(bare, seen, first)[0]
        weights = self.lowest(entropies(logits_of_views(bare, features, classes)), number) / number

        def parts(flat: Tensor) -> tuple[Tensor, Tensor]:
            return flat[:, : first[0].numel()].view_as(first), flat[:, first[0].numel() :].view_as(added)

        def lowered(flat: Tensor) -> Tensor:
            states, moved = parts(flat)
            # Whoever counts passes with a gradient sees it by the images.
            pictures = seen if seen.requires_grad else seen.detach().requires_grad_(True)
            features, layers = self._passed(bare, pictures, states)
            logits = logits_of_views(bare, features, words.class_features(moved))
            mean = (weights[:, :, None] * logits.softmax(dim=-1)).sum(dim=1).clamp_min(torch.finfo(logits.dtype).tiny)
            return -(mean * mean.log()).sum(dim=1) + self._distance(layers, weights, number)

        # A step depends on the images by way of its gradient, whatever stands at its beginning.
        flat = torch.cat([first.flatten(1), added.flatten(1)], dim=1) + 0 * images.flatten(1).sum(dim=1, keepdim=True)
        tuned = flat - self.lr * self.sign(self.gradient_of(lowered, flat))
        states, moved = parts(tuned)
        return bare.logits(self._passed(bare, images, states)[0][:, 0], words.class_features(moved))

    def _passed(self, bare: BareModel, views: Tensor, added: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features ``[N, V, D]`` of views ``[V * N, C, H, W]`` with states ``[N, S, W]`` added, and states of layers.

        These are ``[N, V, T, W]``, without the states that were added.
        """
        encoder, count = bare.dual_encoder, len(added)
        tower = layers_of(encoder)
        own = tower.embed(encoder.pixels(views))
        for statistics in (self.clean, self.robust):
            statistics.check_shape(len(tower.layers), own.shape[-1])
        number = len(own) // count
        states, layers = torch.cat([own, added.to(own.dtype).repeat(number, 1, 1)], dim=1), []
        for layer in tower.layers:
            states = layer(states)
            layers.append(states[:, : own.shape[1]].unflatten(0, (number, count)).transpose(0, 1))
        features = tower.project(states[:, : own.shape[1]])
        return features.unflatten(0, (number, count)).transpose(0, 1), layers

    def _distance(self, layers: list[Tensor], weights: Tensor, number: int) -> Tensor:
        """How far mean and variance of states ``[N, V, T, W]`` are from those that are aimed at, ``[N]``."""
        total = weights.new_zeros(len(weights))
        for level, states in enumerate(layers):
            share = weights[:, :, None, None] / states.shape[2]
            mean = (share * states).sum(dim=(1, 2))
            spread = (share * (states - mean[:, None, None]).square()).sum(dim=(1, 2))
            count = number * states.shape[2]
            spread = spread * count / max(1, count - 1)
            for of, part in ((self.robust, self.alpha), (self.clean, 1 - self.alpha)):
                aims = of.means[level].to(mean), of.variances[level].to(mean)
                total = total + part * ((mean - aims[0]).abs() + (spread - aims[1]).abs()).sum(dim=1)
        return total / len(layers)

    def _check_params(self) -> None:
        super()._check_params()
        whole_number(self, "views", 1, 1000)
        number_between(self, "smallest", 0.01, 1)
        number_between(self, "selected", 1e-6, 1)
        whole_number(self, "prompts", 1, 1000)
        number_between(self, "alpha", 0, 1)
        number_between(self, "lr", 0, 100)
