"""Names as people write them: in capitals, with hyphens, or as other tools call the same thing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.shown import shown

#: What other tools call an option, without its dashes, and what it is called here.
OPTION_ALIASES = {
    "attack": "attacks",
    "class-names": "classes",
    "dataset": "data",
    "defence": "defence",
    "defences": "defence",
    "defense": "defence",
    "defenses": "defence",
    "epsilon": "eps",
    "step-size": "eps-step",
    "force": "overwrite",
    "iterations": "steps",
    "max-iter": "steps",
    "lr": "learning-rate",
    "max-samples": "limit",
    "num-samples": "limit",
    "models": "model",
    "num-steps": "steps",
    "output": "out",
    "output-dir": "out",
    "prompts": "templates",
    "protected-words": "protect",
    "queries": "max-queries",
    "surrogates": "surrogate",
    "template": "templates",
}


def option_name(token: str) -> str:
    """The name of an option or a command, without its dashes, for what was written: ``Batch_Size``, ``defense``."""
    name = token.lower().replace("_", "-")
    return OPTION_ALIASES.get(name, name)


def folded(name: str) -> str:
    """What is equal for names that differ in case, hyphens, underscores and spaces alone."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def note(text: str) -> None:
    """Say something on stderr that is no error."""
    print(f"note: {text}", file=sys.stderr)


@dataclass(frozen=True)
class Names:
    """Names that an option takes, and what else is taken for them.

    :param kind: What is named, in singular ("norm").
    :param option: Where it is given, for errors ("--norm").
    :param known: The names as they are written here.
    :param aliases: What other tools call them, to the name here. Spelling as in :func:`folded` does not matter.
    """

    kind: str
    option: str
    known: Iterable[str]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, given: str) -> str:
        """Return the name as it is written here; say so where it is another word.

        :raises InputError: For a name that is not known; the nearest ones are suggested.
        """
        if given in self.known:
            return given
        spelling = folded(given)
        alike = [name for name in self.known if folded(name) == spelling]
        if len(alike) == 1:
            return alike[0]
        for alias, name in self.aliases.items():
            if folded(alias) == spelling:
                note(f"the {self.kind} {shown(given)} is taken for {name}")
                return name
        error = str(unknown_name(self.kind, given, [*self.known, *self.aliases]))
        raise InputError(f"{self.option}: {error[0].lower()}{error[1:]}")

    def find_or_keep(self, given: str) -> str:
        """The same, but a name that is not known comes back as it is: who knows more than names will judge it."""
        try:
            return self.find(given)
        except InputError:
            return given


NORMS = Names(
    "norm",
    "--norm",
    ("inf", "2"),
    {"l_inf": "inf", "infinity": "inf", "np.inf": "inf", "max": "inf", "l_2": "2", "two": "2", "euclidean": "2"},
)
TASKS = Names(
    "task", "--task", ("classification", "retrieval"), {"zero_shot": "classification", "captions": "retrieval"}
)
SCHEDULES = Names("schedule of attacks", "--attacked", ("joint", "in-turn", "most-vulnerable"), {"all": "joint"})
DEVICES = Names("device", "--device", ("auto", "cpu", "cuda"), {"gpu": "cuda", "cuda:0": "cuda", "nvidia": "cuda"})

#: What else attacks are called. AutoAttack is an ensemble of attacks on images: so is ours.
ATTACK_ALIASES = {
    "aa": "worst_image",
    "auto_attack": "worst_image",
    "auto_pgd": "apgd",
    "apgd_ce": "apgd",
    "bert": "bert_attack",
    "char_attack": "character_attack",
    "ensemble": "worst",
    "images": "image",
    "decision_based": "decision",
    "label_only": "decision",
    "transfer_attack": "transfer",
    "linf_pgd": "pgd",
    "mmcoa": "independent",
    "muroan": "decoupling",
    "pgd_linf": "pgd",
    "projected_gradient_descent": "pgd",
    "sga": "set_level_guidance",
    "square_attack": "square",
    "texts": "text",
    "typographic_attack": "typographic",
}
_SCHEMES = {
    "model source": {"huggingface": "hf", "transformers": "hf", "ckpt": "checkpoint", "saved": "checkpoint"},
    "data source": {
        "dir": "folder",
        "directory": "folder",
        "imagefolder": "folder",
        "file": "csv",
        "dataset": "data",
        "torchvision": "data",
        "huggingface": "hf",
        "webdataset": "wds",
    },
}


def attack_names(text: str | None, strict: bool = True) -> str | None:
    """``"AutoAttack, PGD"`` as ``"worst_image,pgd"``, ``"PGD@depth"`` as ``"pgd@depth"``.

    :param strict: Whether an unknown one is refused here; otherwise it may be that of a model's modality, which only
        the model knows.
    :raises InputError: For an unknown one; the nearest names are suggested.
    """
    if text is None:
        return None
    from art_multimodal.evaluations.suite import ATTACKS

    known = [part for name, entry in ATTACKS.items() for part in (entry.modality, name.partition("@")[0])]
    names = Names(
        "attack", "--attacks", tuple(name for name in dict.fromkeys(known) if "@" not in name), ATTACK_ALIASES
    )
    found = []
    for part in (part.strip() for part in text.split(",")):
        attack, at, modality = part.partition("@")
        find = names.find if strict and attack else names.find_or_keep
        found.append(f"{find(attack)}{at}{modality}")
    return ",".join(found)


def resize_name(name: str | None) -> str | None:
    """``"cv2.INTER_AREA"`` as ``"opencv_area"``: what libraries call their resizes.

    :raises InputError: For unknown ones; the nearest names are suggested.
    """
    if name is None:
        return None
    from art_multimodal.functional.resizing import RESIZERS

    aliases = {f"{prefix}{own}": own for own in RESIZERS if "_" not in own for prefix in ("pil_", "pillow_")}
    opencv = [own for own in RESIZERS if own.startswith("opencv_")]
    aliases |= {f"{prefix}{own.removeprefix('opencv_')}": own for own in opencv for prefix in ("cv2.inter_", "cv2_")}
    return Names("resize", "--resize", tuple(RESIZERS), aliases).find(name)


def mask_name(name: str) -> str:
    """``"MMCert"`` as ``"independent"``: what papers call masks.

    :raises InputError: For unknown ones; the nearest names are suggested.
    """
    from art_multimodal.estimators.certification import MASKS

    aliases = {"fpa": "partition", "mmcert": "independent", "randomised_ablation": "joint"}
    return Names("kind of masks", "--masks", tuple(MASKS), aliases).find(name)


def method_name(name: str) -> str:
    """``"MMCoA"`` as ``"mmcoa"``.

    :raises InputError: For a model, which comes second.
    """
    from art_multimodal.defences.trainer import METHODS

    if ":" in name:
        raise InputError(
            f"The first argument is the method, which {shown(name)} is not: art-multimodal train METHOD MODEL --data "
            "DATA --out FOLDER. See art-multimodal list methods."
        )
    return Names("training method", "METHOD", tuple(METHODS)).find_or_keep(name)


def defence_spec(spec: str) -> str:
    """``"JPEG:quality=75"`` as ``"jpeg:quality=75"``; so for ART's names of these classes, ``JpegCompression``."""
    from art_multimodal.defences.registry import DEFENCES

    name, colon, options = spec.partition(":")
    aliases = {"jpeg_compression": "jpeg", "unicode_normalisation": "unicode", "unicode_normalization": "unicode"}
    aliases |= {"spelling_repair": "spelling"}
    return Names("defence", "--defence", tuple(DEFENCES), aliases).find_or_keep(name) + colon + options


def model_spec(spec: str) -> str:
    """``"OpenCLIP:ViT-B-32/openai"`` as ``"open_clip:ViT-B-32/openai"``.

    :raises InputError: For data, and for a name without its source: which it may be is suggested.
    """
    from art_multimodal.datasets import DATA_SOURCES
    from art_multimodal.models.loading import MODEL_SOURCES

    scheme, colon, _ = spec.partition(":")
    if not colon:
        sources = ("checkpoint", "hf") if Path(spec).is_dir() else ("open_clip", "hf") if "/" in spec else ("demo",)
        raise InputError(
            f"The model {shown(repr(spec))} has no source. Did you mean "
            f"{' or '.join(f'{source}:{shown(spec)}' for source in sources)}? See art-multimodal list models."
        )
    if scheme in DATA_SOURCES and scheme not in MODEL_SOURCES:
        raise InputError(
            f"{shown(spec)} is data, not a model: give it to --data. For example: art-multimodal audit demo:digits "
            f"--data {shown(spec)}."
        )
    return _with_scheme(spec, Names("model source", "MODEL", tuple(MODEL_SOURCES), _SCHEMES["model source"]))


def data_spec(spec: str) -> str:
    """``"Folder:photos"`` as ``"folder:photos"``; a bare path, or the name of a data set, as what it is.

    :raises InputError: For another name without its source.
    """
    from art_multimodal.datasets import DATA_SOURCES

    known = tuple(DATA_SOURCES)
    if ":" not in spec:
        source = "folder" if Path(spec).is_dir() else "csv" if Path(spec).suffix.lower() == ".csv" else None
        if source in known:
            note(f"--data {shown(spec)} is taken for {source}:{shown(spec)}")
            return f"{source}:{spec}"
        if (name := _data_set(spec)) is not None:
            note(f"--data {shown(spec)} is taken for data:{name}")
            return f"data:{name}"
        raise InputError(
            f"--data {shown(repr(spec))} is neither a folder, a CSV file nor the name of a data set here. Write "
            "demo:NAME, data:NAME, folder:PATH or csv:PATH: see art-multimodal list data."
        )
    return _with_scheme(spec, Names("data source", "--data", known, _SCHEMES["data source"]))


def _data_set(spec: str) -> str | None:
    from art_multimodal.datasets.named import find_name

    try:
        return find_name(spec)
    except InputError:
        return None


def _with_scheme(spec: str, names: Names) -> str:
    scheme, colon, rest = spec.partition(":")
    return f"{names.find_or_keep(scheme)}:{rest}" if colon else spec
