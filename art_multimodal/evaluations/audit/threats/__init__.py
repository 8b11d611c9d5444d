"""What may be changed, and all that a report says of it: a colour, a sentence, lines of the protocol.

Not public: the words of a report may change.
"""

from typing import Any

from art_multimodal.evaluations.audit.threats.black_boxes import OnLabels, OnSurrogates
from art_multimodal.evaluations.audit.threats.certified import Certified
from art_multimodal.evaluations.audit.threats.pictures_and_words import (
    Noise,
    OnBoth,
    OnImages,
    OnTexts,
    UniversalOnImages,
    WordsInImages,
    WorstOfAll,
    off_the_grid,
)
from art_multimodal.evaluations.audit.threats.removal import Removal
from art_multimodal.evaluations.audit.threats.samples import THREATS_OF_SAMPLES, OnOne
from art_multimodal.evaluations.audit.threats.threat import Circumstances, Quote, Threat, consequence
from art_multimodal.evaluations.suite import SAMPLES, entry_of

#: In the order of a summary.
THREATS: dict[str, Threat] = {
    threat.name: threat
    for threat in (
        *(OnImages(), OnTexts(), OnBoth(), OnSurrogates(), OnLabels()),
        *(UniversalOnImages(), WordsInImages(), Noise(), WorstOfAll(), Removal()),
    )
}


def threats_of(header: dict[str, Any]) -> dict[str, Threat]:
    """What is said of the rows of a run's report, in the order of a summary.

    An attack of one's own may change something that has no words yet.
    """
    if header["task"] != SAMPLES:
        known = dict(THREATS)
    else:
        single = [OnOne(one["name"], one["colour"]) for one in header["data"]["modalities"]]
        known = {**{threat.name: threat for threat in single}, **THREATS_OF_SAMPLES}
    if header.get("smoothing"):
        known[Certified.name] = Certified()
    attacked = (entry_of(name).modality for name in header["attacks"])
    return {**known, **{name: Threat(name) for name in attacked if name not in known}}


__all__ = ["THREATS", "Circumstances", "Quote", "Threat", "consequence", "off_the_grid", "threats_of"]
