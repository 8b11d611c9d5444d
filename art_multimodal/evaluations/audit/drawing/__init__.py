"""A picture or a plot of any modality of a sample, before and after an attack: kept beside the log, for reports.

Not public: the pictures of a report may change.
"""

from art_multimodal.evaluations.audit.drawing.keeping import (
    Drawn,
    drawings_of,
    is_whole,
    keep_drawings,
)

__all__ = ["Drawn", "drawings_of", "is_whole", "keep_drawings"]
