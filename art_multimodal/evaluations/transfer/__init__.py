"""How far images that were made on one model mislead others: a matrix of sources and targets."""

from art_multimodal.evaluations.transfer.matrix import NOISE, OTHERS, TransferCell, TransferMatrix, transfer_matrix
from art_multimodal.evaluations.transfer.run import TransferSettings, run_transfer

__all__ = [
    "NOISE",
    "OTHERS",
    "TransferCell",
    "TransferMatrix",
    "TransferSettings",
    "run_transfer",
    "transfer_matrix",
]
