"""Tiny randomly initialised fusion models of transformers, as in ``families.py``; some that are refused among them."""

from __future__ import annotations

from typing import Any

from models.families import CONTEXT, SIDE, TEXT, VISION, bert_tokenizer, roberta_tokenizer

ANSWERS = {0: "", 1: "yes", 2: "no", 3: "red", 4: "yes"}
SHORTEST = {"shortest_edge": SIDE}


def segment_tokenizer():
    """As BERT's own: gives token types too."""
    from transformers import PreTrainedTokenizerFast

    plain = bert_tokenizer()
    names = {name: getattr(plain, name) for name in ("cls_token", "sep_token", "pad_token", "unk_token")}
    return PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer,
        model_max_length=CONTEXT,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )


def _vilt_parts(**settings: Any):
    from transformers import ViltConfig, ViltImageProcessor

    tokenizer = segment_tokenizer()
    config = ViltConfig(**{**TEXT, **VISION, "vocab_size": len(tokenizer), **settings})
    return config, tokenizer, ViltImageProcessor(size=SHORTEST, size_divisor=8)


def _vilt_answers():
    from transformers import ViltForQuestionAnswering

    config, *rest = _vilt_parts(id2label=ANSWERS)
    return ViltForQuestionAnswering(config), *rest


def _vilt_retrieval():
    from transformers import ViltForImageAndTextRetrieval

    config, *rest = _vilt_parts()
    return ViltForImageAndTextRetrieval(config), *rest


def _vilt_masked_words():
    from transformers import ViltForMaskedLM

    config, *rest = _vilt_parts()
    return ViltForMaskedLM(config), *rest


def _flava_parts():
    from transformers import FlavaConfig, FlavaImageProcessor

    tokenizer = bert_tokenizer()
    settings = {key: value for key, value in TEXT.items() if key != "max_position_embeddings"}
    config = FlavaConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer)},
        image_config={**VISION, "vocab_size": 11},
        multimodal_config=settings,
        image_codebook_config={"hidden_size": 4, "vocab_size": 11, "num_blocks_per_group": 1},
        hidden_size=16,
        projection_dim=12,
    )
    square = {"height": SIDE, "width": SIDE}
    return config, tokenizer, FlavaImageProcessor(size=square, crop_size=square, input_size_patches=4)


def _flava():
    from transformers import FlavaForPreTraining

    config, *rest = _flava_parts()
    return FlavaForPreTraining(config), *rest


def _flava_without_head():
    from transformers import FlavaModel

    config, *rest = _flava_parts()
    return FlavaModel(config), *rest


def _bridgetower_parts():
    from transformers import BridgeTowerConfig, BridgeTowerImageProcessor

    # No limit in the tokenizer: two of the model's positions are taken by the padding's offset.
    tokenizer = roberta_tokenizer(context=None)
    config = BridgeTowerConfig(
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=2,
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": CONTEXT + 2,
            "num_hidden_layers": 3,
        },
        vision_config={"hidden_size": 64, "num_hidden_layers": 3, "patch_size": 8, "image_size": SIDE},
    )
    return config, tokenizer, BridgeTowerImageProcessor(size=SHORTEST, crop_size=SHORTEST, size_divisor=8)


def _bridgetower():
    from transformers import BridgeTowerForImageAndTextRetrieval

    config, *rest = _bridgetower_parts()
    return BridgeTowerForImageAndTextRetrieval(config), *rest


def _bridgetower_contrastive():
    from transformers import BridgeTowerForContrastiveLearning

    config, *rest = _bridgetower_parts()
    config.contrastive_hidden_size, config.logit_scale_init_value = 12, 2.6
    return BridgeTowerForContrastiveLearning(config), *rest


def _visual_bert():
    from transformers import VisualBertConfig, VisualBertForQuestionAnswering

    _, tokenizer, processor = _vilt_parts()
    config = VisualBertConfig(**TEXT, vocab_size=len(tokenizer), visual_embedding_dim=8)
    return VisualBertForQuestionAnswering(config), tokenizer, processor


def _lxmert():
    from transformers import LxmertConfig, LxmertModel

    _, tokenizer, processor = _vilt_parts()
    settings = {key: value for key, value in TEXT.items() if key != "num_hidden_layers"}
    config = LxmertConfig(**settings, vocab_size=len(tokenizer), l_layers=1, x_layers=1, r_layers=1, visual_feat_dim=8)
    return LxmertModel(config), tokenizer, processor


FUSION_FAMILIES = {
    "bridgetower": _bridgetower,
    "flava": _flava,
    "vilt_answers": _vilt_answers,
    "vilt_retrieval": _vilt_retrieval,
}
REFUSED_FAMILIES = {
    "bridgetower_contrastive": _bridgetower_contrastive,
    "flava_without_head": _flava_without_head,
    "lxmert": _lxmert,
    "vilt_masked_words": _vilt_masked_words,
    "visual_bert": _visual_bert,
}
