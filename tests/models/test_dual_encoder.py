"""What every dual encoder does with texts, whatever its tokenizer does where it cuts."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing

CONTEXT, PAD, START, END = 6, 0, 1, 2


class Letters(DualEncoder):
    """One token per letter, between a start token and ``end``; a text that is cut ends in ``end``, too."""

    def __init__(self, end: list[int]) -> None:
        super().__init__(ImagePreprocessing((4, 4), (0.5,) * 3, (0.5,) * 3), context_length=CONTEXT, pad_id=PAD)
        self.end = end
        self.embedding = nn.Embedding(200, 3)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        rows = [[START, *map(ord, text)][: length - len(self.end)] + self.end for text in texts]
        return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens).sum(dim=1)


@pytest.mark.parametrize("end", [[END], [PAD], []], ids=["an end token", "padding as the end token", "no end token"])
def test_a_text_fits_or_is_refused(end):
    encoder = Letters(end)
    longest = CONTEXT - 1 - len(end)
    for length in range(1, 3 * CONTEXT):
        text = "x" * length
        if length <= longest:
            row = [START, *[ord("x")] * length, *end]
            assert encoder.tokenize(["y", text])[1].tolist() == row + [PAD] * (CONTEXT - len(row))
        else:
            with pytest.raises(
                InputError, match=rf"more than the {CONTEXT} tokens .* '{text}' \({length} characters\)"
            ):
                encoder.tokenize(["y", text, "z"])


def test_a_long_text_is_shortened_in_the_message():
    with pytest.raises(InputError, match=re.escape(f"'{'x' * 60}'... (1000 characters)")):
        Letters([END]).tokenize(["x" * 1000])


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_an_empty_text_is_refused(text):
    with pytest.raises(InputError, match="empty"):
        Letters([END]).tokenize(["x", text])


@pytest.mark.parametrize(("text", "kind"), [(None, "NoneType"), (3, "int"), (b"x", "bytes")])
def test_what_is_not_a_text_is_refused(text, kind):
    with pytest.raises(InputError, match=f"must be a string, not {kind}"):
        Letters([END]).tokenize(["x", text])


def test_embeddings_have_unit_length_unless_asked_otherwise():
    encoder = Letters([END])
    tokens = encoder.tokenize(["x", "yz"])
    raw = encoder.encode_text(tokens, normalize=False)
    torch.testing.assert_close(raw, encoder.text_tower(tokens))
    torch.testing.assert_close(encoder.encode_text(tokens), raw / raw.norm(dim=1, keepdim=True))
