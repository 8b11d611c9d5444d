"""The contract of a dual encoder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.models import checks
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.testing.asked import OTHER_SCRIPTS, TEXTS, Asked, cut_silently, in_evaluation
from art_multimodal.testing.comparing import in_other_memory, not_finite, tolerance, unequal
from art_multimodal.testing.contract import Contract, ContractReport, NotChecked, all_of
from art_multimodal.testing.slopes import wrong_slopes

DUAL_ENCODER = Contract("a dual encoder")


class _Case(Asked):
    """A dual encoder, images and texts."""

    model: DualEncoder

    def images(self, rows: int = 3, more: int = 0) -> Tensor:
        """Random images ``[N, C, H, W]`` from 0.1 to 0.9, higher and wider than the model's own by so many pixels."""
        height, width = self.model.image_size
        generator = torch.Generator().manual_seed(rows + more)
        shape = rows, self.model.preprocess.mean.numel(), height + more, width + 2 * more
        return (0.1 + 0.8 * torch.rand(shape, generator=generator)).to(self.model.device)

    @cached_property
    def tokens(self) -> Tensor:
        return self.tokenize(TEXTS)

    def tokenize(self, texts: object, **settings: bool) -> Tensor:
        return self.model.tokenize(texts, **settings).to(self.model.device)  # type: ignore[arg-type]

    def embedded(self, model: DualEncoder) -> Tensor:
        """Embeddings of images and texts, one below the other, beside those of images their logits."""
        images, texts = model.encode_image(self.images()), model.encode_text(self.tokens)
        logits = model(self.images(), self.tokens).to(images)
        return torch.cat(
            [torch.cat([images, logits], 1), torch.cat([texts, texts.new_zeros(len(texts), len(texts))], 1)]
        )


def check_dual_encoder(model: DualEncoder, but: Mapping[str, str] | None = None) -> ContractReport:
    """Check that a dual encoder keeps its contract.

    >>> report = check_dual_encoder(classifier.dual_encoder)
    >>> "batch-independence" in report.held
    True

    Where :func:`art_multimodal.models.checks.check_dual_encoder` tries a model while it is loaded, in the time of a few
    images, this looks at all properties. The model comes back as it was.

    :param model: In either mode.
    :param but: Names of properties that are not demanded, each with the reason; the report repeats it.
    :return: Which properties hold, and which were not looked at.
    :raises ContractError: With all properties that do not hold.
    """
    with in_evaluation(model):
        return DUAL_ENCODER.check(type(model).__name__, _Case(model), but)


@DUAL_ENCODER.holds(
    "two images and two texts are embedded, and gradients reach the pixels",
    "make this work before anything else",
    gate=True,
)
def _works(case: _Case) -> Iterator[str]:
    try:
        checks.check_dual_encoder(case.model)
    except InputError as error:
        yield str(error)
        return
    # Texts that were embedded without a graph take part in one.
    with torch.no_grad():
        texts = case.model.encode_text(case.tokens)
    with torch.enable_grad():
        images = case.images(2).requires_grad_(True)
        features = case.model.encode_image(images)
        torch.autograd.grad((features @ texts.to(features).T).sum(), images, allow_unused=True)


@DUAL_ENCODER.holds(
    "embeddings are [N, D] and [M, D], logits [N, M], also for one image or text",
    "return one vector for each row, of one length for images and texts; no squeeze() that drops a batch of one",
)
@torch.no_grad()
def _shapes(case: _Case) -> Iterator[str]:
    images, texts = case.model.encode_image(case.images()), case.model.encode_text(case.tokens)
    width = images.shape[-1]
    alone = case.model.encode_image(case.images(1)), case.model.encode_text(case.tokens[:1])
    logits = case.model(case.images(), case.tokens)
    for what, found, wanted in (
        ("encode_image of 3 images", images, (3, width)),
        ("encode_text of 4 texts", texts, (len(TEXTS), width)),
        ("encode_image of one image", alone[0], (1, width)),
        ("encode_text of one text", alone[1], (1, width)),
        ("forward of 3 images and 4 texts", logits, (3, len(TEXTS))),
    ):
        if tuple(found.shape) != wanted:
            yield f"{what} returns {tuple(found.shape)} instead of {wanted}."


@DUAL_ENCODER.holds(
    "with normalize=True every embedding has length 1",
    "divide by the length: F.normalize(features, dim=-1) is the last thing that is done",
)
@torch.no_grad()
def _unit_length(case: _Case) -> Iterator[str]:
    for what, features in (
        ("image", case.model.encode_image(case.images())),
        ("text", case.model.encode_text(case.tokens)),
    ):
        most = tolerance(features.dtype, features.shape[1])
        for row, length in enumerate(features.double().norm(dim=1).tolist()):
            if not abs(length - 1) <= most:
                yield f"the embedding of {what} {row} has length {length:.8g}."


@DUAL_ENCODER.holds(
    "normalize=False changes the length of an embedding, and not its direction",
    "compute features once, and normalise them only where normalize is true",
)
@torch.no_grad()
def _normalize_only_scales(case: _Case) -> Iterator[str]:
    for what, unit, raw in (
        ("image", case.model.encode_image(case.images()), case.model.encode_image(case.images(), normalize=False)),
        ("text", case.model.encode_text(case.tokens), case.model.encode_text(case.tokens, normalize=False)),
    ):
        yield from unequal(F.normalize(raw, dim=-1), unit, what, 10 * tolerance(unit.dtype, unit.shape[1]))


@DUAL_ENCODER.holds(
    "an embedding does not depend on what else is in the batch, or in which order",
    "no layer may mix rows: batch normalisation in evaluation mode, no mean over the batch, padding masked",
)
@torch.no_grad()
def _batch_independence(case: _Case) -> Iterator[str]:
    model, images, tokens = case.double, case.images().double(), case.tokens
    for what, encode, x in (("image", model.encode_image, images), ("text", model.encode_text, tokens)):
        whole = encode(x)
        yield from unequal(torch.cat([encode(x[row : row + 1]) for row in range(len(x))]), whole, f"alone, {what}")
        yield from unequal(encode(x.flip(0)).flip(0), whole, f"in reverse order, {what}")


@DUAL_ENCODER.holds(
    "images have the same embeddings however they lie in memory",
    "reshape() and flatten() instead of view(), which wants neighbours side by side; no as_strided()",
)
@torch.no_grad()
def _memory_layout(case: _Case) -> Iterator[str]:
    images = case.images().double()
    wanted = case.double.encode_image(images)
    for how, other in (
        ("channels last", images.contiguous(memory_format=torch.channels_last)),
        ("transposed", in_other_memory(images)),
    ):
        yield from unequal(case.double.encode_image(other), wanted, f"{how}, image")


@DUAL_ENCODER.holds(
    "tokens of a text do not depend on the others, are padded with pad_id, and end at context_length",
    "tokenise each text by itself, and fill up with pad_id on the right to context_length columns",
)
def _tokens(case: _Case) -> Iterator[str]:
    if not case.model.context_length:
        raise NotChecked("the model does not say how long a text may be (context_length)")
    if case.tokens.shape[1:] != (case.model.context_length,):
        yield f"tokenize returns {tuple(case.tokens.shape)}, where context_length is {case.model.context_length}."
        return
    for row, text in enumerate(TEXTS):
        if not torch.equal(case.tokenize([text])[0], case.tokens[row]):
            yield f"text {row} has other tokens by itself."
    short = case.tokenize(["a"])[0]
    if int(short[-1]) != case.model.pad_id and case.model.context_length > 8:
        yield f"the tokens of the text 'a' end in {int(short[-1])}, where pad_id is {case.model.pad_id}."


@DUAL_ENCODER.holds(
    "a text that is longer than the model reads is refused, never cut without a word",
    "raise InputError in tokenize(); DualEncoder does it if token_ids() cuts to the length that it is given",
)
def _long_texts(case: _Case) -> Iterator[str]:
    yield from cut_silently(case.tokenize, 2 * case.model.context_length + 8)


@DUAL_ENCODER.holds(
    "an empty text is refused, and embedded with allow_empty=True; other scripts are embedded; numbers are refused",
    "raise InputError for what is empty or no string, and let all of Unicode through; a mean over no token is NaN",
)
@torch.no_grad()
def _strange_texts(case: _Case) -> Iterator[str]:
    for what, texts in (("an empty text", ["a cat", ""]), ("a number", [3])):
        try:
            case.tokenize(texts)
        except InputError:
            continue
        except Exception as error:
            yield f"{what} raises {type(error).__name__} instead of InputError."
            continue
        yield f"{what} is taken for a text."
    for what, own in (("an empty text", [""]), ("texts in other scripts", OTHER_SCRIPTS)):
        yield from not_finite(case.model.encode_text(case.tokenize(own, allow_empty=True)), f"{what}: embedding")


@DUAL_ENCODER.holds(
    "gradients by the pixels are those of finite differences, in the model's own size and in another",
    "no detach(), no rounding, no numpy on the way; a hand-made backward pass must be that of its forward pass",
)
def _image_gradient(case: _Case) -> Iterator[str]:
    model = case.double
    yield from all_of(
        wrong_slopes(model.encode_image, case.images(2, more).double(), what)
        for more, what in ((0, "pixels"), (3, "pixels of larger images"))
    )


@DUAL_ENCODER.holds(
    "images of another size are embedded",
    "let ImagePreprocessing resize: self.pixels(images) is what a tower gets",
)
@torch.no_grad()
def _other_sizes(case: _Case) -> Iterator[str]:
    for more in (3, -1):
        if min(case.model.image_size) + more < 1:
            continue
        yield from not_finite(case.model.encode_image(case.images(2, more)), f"{more:+d} pixels: embedding of image")


@DUAL_ENCODER.holds(
    "embeddings are in the dtype of the weights, whatever that of the images",
    "cast inside: self.pixels(images) does it; a buffer of float32 must not bring float64 down",
)
@torch.no_grad()
def _dtypes(case: _Case) -> Iterator[str]:
    for model, name in ((case.model, "as it is"), (case.double, "in float64")):
        for dtype in (torch.float16, torch.float32, torch.float64):
            found = model.encode_image(case.images().to(dtype)).dtype
            if found != model.dtype:
                yield f"the model {name} has weights of {model.dtype} and embeds images of {dtype} in {found}."
        if (found := model.encode_text(case.tokens).dtype) != model.dtype:
            yield f"the model {name} has weights of {model.dtype} and embeds texts in {found}."
    single, precise = (model.encode_image(case.images()) for model in (case.model, case.double))
    yield from unequal(single, precise, "in float64, image", 1e-2)


@DUAL_ENCODER.holds(
    "in evaluation mode the same input has the same embedding",
    "turn dropout and noise off in evaluation mode, where self.training is false",
)
@torch.no_grad()
def _repeatable(case: _Case) -> Iterator[str]:
    yield from unequal(case.embedded(case.model), case.embedded(case.model), "row", 0.0)


@DUAL_ENCODER.holds(
    "black and white images have finite embeddings",
    "add an epsilon where something is divided by a deviation",
)
@torch.no_grad()
def _borders(case: _Case) -> Iterator[str]:
    images = torch.stack([torch.zeros_like(case.images(1)[0]), torch.ones_like(case.images(1)[0])])
    yield from not_finite(case.model.encode_image(images), "all black, all white: embedding of image")


@DUAL_ENCODER.holds(
    "logits are exp(logit_scale) times the cosine, plus logit_bias",
    "keep the natural logarithm of the scale in logit_scale, and leave forward() alone",
)
@torch.no_grad()
def _logits(case: _Case) -> Iterator[str]:
    model = case.double
    images, texts = model.encode_image(case.images()), model.encode_text(case.tokens)
    wanted = math.exp(float(model.logit_scale)) * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    wanted = wanted if model.logit_bias is None else wanted + model.logit_bias
    yield from unequal(model(case.images(), case.tokens), wanted, "logits of image")


@DUAL_ENCODER.holds(
    "where beginnings of texts are shared, or patches left out, embeddings are the same as without",
    "causal_text and patch_tower must be the parts of the towers, or None",
)
@torch.no_grad()
def _shortcuts(case: _Case) -> Iterator[str]:
    model = case.double
    if not (model.shares_prefixes or model.drops_tokens):
        raise NotChecked("the model has neither causal_text nor patch_tower")
    if model.shares_prefixes:
        texts = case.tokenize(["a cat", "a cat on a hill", "a dog"])
        shared, _ = model.encode_texts_sharing_prefixes(texts)
        yield from unequal(shared, model.encode_text(texts), "sharing beginnings, text")
    if model.drops_tokens:
        images, grid = case.images().double(), model.token_grid
        every = torch.arange(grid[0] * grid[1]).expand(len(images), -1)
        yield from unequal(model.encode_visible(images, every), model.encode_image(images), "of all patches, image")


@DUAL_ENCODER.holds(
    "asking changes nothing: weights, modes, what is frozen, gradients, inputs, global random numbers",
    "work on copies, and put back what is changed for a while, in a finally",
)
def _leaves_no_trace(case: _Case) -> Iterator[str]:
    images = case.images()
    yield from case.left_behind(lambda model: model(images, case.tokens), images, case.tokens)


@DUAL_ENCODER.holds(
    "a deep copy and a pickled one embed as the model does, with weights of their own",
    "keep no lambda, open file or thread on the model; or say in but={'copies': ...} why it has one",
)
def _copies(case: _Case) -> Iterator[str]:
    yield from case.wrong_copies(case.embedded)


@DUAL_ENCODER.holds(
    "a model that was saved and loaded embeds as before",
    "save everything that an embedding depends on: all weights, the preprocessing, the tokenizer, the scale",
)
def _saved(case: _Case) -> Iterator[str]:
    yield from case.wrong_saved(case.embedded)


@DUAL_ENCODER.holds("facts() are JSON", "return strings, numbers, lists and dictionaries only")
def _facts(case: _Case) -> Iterator[str]:
    json.dumps(case.model.facts(), allow_nan=False)
    yield from ()
