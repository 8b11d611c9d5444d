"""A model that only answers: a function from images, or from images and texts, to scores or labels.

Nothing is known of it but its answers: no weights, no gradients. A model behind an API is such a function.
"""

from __future__ import annotations

import hashlib
import inspect
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError, check_count, one_line
from art_multimodal.modalities import Modality, image, text
from art_multimodal.models.base import Model
from art_multimodal.models.preprocessing import check_sides
from art_multimodal.shown import brief, quoted, shown
from art_multimodal.texts import as_texts

if TYPE_CHECKING:
    from PIL.Image import Image

#: What answers are.
SCORES, LABELS = "scores", "labels"
#: Longest time limit, in seconds: a day.
_LONGEST = 86_400.0


@dataclass(frozen=True)
class Limits:
    """How a function may be asked.

    >>> Limits.parse("batch=8,rate=5,timeout=30").batch
    8

    :param batch: Most images in one call; ``None`` for as many as there are.
    :param rate: Most images per second; ``None`` for no limit.
    :param timeout: Seconds after which a call is given up, in (0, 86400].
    :param size: Length of the sides that larger photos are reduced to as they are read; ``None`` leaves them.
    :raises InputError: Naming the first that cannot be used.
    """

    batch: int | None = None
    rate: float | None = None
    timeout: float = 60.0
    size: int | None = None

    def __post_init__(self) -> None:
        check_count("batch", self.batch)
        if self.size is not None:
            check_sides([self.size], "size")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise InputError(f"rate is a number of images per second, greater than 0, not {self.rate:g}.")
        if not 0 < self.timeout <= _LONGEST:
            raise InputError(f"timeout is a number of seconds in (0, {_LONGEST:g}], not {self.timeout:g}.")

    @classmethod
    def parse(cls, text: str) -> Limits:
        """Read ``"batch=8,rate=5,timeout=30,size=224"``.

        :raises InputError: If it is something else.
        """
        kinds: dict[str, Any] = {"batch": int, "rate": float, "timeout": float, "size": int}
        found: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name, _, value = (one.strip() for one in part.partition("="))
            if name not in kinds or name in found:
                said = "is given twice" if name in found else f"is none of {', '.join(kinds)}"
                raise InputError(f"Behind a function {quoted(part, 60)} {said}. Write it as batch=8,rate=5,timeout=30.")
            try:
                found[name] = kinds[name](value)
            except ValueError:
                raise InputError(f"{name}={shown(value)[:40]} is no number. Write it as {name}=8.") from None
        return cls(**found)


class _Asked(nn.Module):
    """Every image that is asked about passes it, so that whoever counts what a model is asked counts here, too."""

    def __init__(self, size: int | None) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        return images

    def reduce_photo(self, photo: Image) -> Image:
        """Bring a photo larger than ``size`` to it: the shorter side, then the middle; others stay as they are."""
        if self.size is None or min(photo.size) <= self.size:
            return photo
        from torchvision.transforms.functional import center_crop, resize

        return center_crop(resize(photo, [self.size]), [self.size, self.size])


class AnsweringModel(Model):
    """A function as a model: asked in batches, not too often, not for too long, and every answer is checked.

    >>> def brightness(images):
    ...     return (images.mean(axis=(1, 2, 3)) > 0.5).astype(int)
    ...
    >>> model = AnsweringModel(brightness, Limits(batch=4))
    >>> model.ask(np.ones((6, 3, 32, 32), np.float32), None, ["dark", "bright"]).shape
    (6, 2)

    :param function: Maps images, float32 ``(N, 3, H, W)`` in [0, 1], to labels ``(N,)``, as whole numbers or as names
        of classes, or to scores ``(N, K)``, larger for what is likelier. With two parameters it is asked about images
        and a list of ``N`` texts. It gets arrays that are its own, of one size in each call.
    :param limits: How it may be asked.
    :param name: What it is called in errors.
    :param source: What its code is known by, so that a run that is resumed notices another one; its file by default.
    :raises InputError: If it is no function of one or two parameters.
    """

    kind = "function that answers"
    why_unsaved = "It is a function of your own, and code is never saved."

    def __init__(
        self,
        function: Callable[..., Any],
        limits: Limits | None = None,
        name: str = "the function",
        source: bytes | None = None,
    ) -> None:
        super().__init__()
        self._function, self.limits, self.name = function, limits or Limits(), name
        self.takes_texts = parameters_of(function, name) == 2
        self.preprocess = _Asked(self.limits.size)
        self.source_sha256 = hashlib.sha256(_source_of(function) if source is None else source).hexdigest()
        #: What the answers have been so far; ``None`` before the first.
        self.answers: str | None = None
        #: Where time comes from, and how it is waited for.
        self.clock: Callable[[], float] = time.monotonic
        self.sleep: Callable[[float], None] = time.sleep
        self._free_from = -float("inf")

    @property
    def modalities(self) -> dict[str, Modality]:
        """What samples consist of: an image, and perhaps a text."""
        return {"image": image("image", 3), **({"text": text("text")} if self.takes_texts else {})}

    def tokenize(self, texts: Sequence[str]) -> list[str]:
        """Texts as they are: what the function makes of them is its own affair."""
        return as_texts(texts)

    def ask(self, images: np.ndarray, texts: Sequence[str] | None, class_names: Sequence[str]) -> np.ndarray:
        """Ask about some images.

        :param images: Shape ``(N, 3, H, W)`` in [0, 1].
        :param texts: One for each image, where the function takes texts.
        :param class_names: Of the ``K`` classes, in order.
        :return: Scores ``(N, K)``, float32; of labels the rows of the identity.
        :raises InputError: If the function raises, takes too long, or answers something that cannot be used. The number
            of images that the answer was about is counted all the same.
        """
        most = self.limits.batch or max(1, len(images))
        parts = []
        for start in range(0, len(images), most):
            rows = slice(start, start + most)
            # Copies, which the function may keep or write to.
            part = np.array(images[rows], dtype=np.float32)
            self.preprocess(torch.from_numpy(part))
            given = (part,) if texts is None else (part, [str(one) for one in texts[rows]])
            self._wait(len(part))
            parts.append(self._checked(self._called(*given), len(part), class_names))
        return np.concatenate(parts) if parts else np.zeros((0, len(class_names)), dtype=np.float32)

    def _wait(self, count: int) -> None:
        if self.limits.rate is None:
            return
        now = self.clock()
        if self._free_from > now:
            self.sleep(self._free_from - now)
        self._free_from = max(now, self._free_from) + count / self.limits.rate

    def _called(self, *given: Any) -> Any:
        # A thread that nobody waits for in the end: what does not come back must not keep the process alive.
        answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

        def call() -> None:
            try:
                with torch.no_grad():
                    answers.put((True, self._function(*given)))
            except BaseException as error:  # also SystemExit: it is the function's end, not that of the audit
                answers.put((False, error))

        threading.Thread(target=call, daemon=True, name="asked").start()
        try:
            fine, answer = answers.get(timeout=self.limits.timeout)
        except queue.Empty:
            raise InputError(
                f"{shown(self.name)} did not answer within {self.limits.timeout:g} s about {len(given[0])} images. "
                "Give it more time (timeout=) or fewer images at once (batch=). What was finished is kept."
            ) from None
        if not fine:
            said = one_line(answer)
            raise InputError(
                f"{shown(self.name)} ends with {type(answer).__name__}{': ' if said else ''}{said}. What was finished "
                "is kept."
            ) from answer
        return answer

    def _checked(self, answer: Any, count: int, class_names: Sequence[str]) -> np.ndarray:
        found = _as_array(answer)
        kind = LABELS if found is not None and found.ndim == 1 else SCORES
        scores = None if found is None else (_of_labels if kind == LABELS else _of_scores)(found, count, class_names)
        if isinstance(scores, str) or scores is None:
            what = scores or f"something of type {type(answer).__name__}"
            raise InputError(
                f"{shown(self.name)} must answer {count} images with {count} labels, or with scores of shape "
                f"({count}, {len(class_names)}); it gave {what}."
            )
        if self.answers not in (None, kind):
            raise InputError(f"{shown(self.name)} answers with {kind} now, and with {self.answers} before: decide.")
        self.answers = kind
        return scores


def parameters_of(function: Any, name: str) -> int:
    """How many arguments a function has to be given.

    :raises InputError: If these are more than two, or none; or it is no function.
    """
    if not callable(function):
        raise InputError(f"{shown(name)} is no function, but {type(function).__name__}.")
    count = required_parameters(function)
    if count not in (1, 2):
        raise InputError(f"{shown(name)} takes {count} arguments: a model takes images, or images and texts.")
    return count


def required_parameters(function: Callable[..., Any]) -> int:
    """How many positional arguments must be given; 1 where nobody can tell, as of functions that are written in C."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = sum(one.kind in positional and one.default is inspect.Parameter.empty for one in parameters)
    return named or int(any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters))


def _source_of(function: Any) -> bytes:
    """The text of the file that a function stands in, or what it is called."""
    try:
        return Path(inspect.getfile(inspect.unwrap(function))).read_bytes()
    except (TypeError, OSError):
        kind = function if hasattr(function, "__qualname__") else type(function)
        return f"{kind.__module__}.{kind.__qualname__}".encode()


def _as_array(answer: Any) -> np.ndarray | None:
    """An answer as an array; ``None`` for what is none."""
    if isinstance(answer, Tensor):
        return answer.detach().cpu().float().numpy() if answer.is_floating_point() else answer.detach().cpu().numpy()
    try:
        found = np.asarray(answer)
    except Exception:
        return None
    if found.dtype == object and all(isinstance(one, str) for one in found.flat):
        found = found.astype(str)
    return found if found.ndim and found.dtype.kind in "iufUb" else None


def _of_labels(found: np.ndarray, count: int, class_names: Sequence[str]) -> np.ndarray | str:
    """The rows of the identity for labels, or what is wrong with them."""
    if len(found) != count:
        return f"{len(found)} labels"
    if found.dtype.kind == "U":
        places = {name: place for place, name in reversed([*enumerate(class_names)])}
        if strange := [str(one) for one in found if one not in places]:
            return f"the label {quoted(strange[0], 60)}, none of {brief(', '.join(class_names), 120)}"
        found = np.array([places[one] for one in found], dtype=np.int64)
    if found.dtype.kind not in "iu":
        return f"labels of type {found.dtype}, which are no whole numbers"
    if count and not (found.min() >= 0 and found.max() < len(class_names)):
        wrong = next(_outside(found, len(class_names)))
        return f"the label {wrong}; there are {len(class_names)} classes, from 0 on"
    return np.eye(len(class_names), dtype=np.float32)[found]


def _outside(found: np.ndarray, count: int) -> Iterator[int]:
    return (int(one) for one in found if not 0 <= one < count)


def _of_scores(found: np.ndarray, count: int, class_names: Sequence[str]) -> np.ndarray | str:
    """Scores as float32, or what is wrong with them."""
    if found.shape != (count, len(class_names)) or found.dtype.kind not in "iuf":
        return f"an array of shape {found.shape}, type {found.dtype}"
    with np.errstate(over="ignore"):
        scores = found.astype(np.float32)
    return scores if np.isfinite(scores).all() else "scores that are NaN or infinite"
