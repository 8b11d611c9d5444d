"""What BertAttack costs with one model call per text and word, and what it costs here, step by step.

    python benchmarks/bert_attack_cost.py

The text tower of CLIP ViT-B/32 and a masked language model of bert-base's geometry, both with random weights, on the
prompts of CIFAR-100's classes. All ways must find the same prompts; CPU seconds of one thread. About five minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import BertAttack
from art_multimodal.functional.losses import embedding_kl
from art_multimodal.language.masked_language_model import MaskedLanguageModel
from art_multimodal.language.words import (
    STOP_WORDS,
    ProtectedWords,
    english_words,
    in_case_of,
    is_word,
    words_of,
)
from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
from art_multimodal.models.fast_gradients import with_fast_gradients

ROOT = Path(__file__).parents[1]
#: Of bert-base-uncased.
VOCABULARY_SIZE = 30522
TOP_K = 10
TEMPLATE = "a photo of a {}."
CLASSES = """
apple, aquarium fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, bridge, bus, butterfly, camel,
can, castle, caterpillar, cattle, chair, chimpanzee, clock, cloud, cockroach, couch, crab, crocodile, cup, dinosaur,
dolphin, elephant, flatfish, forest, fox, girl, hamster, house, kangaroo, keyboard, lamp, lawn mower, leopard, lion,
lizard, lobster, man, maple tree, motorcycle, mountain, mouse, mushroom, oak tree, orange, orchid, otter, palm tree,
pear, pickup truck, pine tree, plain, plate, poppy, porcupine, possum, rabbit, raccoon, ray, road, rocket, rose, sea,
seal, shark, shrew, skunk, skyscraper, snail, snake, spider, squirrel, streetcar, sunflower, sweet pepper, table, tank,
telephone, television, tiger, tractor, train, trout, tulip, turtle, wardrobe, whale, willow tree, wolf, woman, worm
"""
PROTOCOL = (
    "BertAttack as published (embedding_kl, one word, the most important first, top 10 predictions, words of the class "
    "names protected) on one prompt per class of CIFAR-100. Text tower: CLIP ViT-B/32, 77 tokens. Language model: "
    f"BertForMaskedLM of bert-base-uncased's sizes, WordPiece with {VOCABULARY_SIZE} entries, mostly whole English "
    "words. Weights are random. `one call each`: text by text, one text per call of the text tower, at full length, "
    "and one call of the language model for each word that is to be replaced. `batches`: BertAttack on a text tower "
    "that reads all 77 tokens of 128 texts at a time. `trimmed`: batches are cut behind the last end of a text. "
    "`shared beginnings`: BertAttack as it is shipped. CPU seconds of one thread, everything included except loading; "
    "the first two ways run `slow_repeats` times, the others `repeats` times, alternating. Forwards and positions are "
    "counted by hooks in the models, padding included. The prompts found are identical."
)


class FullLength(OpenCLIPEncoder):
    """Reads all 77 tokens of every text, as open_clip does."""

    causal_text = None

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.model.encode_text(tokens, normalize=False)


class Trimmed(OpenCLIPEncoder):
    """Leaves padding out, and computes every text by itself."""

    def encode_texts_sharing_prefixes(self, tokens: Tensor, normalize: bool = True) -> tuple[Tensor, int]:
        parts = [self.encode_text(part, normalize=normalize) for part in tokens.split(128)]
        return torch.cat(parts), self.count_tokens(tokens)


@dataclass
class Count:
    """What has gone through a transformer."""

    forwards: int = 0
    positions: int = 0

    def watch(self, layer: nn.Module) -> None:
        """Count what a layer gets."""

        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.forwards += 1
            self.positions += inputs[0].shape[:-1].numel()

        layer.register_forward_pre_hook(hook)


@dataclass
class Models:
    """Both models, and what they have been asked."""

    clip: Any
    tokenizer: Any
    bert: Any
    bert_tokenizer: Any
    text_count: Count = field(default_factory=Count)
    language_count: Count = field(default_factory=Count)

    def __post_init__(self) -> None:
        # With a hook on a whole block the tower would count as changed, and share nothing.
        self.text_count.watch(self.clip.transformer.resblocks[0].ln_1)
        self.language_count.watch(self.bert.bert.encoder.layer[0])

    def language_model(self) -> MaskedLanguageModel:
        """One that remembers nothing yet."""
        return MaskedLanguageModel(self.bert, self.bert_tokenizer)


def build(architecture: str, bert_layers: int) -> Models:
    """Models with random weights."""
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    torch.manual_seed(0)
    clip = open_clip.create_model(architecture).eval()
    # As models are that are loaded by their names; without gradients it changes nothing.
    with_fast_gradients(clip)
    letters = [*string.ascii_lowercase, *string.digits]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *letters]
    entries += [f"##{letter}" for letter in letters]
    words = [word for word in sorted(english_words()) if word.isalpha() and len(word) > 1]
    needed = [word.text for name in names(100) for word in words_of(TEMPLATE.format(name))]
    entries = list(dict.fromkeys([*entries, *needed, *words]))[:VOCABULARY_SIZE]
    tokenizer = BertTokenizer(vocab={entry: number for number, entry in enumerate(entries)}, model_max_length=512)
    config = BertConfig(vocab_size=VOCABULARY_SIZE, num_hidden_layers=bert_layers)
    return Models(clip, open_clip.get_tokenizer(architecture), BertForMaskedLM(config).eval(), tokenizer)


def names(count: int) -> list[str]:
    """Names of classes."""
    return [" ".join(name.split()) for name in CLASSES.split(",")][:count]


def one_call_each(models: Models, count: int) -> list[str]:
    """The attack as anyone would write it down: every question is a call of its own."""
    protected = ProtectedWords(names(count))
    return [attack_text(models, TEMPLATE.format(name), protected) for name in names(count)]


def attack_text(models: Models, text: str, protected: ProtectedWords) -> str:
    """Attack one text, one call at a time."""
    clean = _embedding(models, text)
    words = words_of(text)
    free = [index for index in range(len(words)) if index not in protected.among(words)]
    masked = {index: _embedding(models, words[index].replaced(text, "[MASK]")) for index in free}
    importance = {index: float(embedding_kl(clean, state)) for index, state in masked.items()}
    for index in sorted(free, key=lambda index: -importance[index]):
        scores = {}
        for candidate in _candidates(models, text, index):
            if not protected.covers(candidate):
                other = words[index].replaced(text, in_case_of(candidate, words[index].text))
                scores[other] = float(embedding_kl(clean, _embedding(models, other)))
        if scores:
            return max(scores, key=lambda other: scores[other])
    return text


@torch.no_grad()
def _embedding(models: Models, text: str) -> Tensor:
    return models.clip.encode_text(models.tokenizer([text]), normalize=True).double()


@torch.no_grad()
def _candidates(models: Models, text: str, index: int) -> list[str]:
    """Whole words among the language model's predictions for a word."""
    tokenizer, word = models.bert_tokenizer, words_of(text)[index]
    encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    (position,) = [row for row, (start, end) in enumerate(offsets) if start < word.end and end > word.start]
    best = models.bert(**encoded).logits[0, position].topk(TOP_K).indices.tolist()
    candidates = [tokenizer.convert_ids_to_tokens(number) for number in best if number < len(tokenizer)]
    return [
        candidate
        for candidate in candidates
        if is_word(candidate)
        and not (len(candidate) == 1 and candidate.isalpha())
        and candidate not in STOP_WORDS
        and candidate != word.text.lower()
    ]


def attack_on(kind: type[OpenCLIPEncoder]) -> Callable[[Models, int], list[str]]:
    """BertAttack on a text tower of a kind, which remembers nothing yet."""

    def run(models: Models, count: int) -> list[str]:
        encoder = kind(models.clip, models.tokenizer).eval()
        estimator = ZeroShotClassifier(encoder, names(count), TEMPLATE, device_type="cpu")
        attack = BertAttack(estimator, models.language_model(), top_k=TOP_K, verbose=False)
        return [prompt for (prompt,) in attack.generate()]

    return run


#: Ways to the same prompts, each with whether it is slow.
WAYS: dict[str, tuple[Callable[[Models, int], list[str]], bool]] = {
    "one call each": (one_call_each, True),
    "batches": (attack_on(FullLength), True),
    "trimmed": (attack_on(Trimmed), False),
    "shared beginnings": (attack_on(OpenCLIPEncoder), False),
}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prompts", type=int, default=100, help="at most 100")
    parser.add_argument("--architecture", default="ViT-B-32", help="of open_clip; the text tower alone matters")
    parser.add_argument("--bert-layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slow-repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "bert_attack_cost.json")
    options = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = measure(options)
    finally:
        torch.set_num_threads(threads)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("ratio", "ratios", "counts", "changed")}, indent=2))
    return result


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all ways, compare what they find, and return the result."""
    models = build(options.architecture, options.bert_layers)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    counts: dict[str, dict[str, int]] = {}
    found: dict[str, list[str]] = {}
    attack_on(OpenCLIPEncoder)(models, 2)
    for repeat in range(max(options.repeats, options.slow_repeats)):
        for name, (run, slow) in WAYS.items():
            if repeat >= (options.slow_repeats if slow else options.repeats):
                continue
            text, language = models.text_count, models.language_count
            before = (text.forwards, text.positions, language.forwards, language.positions)
            started = time.process_time()
            found[name] = run(models, options.prompts)
            seconds[name].append(time.process_time() - started)
            after = (text.forwards, text.positions, language.forwards, language.positions)
            keys = ("text calls", "text positions", "language model calls", "language model positions")
            counts[name] = {key: b - a for key, a, b in zip(keys, before, after, strict=True)}
            if found[name] != found["one call each"]:
                raise SystemExit(f"{name} finds other prompts, so its cost cannot be compared.")
    naive = statistics.median(seconds["one call each"])
    ratios = [naive / value for value in seconds["shared beginnings"]]
    originals = [TEMPLATE.format(name) for name in names(options.prompts)]
    changed = sum(a != b for a, b in zip(originals, found["one call each"], strict=True))
    return {
        "protocol": PROTOCOL,
        "command": "python benchmarks/bert_attack_cost.py",
        "settings": {
            "prompts": options.prompts,
            "architecture": options.architecture,
            "bert_layers": options.bert_layers,
            "repeats": options.repeats,
            "slow_repeats": options.slow_repeats,
        },
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "seconds": seconds,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "counts": counts,
        "changed": changed,
        "table": {
            "header": ["way", "CPU seconds", *counts["batches"], "times cheaper than one call each"],
            "rows": [
                [
                    name,
                    f"{statistics.median(values):.1f}",
                    *counts[name].values(),
                    f"{naive / statistics.median(values):.1f}",
                ]
                for name, values in seconds.items()
            ],
        },
    }


if __name__ == "__main__":
    main()
