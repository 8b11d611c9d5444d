"""Pretrain the experiment's CLIP and its language model; a quarter of an hour on one core.

python -m benchmarks.robust_training.pretrain
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from art_multimodal.functional.contrastive import contrastive_cross_entropy
from benchmarks.robust_training.data import DATA, ROOT, Captioned
from benchmarks.robust_training.language import make_tokenizer, save_language_model, train_language_model
from benchmarks.robust_training.model import SmallCLIP

FOLDER = ROOT / "build" / "robust_training" / "pretrained"


def train(data: Captioned, model: SmallCLIP, epochs: int, batch_size: int, seed: int) -> SmallCLIP:
    """Train on captions: the texts of a batch that say the same of the same thing belong to its images."""
    rng = np.random.default_rng(seed)
    steps = epochs * (len(data) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2.5e-3, total_steps=steps, pct_start=0.2)
    started = time.perf_counter()
    model.train()
    for epoch in range(epochs):
        for images, texts, positives in data.epoch(batch_size, rng):
            distinct = list(dict.fromkeys(texts))
            row_of = {text: row for row, text in enumerate(distinct)}
            features = model.encode_text(model.tokenize(distinct))[[row_of[text] for text in texts]]
            logits = model.logit_scale.exp().clamp(max=50) * model.encode_image(images) @ features.T
            loss = contrastive_cross_entropy(logits, positives).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        took = time.perf_counter() - started
        print(f"pretraining: epoch {epoch + 1} of {epochs}, loss {loss.item():.3f}, {took:.0f} s", flush=True)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    data = Captioned(options.data)
    tokenizer = make_tokenizer(data)
    language_model = train_language_model(data, tokenizer, seed=options.seed)
    save_language_model(options.out / "language_model", language_model, tokenizer)
    model = train(data, SmallCLIP(tokenizer), options.epochs, options.batch_size, options.seed)
    model.logit_scale.data.clamp_(max=float(np.log(50)))
    model.fold().save(options.out / "model.safetensors")
    settings = {"epochs": options.epochs, "batch_size": options.batch_size, "seed": options.seed, "images": len(data)}
    (options.out / "settings.json").write_text(json.dumps(settings, indent=1) + "\n")


if __name__ == "__main__":
    main()
