"""Word pieces of the experiment's captions, and a masked language model that has read them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.robust_training.captions import TEST_TEMPLATES, TRAINING_TEMPLATES
from benchmarks.robust_training.data import Captioned
from tools.demo_models.train_mlm import SPECIALS, hide_some

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_PUNCTUATION = ".,;:!?'\"()-&"


def make_tokenizer(data: Captioned) -> Any:
    """A WordPiece tokenizer: the words of all captions and prompts, and letters for others."""
    from transformers import BertTokenizer

    rng = np.random.default_rng(0)
    texts = [data.random_caption(rng) for _ in range(20_000)]
    texts += [name for names in data.names for name in names] + [*TRAINING_TEMPLATES, *TEST_TEMPLATES]
    count: Counter[str] = Counter()
    for text in texts:
        count.update("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())
    words = sorted(word for word in count if len(word) > 1 and word.isascii())
    pieces = (*SPECIALS, *_PUNCTUATION, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *words)
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=64)


def train_language_model(data: Captioned, tokenizer: Any, steps: int = 2500, seed: int = 0) -> Any:
    """Return a BERT that has learned to fill in words of captions and prompts."""
    from transformers import BertConfig, BertForMaskedLM

    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=64,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        batch = tokenizer([data.random_caption(rng) for _ in range(48)], padding=True, return_tensors="pt")
        hidden, asked = hide_some(batch["input_ids"], tokenizer, generator)
        logits = model(input_ids=hidden, attention_mask=batch["attention_mask"]).logits
        loss = F.cross_entropy(logits[asked], batch["input_ids"][asked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 500 == 0:
            print(f"language model: step {step + 1} of {steps}, loss {loss.item():.3f}", flush=True)
    return model.eval()


def save_language_model(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write both in transformers' own format."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
