"""Faults planted in defences that compute at test time: each is found by the property that is meant for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from testing.planted import Fault
from torch import Tensor

from art_multimodal.defences.test_time import Passes, TestTimeDefence
from art_multimodal.defences.test_time.contract import drawn
from art_multimodal.testing import check_test_time_defence
from art_multimodal.testing.at_test_time import TEST_TIME_DEFENCE


class Noise(TestTimeDefence):
    """Random noise on the image, and an alarm that says how bright it is: a defence without a fault."""

    random = True
    has_alarm = True
    sigma = 0.1

    def passes(self) -> Passes:
        return Passes(1)

    def changed(self, images: Tensor, generators: Sequence[Any]) -> Tensor:
        return (images + self.sigma * drawn(generators, images)).clamp(0, 1)

    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        seen = self.transformed(images, self.changed(images, generators))
        return bare.logits(bare.embed(seen), classes)

    def alarm(self, bare: Any, images: Tensor, classes: Tensor) -> Tensor:
        return images.flatten(1).mean(dim=1) - 0.5


class Darker(TestTimeDefence):
    """Every image a little darker: one without random draws."""

    def passes(self) -> Passes:
        return Passes(1)

    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        return bare.logits(bare.embed(self.transformed(images, 0.9 * images)), classes)


class OneAnswerForAll(Noise):
    def one_answer(self, *given: Any) -> Tensor:
        return super().one_answer(*given)[:1]


class NotDerived:
    def __init__(self) -> None:
        self.random = False


class UnseededNoise(Noise):
    def changed(self, images: Tensor, generators: Sequence[Any]) -> Tensor:
        return images + torch.from_numpy(np.random.default_rng().uniform(-0.1, 0.1, images.shape)).to(images)


class Ageing(Darker):
    """Darker from call to call."""

    calls = 0

    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        type(self).calls += 1
        return super().one_answer(bare, images * (1 - 1e-4 * (self.calls % 7)), classes, generators)


class MeanOfTheBatch(Darker):
    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        return super().one_answer(bare, 0.99 * images + 0.01 * images.mean(dim=0), classes, generators)


class OneDrawForAll(Noise):
    """The first image's generator draws for the batch."""

    def changed(self, images: Tensor, generators: Sequence[Any]) -> Tensor:
        noise = torch.rand(images.shape, generator=generators[0], dtype=torch.float64).to(images)
        return (images + self.sigma * noise).clamp(0, 1)


class DrawsOfTheSeed(Noise):
    """Whoever knows the seed knows the noise of every image."""

    def generators(self, images: Tensor, number: int = 0) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(self.seed + number) for _ in images]


class SaysItIsNotRandom(Noise):
    random = False

    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        return super().one_answer(bare, images, classes, self.generators(images))


class SaysItIsRandom(Darker):
    random = True


class OneDrawHoweverMany(Noise):
    def scores(self, bare: Any, images: Tensor, classes: Tensor) -> Tensor:
        return self.one_answer(bare, images, classes, self.generators(images))


class SameAgain(Noise):
    def asked_again(self, number: int) -> Any:
        return self.with_params(draws=1)


class Unchecked(Noise):
    def _check_params(self) -> None:
        pass


class Unlisted(Noise):
    defence_params = ["gradient", "softness"]

    def with_params(self, **changes: Any) -> Any:
        return super().with_params(**{name: of for name, of in changes.items() if name in self.defence_params})

    def asked_again(self, number: int) -> Any:
        return self


class SharedByCopies(Darker):
    """With other parameters it is the same defence."""

    def with_params(self, **changes: Any) -> Any:
        self.set_params(**changes)
        return self


class HalfSet(Noise):
    """What is refused stays set."""

    def set_params(self, **changes: Any) -> None:
        vars(self).update(changes)
        super().set_params(**changes)


class Unclamped(Noise):
    sigma = 0.6

    def changed(self, images: Tensor, generators: Sequence[Any]) -> Tensor:
        return images + self.sigma * drawn(generators, images)


class OverTheDeviation(Darker):
    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        spread = images.flatten(1).std(dim=1).view(-1, 1, 1, 1)
        return super().one_answer(bare, (images / spread * spread).clamp(0, 1), classes, generators)


class OnePassMore(Darker):
    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        bare.embed(images)
        return super().one_answer(bare, images, classes, generators)


class StepsUncounted(Darker):
    """A gradient step, of which passes() says nothing."""

    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        slope = self.gradient_of(lambda at: bare.logits(bare.embed(at), classes).logsumexp(dim=1), images)
        return super().one_answer(bare, (images + 1e-3 * slope).clamp(0, 1), classes, generators)


class TextsUncounted(Darker):
    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        bare.dual_encoder.encode_text(bare.head.tokens)
        return super().one_answer(bare, images, classes, generators)


class Detached(Darker):
    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        return super().one_answer(bare, images.detach(), classes, generators)


class HalfDetached(Darker):
    """A gradient that is too short: nothing that looks for zeros sees it."""

    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        return super().one_answer(bare, images / 2 + images.detach() / 2, classes, generators)


class OthersForAttacks(Darker):
    """Attacks meet another image than everybody else."""

    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        kept = 0.99 if torch.is_grad_enabled() else 1.0
        return super().one_answer(bare, kept * images, classes, generators)


class FirstClassFirst(Darker):
    def one_answer(self, *given: Any) -> Tensor:
        logits = super().one_answer(*given)
        return torch.cat([logits[:, :1] + 1e-3, logits[:, 1:]], dim=1)


class Viewing(Darker):
    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        images.view(len(images), -1)
        return super().one_answer(bare, images, classes, generators)


class Doubled(Darker):
    def one_answer(self, *given: Any) -> Tensor:
        return super().one_answer(*given).double()


class Halved(Darker):
    def one_answer(self, *given: Any) -> Tensor:
        return super().one_answer(*given).float()


class SilentAlarm(Noise):
    """It has an alarm, and does not say so."""

    has_alarm = False


class NoAlarm(Darker):
    """It says that it has an alarm, and has none."""

    has_alarm = True


class AlarmOverTheBatch(Noise):
    def alarm(self, bare: Any, images: Tensor, classes: Tensor) -> Tensor:
        said = super().alarm(bare, images, classes)
        return said - said.mean()


class AlarmOfNoGradient(Noise):
    def alarm(self, bare: Any, images: Tensor, classes: Tensor) -> Tensor:
        return super().alarm(bare, images, classes).sign()


class AlarmForEachPixel(Noise):
    def alarm(self, bare: Any, images: Tensor, classes: Tensor) -> Tensor:
        return images - 0.5


class KeepingTheLast(Darker):
    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        self.last = images.detach()
        return super().one_answer(bare, images, classes, generators)


class SeedingAll(Darker):
    def one_answer(self, *given: Any) -> Tensor:
        torch.manual_seed(self.seed)
        return super().one_answer(*given)


class LeftInTraining(Darker):
    def one_answer(self, bare: Any, *given: Any) -> Tensor:
        logits = super().one_answer(bare, *given)
        bare.dual_encoder.train()
        return logits


class TuningForGood(Darker):
    """A step on the weights that nobody takes back."""

    def one_answer(self, bare: Any, *given: Any) -> Tensor:
        bare.dual_encoder.visual.projection.weight.data.mul_(1 + 1e-9)
        return super().one_answer(bare, *given)


class InPlace(Darker):
    def one_answer(self, bare: Any, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        with torch.no_grad():
            classes.mul_(1 + 1e-6)
        return super().one_answer(bare, images, classes, generators)


class WithALambda(Darker):
    def __init__(self) -> None:
        super().__init__()
        self.change = lambda images: images


class LosingAParameter(Noise):
    """A copy begins with the seed that everybody has."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__(seed)

    def __reduce__(self) -> Any:
        return type(self), (0,)


DEFENCES: list[tuple[str, type]] = [
    ("works", OneAnswerForAll),
    ("works", NotDerived),
    ("repeatable", UnseededNoise),
    ("repeatable", Ageing),
    ("batch-independence", MeanOfTheBatch),
    ("batch-independence", OneDrawForAll),
    ("draws", DrawsOfTheSeed),
    ("draws", SaysItIsNotRandom),
    ("draws", SaysItIsRandom),
    ("draws", OneDrawHoweverMany),
    ("draws", SameAgain),
    ("parameters", Unchecked),
    ("parameters", Unlisted),
    ("parameters", SharedByCopies),
    ("parameters", HalfSet),
    ("range", Unclamped),
    ("borders", OverTheDeviation),
    ("passes", OnePassMore),
    ("passes", StepsUncounted),
    ("passes", TextsUncounted),
    ("gradient", Detached),
    ("gradient", HalfDetached),
    ("gradient", OthersForAttacks),
    ("class-order", FirstClassFirst),
    ("memory-layout", Viewing),
    ("dtypes", Doubled),
    ("dtypes", Halved),
    ("alarm", SilentAlarm),
    ("alarm", NoAlarm),
    ("alarm", AlarmOverTheBatch),
    ("alarm", AlarmOfNoGradient),
    ("alarm", AlarmForEachPixel),
    ("leaves-no-trace", KeepingTheLast),
    ("leaves-no-trace", SeedingAll),
    ("leaves-no-trace", LeftInTraining),
    ("leaves-no-trace", TuningForGood),
    ("leaves-no-trace", InPlace),
    ("copies", WithALambda),
    ("copies", LosingAParameter),
]


def _planted(name: str, kind: type) -> Fault:
    return Fault(TEST_TIME_DEFENCE, name, kind.__name__, lambda: check_test_time_defence(kind()))


FAULTS = [_planted(*one) for one in DEFENCES]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_found(fault: Fault) -> None:
    fault.is_found()


def test_defences_without_a_fault() -> None:
    assert not check_test_time_defence(Noise()).skipped
    assert set(check_test_time_defence(Darker()).skipped) == {"alarm"}
