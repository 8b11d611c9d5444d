"""Who could mount the attacks of a row, what they need for it, and when the row may be left aside."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from art_multimodal.evaluations.standards import BLACK_BOX, OUTAGE, WHITE_BOX, family_of
from art_multimodal.evaluations.suite import ATTACKS, AttackEntry
from art_multimodal.evaluations.suite.selection import CERTIFIED, FLIPPED, SINGLE_SOURCE, SMOOTHED

#: What attackers with that knowledge see of the model.
ACCESS = {
    WHITE_BOX: "the weights, of which gradients are taken",
    BLACK_BOX: "the scores of each answer, as often as the budget says; no weights",
    OUTAGE: "none: nobody attacks",
}


@dataclass(frozen=True)
class ThreatModel:
    """Who attacks.

    :param attacker: Who could do it, and what they have in their hands.
    :param writes: Who writes the text that is changed; a dash where none is.
    :param ignore: When the row may be left aside: continues "not a threat where".
    :param access: What the attacker sees of the model, where that is not what :data:`ACCESS` says.
    """

    attacker: str
    writes: str
    ignore: str
    access: str = ""


_NO_TEXT = "–"

#: By what is attacked, as :func:`art_multimodal.evaluations.standards.family_of` calls it.
THREAT_MODELS: dict[str, ThreatModel] = {
    "image": ThreatModel(
        "Whoever hands in an image, pixel by pixel: an upload, a file, a picture on a page.",
        _NO_TEXT,
        "all images come from a camera of one's own, straight to the model.",
    ),
    "text": ThreatModel(
        "Whoever writes a text that the model reads: a caption, a sample's own text, a class prompt.",
        "the attacker",
        "only the owner writes texts: prompts of a zero-shot classifier that nobody else can change are then a test of "
        "wording, not of an attack.",
    ),
    "multimodal": ThreatModel(
        "Whoever hands in an image together with its text: a post, a listing, a page that is indexed.",
        "the attacker",
        "image and text come from different people who do not work together: the rows of each alone say what there "
        "is to lose.",
    ),
    "transfer": ThreatModel(
        "Whoever hands in an image, and has models of their own that are like this one: a public checkpoint of its "
        "family, or one trained on the same kind of pictures.",
        _NO_TEXT,
        "all images come from a camera of one's own; or nothing like the model is public, which is seldom known.",
        "none: it is asked once, with the result",
    ),
    "decision": ThreatModel(
        "Whoever hands in images to a service that answers with a label, again and again, and compares.",
        _NO_TEXT,
        "nobody can ask as often as the budget of queries says: calls are limited, or copies of one image noticed.",
        "the label of each answer, as often as the budget says; no scores, no weights",
    ),
    "typographic": ThreatModel(
        "Whoever can put a label into the picture, with a sticker or a pen, and needs no computer for it.",
        "the attacker, into the picture",
        "nobody can come near what is photographed, nor edit the photo.",
    ),
    "worst": ThreatModel(
        "The same as for images, for texts and for both, with all attacks there are, and patience.",
        "the attacker, where texts are changed",
        "the rows of what is changed may be left aside, too: these are the same threats, attacked harder.",
    ),
    "decoupling": ThreatModel(
        "Whoever can cover, cut or delete parts of a sample, or an accident that does: dirt, a cropped frame, a lost "
        "word.",
        "anybody; words are only removed",
        "what is removed would be noticed before the model is asked. It is no bound by itself: it says which modality "
        "an answer hangs on.",
    ),
    SINGLE_SOURCE: ThreatModel(
        "Whoever controls one source of several and no other: a sensor, its cable, its file, or a text beside it.",
        "the attacker, where the source is a text",
        "all sources come through one hand: who can change one can change all, and the row of all counts.",
    ),
    "modality_swap": ThreatModel(
        "Whoever can play a recording of something else to one source: spoofing.",
        "somebody else, for another sample",
        "sources are authenticated or fresh, so that an old recording is refused.",
    ),
    "time_shift": ThreatModel(
        "Whoever can delay a stream, or a clock that drifts.",
        _NO_TEXT,
        "sources are synchronised below what the model is tested with.",
    ),
    "modality_missing": ThreatModel(
        "Nobody: a source fails, and the model is told so.",
        _NO_TEXT,
        "the model is never asked without all its sources.",
    ),
    "modality_removed": ThreatModel(
        "Nobody: a source delivers nothing of use (dark, silent, blank), and the model is not told.",
        _NO_TEXT,
        "such a failure is found out before the model is asked.",
    ),
    "universal": ThreatModel(
        "Whoever can lay one and the same pattern over all images: in a camera's firmware, on its lens, in a filter, a "
        "watermark or a file that is passed on. It was learned on other models; this one was never asked.",
        _NO_TEXT,
        "nothing stands between what is photographed and the model, and images are not handed in.",
    ),
    "noise": ThreatModel(
        "Nobody: noise of the size that an attacker may use, which attacks with gradients have to beat.",
        _NO_TEXT,
        "attacks on the same radius are judged: this is what they are compared with.",
    ),
}
_CERTIFIED = ThreatModel(
    "Whoever may edit as much of a sample as the budget of the certificate says, anywhere, and knows everything.",
    "the attacker, where the budget has words",
    "nobody can edit samples; but for that, the rows of attacks say nothing about what they did not try, and this one "
    "does.",
)
THREAT_MODELS |= dict.fromkeys((FLIPPED, CERTIFIED), _CERTIFIED)
#: Of the row before any attack.
NO_ATTACK = ThreatModel("Nobody: the model is asked as it is.", _NO_TEXT, "never: it is what is declared.")
#: Of what another package registers, or a plan asks for, and nobody has described.
_UNDESCRIBED = ThreatModel(
    "Whoever controls what the attacks of the row change.",
    "see the description of the attack",
    "nobody but the owner can change it.",
)


def threat_model_of(family: str, modalities: Collection[str] = ()) -> ThreatModel:
    """Who attacks what.

    >>> model = threat_model_of("image")
    >>> isinstance(model, ThreatModel), bool(model.attacker)
    (True, True)

    :param family: As :func:`art_multimodal.evaluations.standards.family_of`, or the name of a row that stands for one
        modality of several.
    :param modalities: Names of the modalities of samples.
    """
    if family in ("clean", SMOOTHED):
        return NO_ATTACK
    return THREAT_MODELS.get(SINGLE_SOURCE if family in modalities else family, _UNDESCRIBED)


def members_of_family(family: str) -> list[AttackEntry]:
    """The attacks of the suite that are of a family.

    >>> "pgd" in [entry.name for entry in members_of_family("image")]
    True
    """
    return [entry for _, entry in ATTACKS.items() if family_of(entry) == family]


def families() -> list[str]:
    """The families of the suite, in the order of its listings.

    >>> "image" in families()
    True
    """
    return list(dict.fromkeys(family_of(entry) for _, entry in ATTACKS.items()))
