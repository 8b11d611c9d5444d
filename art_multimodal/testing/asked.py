"""What contracts of models share: a copy in float64, what asking leaves behind, copies and files."""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError, one_line
from art_multimodal.models.base import Model
from art_multimodal.models.saving import check_can_be_saved, load_saved_model, save_model
from art_multimodal.testing.comparing import ModelState, ProcessState, same, unequal
from art_multimodal.testing.contract import NotChecked

#: Texts of different lengths.
TEXTS = ("a cat", "red", "what is this?", "two small birds on a hill")
#: Words of other scripts, an emoji, and a letter with its mark apart: each by itself fits into a short context.
OTHER_SCRIPTS = ("na\u00efve", "\u65e5\u672c", "\U0001f642", "e\u0301")


class Asked:
    """A model that is asked, in evaluation mode.

    :param model: The user's; its modes come back when a check ends.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model
        #: As it was before anything was asked.
        self.before = ModelState.of(model)

    @cached_property
    def double(self) -> Any:
        """A copy of the model in float64.

        :raises NotChecked: If there is none.
        """
        try:
            return copy.deepcopy(self.model).double().eval()
        except Exception as error:
            raise NotChecked(f"no copy in float64 can be made ({type(error).__name__}: {one_line(error)})") from error

    def left_behind(self, ask: Callable[[Any], Any], *inputs: Any) -> Iterator[str]:
        """Yield what is not as it was after the model has been asked, in either mode.

        :param ask: Asks a model about the inputs.
        """
        given = [copy.deepcopy(one) for one in inputs]
        of_process = ProcessState.now()
        ask(self.model)
        yield from self.before.changes(self.model)
        yield from of_process.changes()
        try:
            training = copy.deepcopy(self.model).train()
        except Exception:  # which is a property of its own
            training = None
        if training is not None:
            before = ModelState.of(training)
            ask(training)
            # Batch normalisation goes by the batch, and dropout draws.
            yield from (f"in training {said}" for said in before.changes(training) if "buffer" not in said)
        for number, (one, old) in enumerate(zip(inputs, given, strict=True)):
            if not equal(one, old):
                yield f"input {number} was changed in place."
            elif wants_gradients(one) != wants_gradients(old):
                yield f"requires_grad of input {number} was changed."

    def wrong_copies(self, ask: Callable[[Any], Tensor]) -> Iterator[str]:
        """Yield how copies of the model, by ``copy.deepcopy`` and by pickle, answer otherwise.

        :param ask: Maps a model to what it says.
        """
        with torch.no_grad():
            wanted = ask(self.model)
            for how, make in (
                ("copy.deepcopy", copy.deepcopy),
                ("pickle", lambda model: pickle.loads(pickle.dumps(model))),  # noqa: S301 - the user's own model
            ):
                try:
                    made = make(self.model)
                except Exception as error:
                    yield f"{how} fails with {type(error).__name__}: {one_line(error)}."
                    continue
                yield from (f"after {how} {said}" for said in unequal(ask(made), wanted, "row", 1e-6))
                for one, other in zip(made.parameters(), self.model.parameters(), strict=False):
                    if one.data_ptr() == other.data_ptr() and one.numel():
                        yield f"{how} shares weights with the model."
                        break

    def wrong_saved(self, ask: Callable[[Any], Tensor]) -> Iterator[str]:
        """Yield how the model that was saved and loaded answers otherwise.

        :param ask: Maps a model to what it says.
        :raises NotChecked: If there is no format for it.
        """
        if not isinstance(self.model, Model):
            raise NotChecked("it is saved as part of a model")
        try:
            check_can_be_saved(self.model)
        except InputError as error:
            raise NotChecked(str(error)) from None
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            save_model(self.model, Path(folder) / "model")
            loaded = load_saved_model(Path(folder) / "model").eval()
            yield from (f"after loading {said}" for said in unequal(ask(loaded), ask(self.model), "row", 1e-6))


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; each module then has its own mode back."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def cut_silently(tokenize: Callable[[list[str]], Any], words: int) -> Iterator[str]:
    """Yield that a text is cut without a word: two texts that differ in their last word only have the same tokens.

    :param tokenize: Maps texts to tokens, or raises :class:`InputError` for one that is too long.
    :param words: More than the longest text that fits.
    """

    def fits(count: int) -> bool:
        try:
            tokenize([_text(count, "dog")])
        except InputError:
            return False
        return True

    low, high = 0, words
    if not fits(high):
        # The longest that fits, by halves.
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
    for count in sorted({low, high} - {0}):
        if not fits(count):
            continue
        one, other = (tokenize([_text(count, last)]) for last in ("dog", "red"))
        if equal(one, other):
            yield f"a text of {count} words has the same tokens with another last word: it is cut without a word."
            return


def _text(words: int, last: str) -> str:
    return " ".join(["a"] * (words - 1) + [last])


def wants_gradients(of: Any) -> bool:
    """Whether a tensor, or one of a dictionary of them, takes gradients."""
    if isinstance(of, dict):
        return any(wants_gradients(one) for one in of.values())
    return isinstance(of, Tensor) and of.requires_grad


def equal(one: Any, other: Any) -> bool:
    """Whether tensors, arrays, or dictionaries of them are equal bit by bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and same(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if getattr(one, "dtype", None) is not None:
        return one.tobytes() == other.tobytes() if not one.dtype.hasobject else bool((one == other).all())
    return bool(one == other)
