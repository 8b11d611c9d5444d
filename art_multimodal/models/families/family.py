"""How models are kept on the disk: each names its family, and a family knows how its models are saved and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from art_multimodal.errors import InputError
from art_multimodal.models import families
from art_multimodal.registry import Registry, class_name, imported, not_here

if TYPE_CHECKING:
    from art_multimodal.models.base import Model

#: Families that are not called as their folder is, or stand elsewhere.
_NAMED = {"demo": "art_multimodal.demo", "hf": f"{families.__name__}.hugging_face"}


@dataclass(frozen=True)
class Family:
    """How models of one kind are saved and loaded.

    >>> from art_multimodal.models.weight_files import fill_exactly, write_weights
    >>> def save(model, folder):
    ...     write_weights(model, folder / "weights.safetensors")
    ...
    >>> def load(folder, facts):
    ...     model = torch.nn.Linear(facts["width"], 2)
    ...     fill_exactly(model, folder / "weights.safetensors", "the model")
    ...     return model.eval()
    ...
    >>> family = Family(lambda model: {"width": model.in_features}, save, load)
    >>> model = torch.nn.Linear(3, 2)
    >>> family.save(model, Path())
    >>> bool((family.load(Path(), family.facts(model)).weight == model.weight).all())
    True

    :param facts: What loading must know of a model beside its files, in JSON's types. Raises ``InputError`` if the
        model cannot be saved.
    :param save: Fills an empty folder with a model.
    :param load: Makes a model of a folder and the facts, in evaluation mode, on the CPU. Raises ``InputError`` if they
        cannot be used.
    """

    facts: Callable[[Any], dict[str, Any]]
    save: Callable[[Any, Path], None]
    load: Callable[[Path, Mapping[str, Any]], Any]


#: Every family by the name that its models have as ``family``: how they are kept, or the package whose ``saving.py``
#: says so as ``FAMILY``, which is imported when it is needed.
FAMILIES: Registry[Family | str] = Registry("family of models", (Family, str))
for _name, _package in _NAMED.items():
    FAMILIES.add(_name, _package)
for _path in sorted(Path(families.__file__).parent.glob("*/saving.py")):
    if (_package := f"{families.__name__}.{_path.parent.name}") not in _NAMED.values():
        FAMILIES.add(_path.parent.name, _package)


def facts_of(model: Model) -> dict[str, Any]:
    """Return the family of a model, and what loading must know beside its files, in JSON's types.

    :raises InputError: If the model cannot be saved.
    """
    if model.family is None:
        raise InputError(f"A {type(model).__name__} has no format to be saved in. {model.why_unsaved}")
    found = {"family": model.family, **_family(model.family).facts(model)}
    # For those who load it where the plug-in is missing.
    return found if FAMILIES.origin(model.family) is None else {**found, "class": class_name(type(model))}


def save_files(model: Model, folder: Path) -> None:
    """Fill an empty folder with a model that :func:`facts_of` accepts.

    :raises OSError: If something cannot be written; safetensors raises an error of its own.
    """
    assert model.family is not None
    _family(model.family).save(model, folder)


def load_files(folder: Path, facts: Mapping[str, Any]) -> Any:
    """Make a model of its files and facts, in evaluation mode, on the CPU.

    :raises InputError: If they cannot be used.
    """
    name = str(facts.get("family"))
    if name not in FAMILIES:
        raise not_here("family of models", name, FAMILIES, facts.get("class"))
    return _family(name).load(folder, facts)


def _family(name: str) -> Family:
    found = FAMILIES[name]
    return imported(f"{found}.saving:FAMILY") if isinstance(found, str) else found
