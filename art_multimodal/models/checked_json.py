"""JSON files of checkpoints: read strictly, refused by name where they ask for code, other models or other files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError, one_line
from art_multimodal.shown import shown

#: Most bytes of a JSON file; tokenizers of a quarter of a million pieces take some thirty million.
_MOST_BYTES = 256 * 2**20
_DEEPEST = 60
#: Settings with which a library would run code, fetch kernels or exchange layers, and what they mean.
_REFUSED = {
    "auto_map": "it names Python code to run",
    "trust_remote_code": "it asks for Python code to be run",
    "custom_pipelines": "it names Python code to run",
    "custom_generate": "it names Python code to run",
    "kernel_config": "it asks for compiled code to be fetched",
    "use_kernels": "it asks for compiled code to be fetched",
    "quantization_config": "quantised weights have no gradients to attack with; save the model without quantisation",
    "configuration_files": "it puts another file in the place of this configuration",
    "fast_tokenizer_files": "it puts another file in the place of the tokenizer",
    "transformers_weights": "it puts another file in the place of the weights",
    "use_pretrained_backbone": "it asks for the weights of another model",
}
#: Settings that name a part of a library: a path or an address there would open something else.
_NAMES = {"attn_implementation", "_attn_implementation", "experts_implementation", "timm_model_name"}
_NAMES |= {"backbone", "architecture", "tokenizer_class", "image_processor_type"}
#: Settings that name files a tokenizer reads; the folder's own have their fixed names.
_FILES = {"vocab_file", "merges_file", "tokenizer_file", "spm_file", "bpe_path", "chat_template_file"}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    :raises InputError: If it cannot be read, is no JSON in UTF-8 (NaN and Infinity are none), is nested more than 60
        deep, larger than 256 MB, or holds something else.
    """
    name = shown(path)
    try:
        size = path.stat().st_size
        if not path.is_file() or size > _MOST_BYTES:
            raise InputError(f"{name} is no file of at most {_MOST_BYTES} bytes. Give the file that was saved.")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} cannot be read as JSON ({type(error).__name__}: {one_line(error)}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{name} cannot be read: it must hold a JSON object, not a {type(content).__name__}.")
    if _depth(content) > _DEEPEST:
        raise InputError(f"{name} is nested more than {_DEEPEST} deep, so it is no configuration of a model.")
    return content


def check_folder(folder: Path) -> None:
    """Look at a folder before a library reads it: links, and the settings of every configuration in it.

    :raises InputError: If a link leads out of it, a JSON file cannot be read, or a setting asks for code to be run, or
        for something outside the folder. The setting is named.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"The folder {shown(folder)} cannot be read ({type(error).__name__}).") from error
    for path in entries:
        check_link(path)
        if path.name == "adapter_config.json" or path.name.startswith("adapter_model."):
            raise InputError(
                f"{shown(folder)} holds an adapter beside the base weights ({shown(path.name)}), which would change "
                "what the model answers and is not applied here. Merge it (peft: merge_and_unload, "
                "save_pretrained), or move it out of the folder to measure the base model."
            )
        # Those that libraries read for settings; what else lies there (a trainer's log) is nobody's business.
        if path.name.endswith("config.json"):
            check_settings(read_json(path), path)


def check_link(path: Path) -> None:
    """Refuse a link that leads out of its folder; those of the Hugging Face cache lead to its own blobs.

    :raises InputError: If it does, or leads nowhere.
    """
    if not path.is_symlink():
        return
    folder = path.parent.resolve()
    target = path.resolve()
    homes = [folder]
    if folder.parent.name == "snapshots":
        homes.append(folder.parent.parent / "blobs")
    if not target.exists() or not any(target.is_relative_to(home) for home in homes):
        raise InputError(f"{shown(path)} is a link that leads out of its folder. Copy the file itself into it.")


def check_settings(settings: Any, source: object) -> None:
    """Refuse settings that would make a library run code or open something else than the checkpoint.

    :param settings: From a JSON file.
    :param source: Where they stand, for messages.
    :raises InputError: Naming the setting.
    """
    for key, value in _entries(settings):
        if key in _REFUSED and value not in (None, False):
            raise InputError(f"{shown(source)} sets {key}, which is refused: {_REFUSED[key]}. Nothing of it was used.")
        if key in _NAMES and isinstance(value, str) and _leads_elsewhere(value):
            raise InputError(
                f"{shown(source)} sets {key} to {shown(value)[:80]!r}, which is refused: a plain name is allowed "
                "there, no path and no address."
            )
        if key in _FILES and isinstance(value, str) and _is_elsewhere(value):
            raise InputError(
                f"{shown(source)} sets {key} to {shown(value)[:80]!r}, which is refused: a tokenizer reads the files "
                "of its own folder alone. Remove the setting."
            )


def _is_elsewhere(name: str) -> bool:
    """Whether this is a file outside of the folder; old checkpoints name files of the machine they come from."""
    try:
        path = Path(name)
        return (path.is_absolute() or ".." in path.parts) and path.exists()
    except (OSError, ValueError):
        return True


def _leads_elsewhere(name: str) -> bool:
    return any(sign in name for sign in ("/", "\\", ":", "..")) or not name.isprintable()


def _entries(settings: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values, however deep."""
    waiting = [settings]
    while waiting:
        content = waiting.pop()
        if isinstance(content, dict):
            yield from ((str(key), value) for key, value in content.items())
            waiting.extend(content.values())
        elif isinstance(content, list):
            waiting.extend(content)


def whole_numbers(settings: Any) -> Iterator[tuple[str, int]]:
    """All whole numbers with the key they stand under; those in lists under the key of the list."""
    for key, value in _entries({"": settings}):
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and not isinstance(number, bool):
                yield key, number


def _depth(content: Any) -> int:
    deepest, waiting = 0, [(content, 1)]
    while waiting:
        content, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(content, dict | list) and depth <= _DEEPEST:
            inner = content.values() if isinstance(content, dict) else content
            waiting.extend((part, depth + 1) for part in inner)
    return deepest


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
