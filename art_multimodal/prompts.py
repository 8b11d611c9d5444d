"""Class names and templates into prompts."""

from __future__ import annotations

from collections.abc import Sequence

from art_multimodal.errors import InputError
from art_multimodal.texts import as_texts, without_words

#: Takes the place of the class name in a template.
PLACEHOLDER = "{}"
DEFAULT_TEMPLATES = ("a photo of a {}.",)


def check_class_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return class names as a tuple. Several classes may have one name, as two of ImageNet's have in OpenAI's list.

    :raises InputError: If there are fewer than two, all are the same, or one is no string or empty.
    """
    if isinstance(class_names, str):
        raise InputError(f"class_names must be a list of names, not the single string {class_names!r}.")
    names = tuple(class_names)
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"A class name must be a string, not {type(name).__name__}: {name!r:.60}.")
    names = tuple(name.strip() for name in names)
    for name in names:
        if not name.strip():
            raise InputError("A class name is empty.")
    if len(names) < 2:
        raise InputError(f"Classification needs at least two classes; {len(names)} given.")
    if len(set(names)) == 1:
        raise InputError(f"All {len(names)} classes have the name {names[0]!r}: nothing tells them apart.")
    return names


def check_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Return templates as a tuple.

    :raises InputError: If there is none, or one does not hold ``{}`` exactly once.
    """
    templates = (templates,) if isinstance(templates, str) else tuple(templates)
    if not templates:
        raise InputError("At least one prompt template is needed, such as 'a photo of a {}.'.")
    for template in templates:
        if not isinstance(template, str) or template.count(PLACEHOLDER) != 1:
            raise InputError(
                f"A template must hold {PLACEHOLDER} exactly once, where the class name goes; "
                f"{template!r:.80} does not."
            )
    return templates


def fill_templates(class_names: Sequence[str], templates: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return for each class its prompts, one per template. Only the first ``{}`` is replaced; nothing is formatted."""
    return tuple(tuple(template.replace(PLACEHOLDER, name, 1) for template in templates) for name in class_names)


def check_prompts(prompts: Sequence[str | Sequence[str]], nb_classes: int) -> tuple[tuple[str, ...], ...]:
    """Return prompts as one tuple per class.

    :raises InputError: If there is not one entry per class, or a class has no prompt.
    """
    if isinstance(prompts, str):
        prompts = [prompts]
    checked = tuple(tuple(as_texts(entry)) for entry in prompts)
    if len(checked) != nb_classes:
        raise InputError(f"{len(checked)} prompts were given for {nb_classes} classes: give one entry per class.")
    for index, entry in enumerate(checked):
        if not entry:
            raise InputError(f"Class {index} has no prompt.")
    return checked


def removable_words(templates: Sequence[str] | None) -> list[tuple[int, int]]:
    """Return (template, word) of every word that may be removed: all of the templates' words but the class name's own.

    Removing the class name would change the question instead of attacking the model. Prompts that were given as they
    stand have no words that are known to be shared by all classes, hence none to remove. A word that is alone besides
    the placeholder's is removable; the prompt then is the class name.
    """
    return [
        (number, index)
        for number, template in enumerate(templates or ())
        for index, word in enumerate(template.split())
        if PLACEHOLDER not in word
    ]


def templates_without(templates: Sequence[str], words: Sequence[int]) -> tuple[str, ...]:
    """Return templates with removable words deleted.

    :param words: Indices into :func:`removable_words`.
    """
    places = removable_words(templates)
    return tuple(
        without_words(template, [places[word][1] for word in words if places[word][0] == number])
        for number, template in enumerate(templates)
    )
