"""open_clip's own vision transformer in parts, where it is built as CLIP's."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from art_multimodal.models.causal_text import is_as_built
from art_multimodal.models.fast_gradients import embeds_patches
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
