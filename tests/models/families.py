"""Tiny randomly initialised models of transformers' families, with tokenizers of a few words and image processors."""

from __future__ import annotations

from typing import Any

SIDE = 32
CONTEXT = 16
WORDS = ["a", "photo", "of", "the", "cat", "dog", "red", "car", "on", "hill", "very", "small", "boat", "!", "."]


def bert_tokenizer(context: int | None = CONTEXT):
    """``[CLS] words [SEP]``, padded with ``[PAD]`` = 0."""
    return _word_tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], context, cls_token="[CLS]", sep_token="[SEP]")


def roberta_tokenizer(context: int | None = CONTEXT):
    """``<s> words </s>``, padded with ``<pad>`` = 1."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    return _word_tokenizer(
        specials, context, cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    )


def sentence_tokenizer(context: int | None = CONTEXT):
    """``words </s>``, padded with its own end token, as SigLIP's."""
    return _word_tokenizer(
        ["<unk>", "</s>"],
        context,
        sep_token=None,
        pad_token="</s>",
        unk_token="<unk>",
        eos_token="</s>",
        model_input_names=["input_ids"],
    )


def _word_tokenizer(specials: list[str], context: int | None, pad_token="[PAD]", unk_token="[UNK]", **names):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate([*specials, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unk_token))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    first, last = names.get("cls_token"), names["sep_token"] or names["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}" if first else f"$A {last}",
        special_tokens=[(name, vocabulary[name]) for name in (first, last) if name],
    )
    limit = {} if context is None else {"model_max_length": context}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad_token, unk_token=unk_token, **limit, **names
    )


def clip_tokenizer(pad_token: str = "<|endoftext|>"):
    """CLIP's own class on a small vocabulary: letters, a few merges, then start and end."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    merges = [
        ("c", "a"),
        ("ca", "t</w>"),
        ("d", "o"),
        ("do", "g</w>"),
        ("p", "h"),
        ("ph", "o"),
        ("r", "e"),
        ("re", "d</w>"),
    ]
    merges += [
        ("t", "h"),
        ("th", "e</w>"),
        ("o", "n</w>"),
        ("o", "f</w>"),
        ("t", "o</w>"),
        ("pho", "to</w>"),
        ("l", "l</w>"),
    ]
    merges += [
        ("i", "ll</w>"),
        ("h", "ill</w>"),
        ("v", "e"),
        ("r", "y</w>"),
        ("ve", "ry</w>"),
        ("s", "m"),
        ("a", "ll</w>"),
    ]
    merges += [("sm", "all</w>"), ("b", "o"), ("a", "t</w>"), ("bo", "at</w>"), ("ca", "r</w>")]
    pieces = letters + [f"{letter}</w>" for letter in letters] + ["".join(pair) for pair in merges]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad_token, model_max_length=CONTEXT)


TEXT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": CONTEXT,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}


def _causal_text(tokenizer) -> dict[str, Any]:
    settings = {key: value for key, value in TEXT.items() if "dropout" not in key}
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {**settings, **ids, "vocab_size": len(tokenizer), "projection_dim": 12}


def _clip_processor():
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})


def _clip():
    from transformers import CLIPConfig, CLIPModel

    tokenizer = clip_tokenizer()
    config = CLIPConfig(text_config=_causal_text(tokenizer), vision_config=VISION, projection_dim=12)
    return CLIPModel(config), tokenizer, _clip_processor()


def _clip_other_pad():
    """As published for Stable Diffusion: padded with "!", which also is a token of texts."""
    model, _, processor = _clip()
    return model, clip_tokenizer(pad_token="!"), processor


def _siglip():
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    tokenizer = sentence_tokenizer()
    text = {**_causal_text(tokenizer), "projection_size": 16}
    config = SiglipConfig(text_config=text, vision_config=VISION)
    return SiglipModel(config), tokenizer, SiglipImageProcessor(size={"height": SIDE, "width": SIDE})


def _chinese_clip():
    from transformers import ChineseCLIPConfig, ChineseCLIPImageProcessor, ChineseCLIPModel

    tokenizer = bert_tokenizer()
    config = ChineseCLIPConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer)}, vision_config=VISION, projection_dim=12
    )
    # Resize to a larger side, then crop.
    processor = ChineseCLIPImageProcessor(size={"shortest_edge": 39}, crop_size={"height": SIDE, "width": SIDE})
    return ChineseCLIPModel(config), tokenizer, processor


def _altclip():
    from transformers import AltCLIPConfig, AltCLIPModel

    # No limit in the tokenizer: two of the model's positions are taken by the padding's offset.
    tokenizer = roberta_tokenizer(context=None)
    text = {**TEXT, "vocab_size": len(tokenizer), "project_dim": 16, "max_position_embeddings": CONTEXT + 2}
    config = AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)
    return AltCLIPModel(config), tokenizer, _clip_processor()


def _align():
    from transformers import AlignConfig, AlignModel, EfficientNetImageProcessor

    tokenizer = bert_tokenizer()
    vision = {
        "image_size": SIDE,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "kernel_sizes": [3, 3],
        "in_channels": [32, 16],
        "out_channels": [16, 16],
        "strides": [1, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
        "hidden_dim": 16,
    }
    config = AlignConfig(text_config={**TEXT, "vocab_size": len(tokenizer)}, vision_config=vision, projection_dim=16)
    # As published: squashed to a larger square, cropped, and scaled to [-1, 1].
    processor = EfficientNetImageProcessor(
        size={"height": 38, "width": 38},
        crop_size={"height": SIDE, "width": SIDE},
        do_center_crop=True,
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        do_normalize=False,
        include_top=False,
        resample=2,
    )
    return AlignModel(config), tokenizer, processor


def _metaclip_2():
    from transformers import MetaClip2Config, MetaClip2Model

    tokenizer = roberta_tokenizer()
    config = MetaClip2Config(text_config=_causal_text(tokenizer), vision_config=VISION, projection_dim=12)
    return MetaClip2Model(config), tokenizer, _clip_processor()


def _clipseg():
    from transformers import CLIPSegConfig, CLIPSegModel, ViTImageProcessor

    tokenizer = clip_tokenizer()
    config = CLIPSegConfig(text_config=_causal_text(tokenizer), vision_config=VISION, projection_dim=12)
    return CLIPSegModel(config), tokenizer, ViTImageProcessor(size={"height": SIDE, "width": SIDE}, resample=2)


def _blip():
    from transformers import BlipConfig, BlipImageProcessor, BlipModel

    tokenizer = bert_tokenizer()
    text = {**TEXT, "vocab_size": len(tokenizer), "encoder_hidden_size": 16, "bos_token_id": 2, "sep_token_id": 3}
    config = BlipConfig(text_config=text, vision_config=VISION, projection_dim=12)
    return BlipModel(config), tokenizer, BlipImageProcessor(size={"height": SIDE, "width": SIDE})


def _x_clip():
    from transformers import XCLIPConfig, XCLIPModel

    tokenizer = clip_tokenizer()
    vision = {**VISION, "mit_hidden_size": 16, "mit_intermediate_size": 24, "mit_num_attention_heads": 2}
    config = XCLIPConfig(text_config=_causal_text(tokenizer), vision_config=vision, projection_dim=12)
    return XCLIPModel(config), tokenizer, _clip_processor()


def _vit():
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    return ViTModel(ViTConfig(**VISION)), clip_tokenizer(), ViTImageProcessor(size={"height": SIDE, "width": SIDE})


def _siglip2_any_resolution():
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model

    tokenizer = sentence_tokenizer()
    vision = {key: value for key, value in VISION.items() if key != "image_size"}
    text = {**_causal_text(tokenizer), "projection_size": 16}
    config = Siglip2Config(text_config=text, vision_config={**vision, "num_patches": 16})
    return Siglip2Model(config), tokenizer, Siglip2ImageProcessor(patch_size=8, max_num_patches=16)


def _owlv2():
    from transformers import Owlv2Config, Owlv2ImageProcessor, Owlv2Model

    tokenizer = clip_tokenizer()
    config = Owlv2Config(text_config=_causal_text(tokenizer), vision_config=VISION, projection_dim=12)
    return Owlv2Model(config), tokenizer, Owlv2ImageProcessor(size={"height": SIDE, "width": SIDE})


#: Dual encoders.
DUAL_ENCODERS = {
    "align": _align,
    "altclip": _altclip,
    "blip": _blip,
    "chinese_clip": _chinese_clip,
    "clip": _clip,
    "clip_other_pad": _clip_other_pad,
    "clipseg": _clipseg,
    "metaclip_2": _metaclip_2,
    "siglip": _siglip,
}
#: What is none, or prepares images in a way that is not known.
REFUSED_FAMILIES = {
    "owlv2": _owlv2,
    "siglip2_any_resolution": _siglip2_any_resolution,
    "vit": _vit,
    "x_clip": _x_clip,
}
FAMILIES = {**DUAL_ENCODERS, **REFUSED_FAMILIES}
