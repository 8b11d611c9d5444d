"""A run of adversarial training as a whole: data, training, validation, and a folder that holds all of it."""

from art_multimodal.defences.training_run.run import Listener, TrainingRun
from art_multimodal.defences.training_run.settings import RunSettings
from art_multimodal.defences.training_run.summary import TrainingSummaryWriter

__all__ = ["Listener", "RunSettings", "TrainingRun", "TrainingSummaryWriter"]
