"""``demo:shapes``: small models that answer questions about coloured shapes, in five fusions of the same size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.demo.packed import load_packed
from art_multimodal.demo.scenes import COLOUR_NAMES, OPENINGS, RELATIONS, SHAPES
from art_multimodal.demo.towers import Block, SmallImageTower, patch_stem
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.models.fusion import FusionModel, Tokens
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.models.texts import check_texts

WEIGHTS = Path(__file__).parent / "weights"
ANSWERS = ("no", "yes")

PAD, START, UNKNOWN = 0, 1, 2
#: The most words in a text; one token more, the start, is always read.
MOST_WORDS = 24
_WORDINGS = " ".join((*OPENINGS, *(wording for wordings in RELATIONS.values() for wording in wordings), "the"))
#: Every word of the questions, behind the three special tokens.
VOCABULARY = (
    "<pad>",
    "<start>",
    "<unk>",
    *sorted({*_WORDINGS.replace("{}", "").split(), *COLOUR_NAMES, *SHAPES}),
)
_ID_OF = {word: number for number, word in enumerate(VOCABULARY)}
_PUNCTUATION = "?!.,;:'\"()[]"

WIDTH, DEPTH, HEADS, EMBEDDING = 64, 2, 4, 96


def split_words(text: str) -> list[str]:
    """The words that the model reads: lower-cased, without the punctuation around them."""
    words = (word.strip(_PUNCTUATION) for word in text.lower().split())
    return [word for word in words if word]


class WordEmbedding(nn.Module):
    """Words ``[N, L]`` at their places as vectors ``[N, L, width]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.positions = nn.Parameter(torch.randn(MOST_WORDS + 1, width) * 0.02)
        nn.init.normal_(self.words.weight, std=0.02)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors, and where ``[N, L]`` there is a word; columns in which nobody has one are left out."""
        tokens = tokens[:, : max(1, int((tokens != PAD).any(dim=0).sum()))]
        return self.words(tokens) + self.positions[: tokens.shape[1]], tokens != PAD


class WordTower(nn.Module):
    """A transformer over words; the state at the start token is the text's feature."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = WordEmbedding(WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.projection = nn.Linear(WIDTH, EMBEDDING, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x, mask = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, mask=mask[:, None, None])
        return self.projection(self.norm(x[:, 0]))


class ShapesModel(FusionModel):
    """What the five fusions share: 32 x 32 RGB images, texts of up to 24 words, answers ``("no", "yes")``.

    :param fused: Length of the fused vector.
    :param hidden: Width of the predictor's hidden layers: what makes the fusions equal in size.
    """

    family = "demo"

    def __init__(self, fused: int, hidden: int) -> None:
        super().__init__(ImagePreprocessing(size=(32, 32), mean=(0.6, 0.6, 0.6), std=(0.3, 0.3, 0.3)), ANSWERS)
        self.predictor = nn.Sequential(
            nn.Linear(fused, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, len(ANSWERS))
        )

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Turn texts into ids ``[N, 25]``: a start token, the words, padding. Unknown words become ``<unk>``.

        :raises InputError: If a text has more than 24 words, or is none.
        """
        texts = check_texts(texts)
        tokens = torch.full((len(texts), MOST_WORDS + 1), PAD, dtype=torch.long)
        tokens[:, 0] = START
        for row, text in enumerate(texts):
            ids = [_ID_OF.get(word, UNKNOWN) for word in split_words(text)]
            if len(ids) > MOST_WORDS:
                raise InputError(
                    f"A text has {len(ids)} words, more than the {MOST_WORDS} that this model reads: "
                    f"{text[:60]!r}{'...' if len(text) > 60 else ''}. Shorten it."
                )
            tokens[row, 1 : len(ids) + 1] = torch.tensor(ids, dtype=torch.long)
        return tokens

    def predict(self, fused: Tensor) -> Tensor:
        return self.predictor(fused)


class _TwoTowers(ShapesModel):
    """An image tower and a text tower of the same build in four fusions; a subclass joins what they give."""

    def __init__(self, fused: int, hidden: int) -> None:
        super().__init__(fused, hidden)
        self.visual = SmallImageTower(WIDTH, DEPTH, HEADS, EMBEDDING)
        self.text = WordTower()

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels)

    def text_tower(self, tokens: Tokens) -> Tensor:
        return self.text(tokens)


class ConcatShapes(_TwoTowers):
    """Side by side: ``z = [v, t]``."""

    def __init__(self) -> None:
        super().__init__(fused=2 * EMBEDDING, hidden=144)

    def join(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        return torch.cat([image_features, text_features], dim=1)


class GatedShapes(_TwoTowers):
    """A gate, computed from both, decides per coordinate whose value passes: ``z = g v + (1 - g) t``.

    | Paper link: https://arxiv.org/abs/1702.01992 (gated multimodal units)
    """

    def __init__(self) -> None:
        super().__init__(fused=EMBEDDING, hidden=128)
        self.gate = nn.Linear(2 * EMBEDDING, EMBEDDING)

    def join(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        gate = self.gate(torch.cat([image_features, text_features], dim=1)).sigmoid()
        return gate * image_features + (1 - gate) * text_features


class BilinearShapes(_TwoTowers):
    """Products of projections, a bilinear map of low rank: ``z = (U v) (V t)``.

    | Paper link: https://arxiv.org/abs/1610.04325 (Hadamard product for low-rank bilinear pooling)
    """

    def __init__(self) -> None:
        super().__init__(fused=128, hidden=112)
        self.image_factor = nn.Linear(EMBEDDING, 128)
        self.text_factor = nn.Linear(EMBEDDING, 128)

    def join(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        return self.image_factor(image_features) * self.text_factor(text_features)


class LateShapes(_TwoTowers):
    """Unit embeddings as a dual encoder's, related only at the end: ``z = [v, t, v t]``."""

    def __init__(self) -> None:
        super().__init__(fused=3 * EMBEDDING, hidden=120)

    def image_tower(self, pixels: Tensor) -> Tensor:
        return F.normalize(super().image_tower(pixels), dim=1)

    def text_tower(self, tokens: Tokens) -> Tensor:
        return F.normalize(super().text_tower(tokens), dim=1)

    def join(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        # Scaled to coordinates of about one, which is what layers with default weights expect.
        v, t = image_features * EMBEDDING**0.5, text_features * EMBEDDING**0.5
        return torch.cat([v, t, v * t], dim=1)


class CrossAttentionShapes(ShapesModel):
    """Image patches and words in one transformer; the state at the start token is the fused vector.

    | Paper link: https://arxiv.org/abs/1909.02950 (multimodal bitransformers)
    """

    #: The stem gives 4 x 4 patches.
    patches = 16

    def __init__(self) -> None:
        super().__init__(fused=WIDTH, hidden=216)
        self.stem = patch_stem(WIDTH)
        self.positions = nn.Parameter(torch.randn(self.patches, WIDTH) * 0.02)
        self.embedding = WordEmbedding(WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(2 * DEPTH))
        self.norm = nn.LayerNorm(WIDTH)

    def states(self, pixels: Tensor, tokens: Tokens) -> Tensor:
        """Final states ``[N, 16 + L, 64]`` of the patches, the start token and the words."""
        patches = self.stem(pixels).flatten(2).transpose(1, 2) + self.positions
        words, mask = self.embedding(tokens)
        x = torch.cat([patches, words], dim=1)
        mask = torch.cat([mask.new_ones(len(mask), self.patches), mask], dim=1)
        for block in self.blocks:
            x = block(x, mask=mask[:, None, None])
        return self.norm(x)

    def joint_tower(self, pixels: Tensor, tokens: Tokens) -> Tensor:
        return self.states(pixels, tokens)[:, self.patches]


#: By the name of the fusion.
MODELS: dict[str, Callable[[], ShapesModel]] = {
    "concat": ConcatShapes,
    "gated": GatedShapes,
    "bilinear": BilinearShapes,
    "late": LateShapes,
    "cross_attention": CrossAttentionShapes,
}
#: Names of the five fusions of ``demo:shapes/FUSION``.
FUSIONS = tuple(MODELS)


def new_shapes(fusion: str) -> ShapesModel:
    """Return an untrained model.

    :raises InputError: If there is no such fusion.
    """
    if fusion not in MODELS:
        raise unknown_name("fusion of demo:shapes", fusion, FUSIONS)
    return MODELS[fusion]()


def weights_of(fusion: str) -> Path:
    """Where the weights of a fusion are shipped."""
    return WEIGHTS / f"shapes_{fusion}.safetensors"


def load_shapes(fusion: str = "concat") -> ShapesModel:
    """Return ``demo:shapes/FUSION`` with its trained weights, in evaluation mode.

    :raises InputError: If there is no such fusion.
    """
    model = new_shapes(fusion)
    model.load_state_dict(load_packed(weights_of(fusion)))
    return model.eval()
