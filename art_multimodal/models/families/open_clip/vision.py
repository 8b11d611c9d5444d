"""open_clip's own vision transformer in parts, where it is built as CLIP's."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from art_multimodal.models.causal_text import is_as_built
from art_multimodal.models.fast_gradients import embeds_patches
from art_multimodal.models.layered_images import LayeredImages
from art_multimodal.models.visible_patches import PatchTower, patch_grid


def patch_tower_of(model: Any, size: tuple[int, int]) -> PatchTower | None:
    """Take the vision transformer of an open_clip model apart; ``None`` where it is not known to be CLIP's.

    Known is the class ``VisionTransformer`` itself with a class token that is the feature: not the residual networks,
    those of timm (SigLIP), attention or a mean as pooling (CoCa), and no class derived from it. Nor one with hooks on
    what sees whole images, which may mix patches or count them.

    :param size: Height and width of the images, in pixels.
    """
    from open_clip.model import CLIP, CustomTextCLIP
    from open_clip.transformer import (
        CustomResidualAttentionBlock,
        ResidualAttentionBlock,
        Transformer,
        VisionTransformer,
    )

    if type(model) not in (CLIP, CustomTextCLIP) or "encode_image" in vars(model):
        return None
    visual = model.visual
    if type(visual) is not VisionTransformer or type(visual.transformer) is not Transformer:
        return None
    if visual.attn_pool is not None or visual.pool_type != "tok" or visual.output_tokens:
        return None
    blocks = visual.transformer.resblocks
    if not all(type(block) in (ResidualAttentionBlock, CustomResidualAttentionBlock) for block in blocks):
        return None
    if {"_embeds", "_pool", "_global_pool"} & set(vars(visual)) or not embeds_patches(visual.conv1):
        return None
    if not is_as_built((visual, visual.conv1, visual.ln_pre, visual.transformer, *blocks, visual.ln_post)):
        return None
    grid = patch_grid(visual.conv1, size, len(visual.positional_embedding) - 1)
    if grid is None:
        return None

    def transform(states: Tensor) -> Tensor:
        feature = visual.ln_post(visual.transformer(visual.ln_pre(states))[:, 0])
        return feature if visual.proj is None else feature @ visual.proj

    first, positions = visual.positional_embedding[0], visual.positional_embedding[1:]
    return PatchTower(grid, visual.conv1, visual.class_embedding + first, positions, transform)


def layered_images_of(model: Any, size: tuple[int, int]) -> LayeredImages | None:
    """The same transformer layer by layer; ``None`` where :func:`patch_tower_of` does not know it."""
    if patch_tower_of(model, size) is None:
        return None
    visual = model.visual

    def embed(pixels: Tensor) -> Tensor:
        patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
        first = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        return visual.ln_pre(torch.cat([first, patches], dim=1) + visual.positional_embedding.to(patches.dtype))

    def project(states: Tensor) -> Tensor:
        feature = visual.ln_post(states[:, 0])
        return feature if visual.proj is None else feature @ visual.proj

    layers = (partial(_layer, block, visual.transformer.batch_first) for block in visual.transformer.resblocks)
    return LayeredImages(embed, tuple(layers), project)


def _layer(block: nn.Module, batch_first: bool, states: Tensor) -> Tensor:
    """States ``[N, T, W]`` behind a block."""
    found: Tensor = block(states) if batch_first else block(states.transpose(0, 1)).transpose(0, 1)
    return found
