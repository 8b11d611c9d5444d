"""Tiny random masked language models of three families, each with its family's kind of tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = ["a", "photo", "of", "the", "cat", "dog", "red", "car", "on", "hill", "small", "boat", "like"]
CONTEXT = 24
_SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    # Large weights: predictions far from uniform.
    "initializer_range": 0.6,
}


def save_bert(folder: Path, seed: int = 0) -> str:
    """``BertForMaskedLM`` with WordPiece: words, and pieces marked ``##``."""
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "un", "##like", "##ly", "##s", "##ing", ".", "!"]
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, model_max_length=CONTEXT)
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, **_SIZES)
    return _saved(BertForMaskedLM(config), tokenizer, folder)


def save_roberta(folder: Path, seed: int = 0) -> str:
    """``RobertaForMaskedLM`` with byte-level BPE: ``\u0120`` marks the space in front of a word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import RobertaConfig, RobertaForMaskedLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS), f" {' '.join(WORDS)} unlike"] * 5, trainer)
    wrapped = _wrapped(tokenizer)
    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=len(wrapped), max_position_embeddings=CONTEXT + 2, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        type_vocab_size=1, **_SIZES,
    )  # fmt: skip
    return _saved(RobertaForMaskedLM(config), wrapped, folder)


def save_sentence_piece(folder: Path, seed: int = 0) -> str:
    """``XLMRobertaForMaskedLM`` with SentencePiece's unigrams: ``\u2581`` marks the beginning of a word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    whole = [f"\u2581{word}" for word in WORDS]
    pieces = ["\u2581un", "like", "ly", "s", "ing", "cat", "the", ".", "!", "(", ")", "\u2581"]
    scores = [(piece, 0.0) for piece in specials] + [(piece, -5.0 - i / 50) for i, piece in enumerate(whole)]
    scores += [(piece, -8.0) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    wrapped = _wrapped(tokenizer)
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=len(wrapped), max_position_embeddings=CONTEXT + 2, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        type_vocab_size=1, **_SIZES,
    )  # fmt: skip
    return _saved(XLMRobertaForMaskedLM(config), wrapped, folder)


FAMILIES = {"bert": save_bert, "roberta": save_roberta, "sentence_piece": save_sentence_piece}


def _wrapped(tokenizer: Any) -> Any:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=CONTEXT,
        model_input_names=["input_ids", "attention_mask"],
    )


def _saved(model: Any, tokenizer: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
