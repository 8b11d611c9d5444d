"""What a certificate counts and hides in each modality, and under which masks a model is trained for it."""

from art_multimodal.ablation.elements import Elements, mean_fill
from art_multimodal.ablation.keep import Keep, keeps_of
from art_multimodal.ablation.kinds import Blocks, Points, Steps, Words, elements_of

__all__ = ["Blocks", "Elements", "Keep", "Points", "Steps", "Words", "elements_of", "keeps_of", "mean_fill"]
