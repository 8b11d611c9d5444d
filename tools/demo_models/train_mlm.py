"""Train the masked language model of the demos and write it with its tokenizer; less than three minutes on one core.

The exact command, from the root of the repository::

    python -m tools.demo_models.train_mlm --steps 3500 --seed 0

It is a real ``BertForMaskedLM`` with WordPiece tokens, in the format of ``save_pretrained``. It learns from generated
captions of the digits demo, from descriptions with many more words than these, and from questions of the shapes demo.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.demo.captions import DIGIT_NAMES, INKS, PAPERS
from art_multimodal.demo.loading import MLM_FOLDER
from art_multimodal.demo.scenes import KINDS, NOTHING, RELATION_NAMES, word_question
from tools.demo_models.digit_captions import random_caption
from tools.demo_models.training import training_options

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_PUNCTUATION = ".,;:!?'\"()-"
_ENDINGS = ("##s", "##ed", "##ing", "##er", "##est", "##ly", "##n", "##nd", "##st", "##ck", "##ng")
#: Words that are rarer than this in as many texts are spelled out; made-up ones are.
_LEAST, _COUNTED = 30, 20_000
LONGEST = 96


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_MEDIA = _listed(
    """
    photo picture image drawing photograph snapshot sketch scan painting print poster copy shot view portrait
    diagram illustration rendering cartoon sample example icon stamp sticker sign label card page note thumbnail
    screenshot video film negative slide fresco etching engraving mosaic tattoo carving cutout
    """
)
_QUALITIES = _listed(
    """
    handwritten small clear rough simple neat bold blurred blurry good bad large big tiny huge bright dark faded
    faint old new strange plain pretty ugly crooked tilted round thick thin wide narrow dirty clean grainy sharp
    smooth printed painted typed cropped distorted colourful pale heavy light quick careful messy beautiful
    famous vivid calm loud modern ancient foreign local common rare cheap costly rotten frozen hidden broken
    bent torn wet dry warm cold soft hard proud shy lazy clever silly funny serious official secret public daily
    weekly final first second last single double empty full hollow solid greasy dusty shiny matte zigzag wavy
    curly square slanted upright cursive ornate gothic fancy
    """
)
_NOUNS = _listed(
    """
    digit number numeral character symbol figure sign mark letter shape sum value answer result count total
    price score age year amount item object thing
    """
)
_PLACES = _listed(
    """
    notebook page sheet wall board envelope letter form cheque book desk school table screen window card box
    house street shop door ticket map calendar clock receipt
    """
)
_MAKERS = _listed(
    """
    child teacher person student doctor clerk boy girl man woman friend writer artist machine computer
    """
)
_VERBS = _listed(
    """
    shows reads says displays contains depicts presents gives holds bears has means
    """
)
_DEEDS = _listed(
    """
    wrote drew made painted printed left scribbled found saw sent copied typed scanned
    """
)
_FRAMES = (
    "a {quality} {medium} of the {noun} {digit}",
    "a {medium} of the {quality} {noun} {digit}",
    "a {medium} of a {quality} {digit}",
    "the {noun} {digit} on a {quality} {place}",
    "a {maker} {deed} the {noun} {digit}",
    "somebody {deed} a {quality} {digit} here",
    "this {medium} {verb} {digit}",
    "the {noun} on the {place} {verb} {digit}",
    "an example of {digit} from a {quality} {place}",
    "look, it is the {noun} {digit}",
    "a {maker}'s {quality} {digit}",
    "a {medium} of a {quality} {place} with the {noun} {digit}",
    "mail sorting sample: {digit}",
    "the {quality} {noun} {digit}, {quality2} and {quality3}",
    "one {quality} {noun}: {digit}",
)


def random_text(rng: np.random.Generator) -> str:
    """Draw a caption of a digit, a description of one, or a question about shapes."""

    def pick(choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    kind = rng.random()
    if kind < 0.35:
        return random_caption(int(rng.integers(10)), pick(tuple(INKS)), pick(tuple(PAPERS)), rng).text
    if kind < 0.55:
        relation = int(rng.integers(NOTHING, len(RELATION_NAMES)))
        return word_question(int(rng.integers(KINDS)), relation, int(rng.integers(KINDS)), rng)
    digit = int(rng.integers(10))
    text = pick(_FRAMES).format(
        digit=DIGIT_NAMES[digit] if rng.random() < 0.7 else digit,
        medium=pick(_MEDIA),
        noun=pick(_NOUNS),
        place=pick(_PLACES),
        maker=pick(_MAKERS),
        verb=pick(_VERBS),
        deed=pick(_DEEDS),
        quality=pick(_QUALITIES),
        quality2=pick(_QUALITIES),
        quality3=pick(_QUALITIES),
    )
    return text + "." if rng.random() < 0.5 else text


def make_tokenizer(rng: np.random.Generator) -> Any:
    """A WordPiece tokenizer of the words that texts often have, and of letters for all others."""
    from transformers import BertTokenizer

    count: Counter[str] = Counter()
    for _ in range(_COUNTED):
        text = random_text(rng).lower()
        count.update("".join(letter if letter.isalnum() else " " for letter in text).split())
    words = sorted(word for word, times in count.items() if times >= _LEAST and len(word) > 1)
    pieces = (*SPECIALS, *_PUNCTUATION, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *_ENDINGS, *words)
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=LONGEST)


def hide_some(ids: Tensor, tokenizer: Any, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return tokens with a fifth of them hidden, and which ones these are.

    Of these, half become the mask, three tenths another token, and the rest stay: more other tokens than BERT's
    training has, so that a word which is not masked does not answer for itself.
    """
    chance = torch.rand(ids.shape, generator=generator)
    asked = (chance < 0.2) & (ids >= len(SPECIALS))
    other = torch.randint(len(SPECIALS), len(tokenizer), ids.shape, generator=generator)
    hidden = torch.where(asked & (chance < 0.1), tokenizer.mask_token_id, ids)
    return torch.where(asked & (chance >= 0.1) & (chance < 0.16), other, hidden), asked


def train(steps: int, batch_size: int, learning_rate: float, seed: int) -> tuple[Any, Any]:
    """Return a trained model and its tokenizer; equal arguments give equal weights on one kind of machine."""
    from transformers import BertConfig, BertForMaskedLM

    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(rng)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=LONGEST,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    started = time.perf_counter()
    for step in range(steps):
        texts = [random_text(rng) for _ in range(batch_size)]
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        hidden, asked = hide_some(batch["input_ids"], tokenizer, generator)
        logits = model(input_ids=hidden, attention_mask=batch["attention_mask"]).logits
        loss = F.cross_entropy(logits[asked], batch["input_ids"][asked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 250 == 0:
            right = (logits[asked].argmax(dim=1) == batch["input_ids"][asked]).float().mean()
            took = time.perf_counter() - started
            print(f"step {step + 1}: loss {loss.item():.3f}, right {right:.3f}, {took:.0f} s", flush=True)
    return model.eval(), tokenizer


def main() -> None:
    parser = training_options(__doc__, steps=3500, learning_rate=3e-3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", default=str(MLM_FOLDER))
    arguments = parser.parse_args()
    model, tokenizer = train(arguments.steps, arguments.batch_size, arguments.learning_rate, arguments.seed)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    size = sum(file.stat().st_size for file in Path(arguments.out).iterdir())
    print(f"wrote {model.num_parameters()} parameters and {len(tokenizer)} tokens, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
