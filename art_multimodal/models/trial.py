"""The last line of defence in loading: a trial of the model, and errors of libraries as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from art_multimodal.errors import InputError, one_line
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.shown import shown


@contextmanager
def refusing(source: str) -> Iterator[None]:
    """Whatever a library makes of a damaged checkpoint comes out as one line.

    :param source: What is loaded.
    :raises InputError: For every other exception, and for the panics of libraries written in Rust.
    """
    try:
        yield
    except InputError as error:
        # Names and settings of the checkpoint stand in these, too.
        if shown(error) == str(error):
            raise
        raise InputError(shown(error)) from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise InputError(
            f"{shown(source)[:300]} cannot be loaded ({type(error).__name__}: {one_line(error)}). Is the checkpoint "
            "complete and unchanged?"
        ) from error


@torch.no_grad()
def check_answers(model: DualEncoder | FusionModel, source: str) -> None:
    """Let a loaded model answer about a grey picture and a word: what does not fit together shows now, not in a run.

    :param source: What was loaded.
    :raises InputError: If it cannot, or the scores are no numbers.
    """
    images = torch.full((1, len(model.preprocess.mean), *model.image_size), 0.5)
    try:
        scores = model(images, model.tokenize(["a"]))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The parts of {shown(source)[:300]} do not fit together: a grey picture and the text 'a' give "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    if not scores.isfinite().all():
        raise InputError(
            f"{shown(source)[:300]} gives scores that are no numbers (NaN or infinite) to a grey picture and the text "
            "'a'. Are its weights or its configuration damaged?"
        )
