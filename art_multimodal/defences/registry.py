"""Defences by name: ART's preprocessors, ``"jpeg:quality=75"``, ours for texts, and those that compute at test time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from art.defences.preprocessor.preprocessor import Preprocessor

from art_multimodal.defences.entry import DEFENCES, DefenceEntry, DefenceOption, read_options, written
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.store import read_text_option

_BOX = {"clip_values": (0.0, 1.0), "channels_first": True}


@dataclass(frozen=True)
class Defence:
    """A defence with its options, as it was asked for.

    >>> defence = parse_defence("jpeg:quality=75")
    >>> isinstance(defence, Defence), type(defence.build()).__name__
    (True, 'JpegCompressionWithGradient')
    """

    name: str
    options: Mapping[str, Any]

    @property
    def entry(self) -> DefenceEntry:
        """What is known of it."""
        return DEFENCES[self.name]

    @property
    def spec(self) -> str:
        """The defence with all options, in the form that :func:`parse_defence` reads."""
        options = ",".join(f"{name}={written(value)}" for name, value in self.options.items() if value is not None)
        return f"{self.name}:{options}" if options else self.name

    @property
    def files(self) -> dict[str, str]:
        """Paths of the files that it is made from, by option."""
        options = self.entry.options.items()
        return {name: self.options[name] for name, one in options if one.is_file and self.options[name] is not None}

    def build(self, known_words: Sequence[str] = ()) -> Any:
        """Make the preprocessor, or the ``TestTimeDefence``.

        :param known_words: Words that repair of texts takes for right.
        :raises InputError: If a file that it is made from cannot be used.
        """
        options = dict(self.options)
        if self.entry.modality == "text":
            options["known_words"] = known_words
        return self.entry.build(**options)


def parse_defence(spec: str) -> Defence:
    """Read ``"name:option=value,option=value"``.

    >>> parse_defence("jpeg:quality=75").options["quality"]
    75

    :raises InputError: For an unknown name or option, a value that is not allowed, or one that is missing.
    """
    name, colon, rest = spec.partition(":")
    name = name.strip()
    if name not in DEFENCES:
        raise unknown_name("defence", name, DEFENCES)
    entry = DEFENCES[name]
    form = f"The defence {spec!r} is not of the form NAME:OPTION=VALUE, such as {entry.form(name)}."
    given = read_options(rest, entry.options, name, form) if colon else {}
    for key, option in entry.options.items():
        if option.required and key not in given:
            raise InputError(f"The defence {name} needs {key}={option.shown}: {option.required}.")
    return Defence(name, {key: given.get(key, option.default) for key, option in entry.options.items()})


def _jpeg(quality: int) -> Preprocessor:
    from art_multimodal.defences.with_gradient import JpegCompressionWithGradient

    return JpegCompressionWithGradient(quality=quality, **_BOX)


def _spatial_smoothing(window_size: int) -> Preprocessor:
    from art_multimodal.defences.with_gradient import SpatialSmoothingWithGradient

    return SpatialSmoothingWithGradient(window_size=window_size, **_BOX)


def _feature_squeezing(bit_depth: int) -> Preprocessor:
    from art.defences.preprocessor import FeatureSqueezing

    return FeatureSqueezing(clip_values=(0.0, 1.0), bit_depth=bit_depth)


def _gaussian_augmentation(sigma: float) -> Preprocessor:
    from art.defences.preprocessor import GaussianAugmentation

    return GaussianAugmentation(
        sigma=sigma, augmentation=False, clip_values=(0.0, 1.0), apply_fit=False, apply_predict=True
    )


def _unicode(known_words: Sequence[str]) -> Preprocessor:
    from art_multimodal.defences.preprocessor import UnicodeNormalisation

    return UnicodeNormalisation()


def _spelling(known_words: Sequence[str], vocabulary: str | None) -> Preprocessor:
    from art_multimodal.defences.preprocessor import SpellingRepair

    words = None
    if vocabulary is not None:
        words = read_text_option(vocabulary, "The vocabulary").split()
        if not words:
            raise InputError(f"The vocabulary {vocabulary} is empty. Give a text file with words.")
    return SpellingRepair(words, known_words)


DEFENCES.add(
    "jpeg",
    DefenceEntry("image", "JPEG compression (ART's)", _jpeg, {"quality": DefenceOption(50, 1, 95)}),
)
DEFENCES.add(
    "spatial_smoothing",
    DefenceEntry("image", "median filter (ART's)", _spatial_smoothing, {"window_size": DefenceOption(3, 2, 15)}),
)
DEFENCES.add(
    "feature_squeezing",
    DefenceEntry(
        "image", "fewer bits for each colour (ART's)", _feature_squeezing, {"bit_depth": DefenceOption(4, 1, 16)}
    ),
)
DEFENCES.add(
    "gaussian_augmentation",
    DefenceEntry(
        "image",
        "random noise (ART's)",
        _gaussian_augmentation,
        {"sigma": DefenceOption(0.1, 1e-6, 10, kind=float)},
        random=True,
    ),
)
DEFENCES.add(
    "unicode",
    DefenceEntry("text", "invisible characters removed, lookalikes of Latin letters folded (ours)", _unicode),
)
DEFENCES.add(
    "spelling",
    DefenceEntry(
        "text",
        "typing errors undone against an English vocabulary, or one in a file of words (ours)",
        _spelling,
        {"vocabulary": DefenceOption(None, kind=str)},
    ),
)

# Those that compute at test time come last in listings.
from art_multimodal.defences.test_time import named as _named  # noqa: E402, F401
