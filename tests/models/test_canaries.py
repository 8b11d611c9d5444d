"""Nothing that is loaded as a model runs code, asks a question, or reads outside of its own folder.

Every test plants something that would leave a file behind if it ran, and a standard input that fails when it is read.
"""

from __future__ import annotations

import builtins
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fuzz.checkpoints import make_checkpoints, vouch
from models.conftest import RunsCode
from safetensors.torch import load_file

from art_multimodal.errors import InputError
from art_multimodal.language.masked_language_model import load_masked_language_model
from art_multimodal.models.loading import load_model


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    return make_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def canary(tmp_path, monkeypatch) -> Path:
    """Where code of a checkpoint would write; the question whether to run it may not be asked."""

    def asked(*arguments):
        raise AssertionError("a question was asked on the terminal")

    monkeypatch.setattr(builtins, "input", asked)
    monkeypatch.setattr(sys.stdin, "readline", asked, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    modules = tmp_path / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    yield tmp_path / "CANARY"
    assert not (tmp_path / "CANARY").exists(), "code of the checkpoint ran"
    assert not modules.exists(), "code was copied into the cache"
    assert "evil" not in sys.modules


def change(path: Path, edit: Callable[[dict], None]) -> None:
    settings = json.loads(path.read_text())
    edit(settings)
    path.write_text(json.dumps(settings))


def plant(folder: Path, canary: Path) -> None:
    """Python code beside the weights, as hub repositories have it."""
    (folder / "evil.py").write_text(
        f"open({str(canary)!r}, 'w').write('ran')\n"
        "from transformers import PretrainedConfig as Config, PreTrainedModel as Model\n"
        "from transformers import PreTrainedTokenizer as Tokenizer, CLIPImageProcessor as Processor\n"
    )


def copy_of(made: dict[str, Path], name: str, tmp_path: Path, canary: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(made[name], folder)
    plant(folder, canary)
    return folder


def refused(spec: str, *named: str) -> None:
    with pytest.raises(InputError) as caught:
        load_masked_language_model(spec[4:]) if spec.startswith("mlm:") else load_model(spec)
    message = str(caught.value)
    assert "\n" not in message
    for name in named:
        assert name in message, message


CODE = {
    "config.json": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoModelForMaskedLM": "evil.Model"},
    "tokenizer_config.json": {"AutoTokenizer": ["evil.Tokenizer", None]},
    "preprocessor_config.json": {"AutoImageProcessor": "evil.Processor", "AutoProcessor": "evil.Processor"},
    "processor_config.json": {"AutoProcessor": "evil.Processor"},
    "generation_config.json": {"AutoConfig": "evil.Config"},
}


@pytest.mark.parametrize("file", CODE)
@pytest.mark.parametrize("known", [True, False])
def test_code_named_by_a_model_of_transformers(made, tmp_path, canary, file, known):
    folder = copy_of(made, "hf:0", tmp_path, canary)
    path = folder / file
    if not path.exists():
        path.write_text("{}")
    kind = {} if known else {"model_type": "theirs", "tokenizer_class": "Theirs", "image_processor_type": "Theirs"}
    change(path, lambda settings: settings.update(auto_map=CODE[file], **kind))
    refused(f"hf:{folder}", file, "auto_map")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_named_by_a_language_model(made, tmp_path, canary, file):
    folder = copy_of(made, "mlm:0", tmp_path, canary)
    change(folder / file, lambda settings: settings.update(auto_map=CODE[file], model_type="theirs"))
    refused(f"mlm:{folder}", file, "auto_map")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_named_by_the_bert_of_an_mmbt(made, tmp_path, canary, file):
    folder = copy_of(made, "mmbt:0", tmp_path, canary)
    plant(folder / "bert", canary)
    change(folder / "bert" / file, lambda settings: settings.update(auto_map=CODE[file]))
    refused(f"mmbt:{folder}", file, "auto_map")


def edit_open_clip(folder: Path, **text) -> None:
    def edit(settings):
        settings["model_cfg"]["text_cfg"].update(text)

    change(folder / "open_clip_config.json", edit)


@pytest.mark.parametrize("setting", ["trust_remote_code", "auto_map", "cache_dir", "bpe_path"])
def test_settings_that_open_clip_would_hand_to_the_tokenizer(made, tmp_path, canary, setting):
    folder = copy_of(made, "open_clip:local-dir:0", tmp_path, canary)
    change(folder / "tokenizer_config.json", lambda settings: settings.pop("auto_map", None))
    edit_open_clip(folder, tokenizer_kwargs={setting: True})
    refused(f"open_clip:local-dir:{folder}", setting)


def test_code_named_by_the_tokenizer_of_open_clip(made, tmp_path, canary):
    folder = copy_of(made, "open_clip:local-dir:0", tmp_path, canary)
    change(folder / "tokenizer_config.json", lambda s: s.update(auto_map=CODE["tokenizer_config.json"]))
    refused(f"open_clip:local-dir:{folder}", "auto_map")


def test_code_named_by_a_text_tower_in_a_folder(made, tmp_path, canary):
    """transformers would ask whether to run it."""
    folder = copy_of(made, "open_clip:local-dir:0", tmp_path, canary)
    tower = tmp_path / "tower"
    shutil.copytree(made["mlm:0"], tower)
    plant(tower, canary)
    change(tower / "config.json", lambda s: s.update(auto_map=CODE["config.json"], model_type="theirs"))
    edit_open_clip(folder, hf_model_name=str(tower))
    refused(f"open_clip:local-dir:{folder}", "auto_map")


@pytest.mark.parametrize("key", ["hf_model_name", "hf_tokenizer_name"])
def test_a_path_that_is_relative_to_wherever_one_is(made, tmp_path, canary, monkeypatch, key):
    folder = copy_of(made, "open_clip:local-dir:0", tmp_path, canary)
    edit_open_clip(folder, **{key: "../../elsewhere"})
    refused(f"open_clip:local-dir:{folder}", key)


@pytest.mark.parametrize("name", ["local-dir:{}", "hf-hub:nobody/nothing", "hf_hub:nobody/nothing"])
def test_addresses_in_the_place_of_a_name_of_timm(made, tmp_path, canary, name):
    folder = copy_of(made, "open_clip:local-dir:0", tmp_path, canary)

    def edit(settings):
        settings["model_cfg"]["vision_cfg"]["timm_model_name"] = name.format(folder)

    change(folder / "open_clip_config.json", edit)
    refused(f"open_clip:local-dir:{folder}", "timm_model_name")


@pytest.mark.parametrize("part", ["model_cfg", "vision_cfg", "text_cfg", "preprocess_cfg"])
def test_settings_that_are_not_known(made, tmp_path, canary, part):
    folder = copy_of(made, "open_clip:local-dir:0", tmp_path, canary)

    def edit(settings):
        inner = settings if part.endswith("model_cfg") or part == "preprocess_cfg" else settings["model_cfg"]
        inner[part]["custom_loader"] = "evil.Loader"

    change(folder / "open_clip_config.json", edit)
    refused(f"open_clip:local-dir:{folder}", f"{part}.custom_loader")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("attn_implementation", "nobody/kernels"),
        ("use_kernels", True),
        ("quantization_config", {"quant_method": "auto-round"}),
        ("configuration_files", ["config.4.0.0.json"]),
        ("transformers_weights", "../other.safetensors"),
        ("backbone", "hf-hub:nobody/nothing"),
    ],
)
def test_settings_that_fetch_or_exchange_something(made, tmp_path, canary, setting, value):
    folder = copy_of(made, "hf:0", tmp_path, canary)
    change(folder / "config.json", lambda settings: settings["vision_config"].update({setting: value}))
    refused(f"hf:{folder}", setting)


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("spec", ["hf:0", "mlm:0", "open_clip:local-dir:0", "mmbt:0"])
def test_pickles(made, tmp_path, canary, monkeypatch, spec, forced):
    """With and without torch's own switch that makes it run what is in pickles."""
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    folder = copy_of(made, spec, tmp_path, canary)
    inner = folder / "bert" if spec == "mmbt:0" else folder
    name, other = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    if "open_clip" not in spec:
        name, other = "model.safetensors", "pytorch_model.bin"
    state = load_file(inner / name)
    (inner / name).unlink()
    torch.save({**state, "surprise": RunsCode(canary)}, inner / other)
    refused(f"{spec.rpartition(':')[0]}:{folder}", "could run code")


class RaisesTypeError:
    """Unpickling this under restrictions raises a TypeError, after which open_clip loads without them."""

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (1,)


def test_a_pickle_that_asks_to_be_loaded_again(made, tmp_path, canary, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    folder = copy_of(made, "open_clip:local-dir:0", tmp_path, canary)
    (folder / "open_clip_model.safetensors").unlink()
    path = folder / "open_clip_pytorch_model.bin"
    torch.save([RaisesTypeError(), RunsCode(canary)], path)
    with pytest.raises(TypeError):
        torch.load(path, weights_only=True)
    restricted = []
    load = torch.load

    def recorded(*arguments, **named):
        restricted.append(named.get("weights_only"))
        return load(*arguments, **named)

    monkeypatch.setattr(torch, "load", recorded)
    refused(f"open_clip:local-dir:{folder}", "Cannot load")
    assert restricted and all(restricted)


def test_torchscript_archives(made, tmp_path, canary):
    folder = copy_of(made, "open_clip:local-dir:0", tmp_path, canary)
    (folder / "open_clip_model.safetensors").unlink()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "open_clip_pytorch_model.bin")
    refused(f"open_clip:local-dir:{folder}", "could run code")


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/hostname", "..", "", 5])
@pytest.mark.parametrize("spec", ["hf:0", "mlm:0"])
def test_an_index_that_leads_out_of_its_folder(made, tmp_path, canary, spec, name):
    folder = copy_of(made, spec, tmp_path, canary)
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(tmp_path / "elsewhere.safetensors"), name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(f"{spec.rpartition(':')[0]}:{folder}", "weight_map")


@pytest.mark.parametrize("spec", ["hf:0", "mlm:0", "open_clip:local-dir:0", "mmbt:0"])
@pytest.mark.parametrize("kind", [".json", ".safetensors"])
def test_links_that_lead_out_of_the_folder(made, tmp_path, canary, spec, kind):
    folder = copy_of(made, spec, tmp_path, canary)
    path = next(path for path in sorted(folder.rglob(f"*{kind}")))
    path.rename(tmp_path / "secret")
    path.symlink_to(tmp_path / "secret")
    refused(f"{spec.rpartition(':')[0]}:{folder}", "link", path.name)


def test_links_of_the_hub_cache_are_followed(made, tmp_path, canary):
    """There every file is a link to the blobs of its own repository."""
    folder = tmp_path / "models--nobody--clip" / "snapshots" / "0123"
    blobs = folder.parent.parent / "blobs"
    blobs.mkdir(parents=True)
    shutil.copytree(made["hf:0"], folder)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(os.path.relpath(blobs / str(number), folder))
    assert load_model(f"hf:{folder}").notes == ()


def test_a_vocabulary_outside_of_the_folder(made, tmp_path, canary):
    folder = copy_of(made, "hf:0", tmp_path, canary)
    change(folder / "tokenizer_config.json", lambda settings: settings.update(vocab_file="/dev/zero"))
    refused(f"hf:{folder}", "vocab_file")


@pytest.mark.parametrize("number", [0, 1])
def test_saved_models_with_digests_written_anew(made, tmp_path, canary, number):
    folder = copy_of(made, f"checkpoint:{number}", tmp_path, canary)
    change(folder / "tokenizer_config.json", lambda s: s.update(auto_map=CODE["tokenizer_config.json"]))
    if number:
        edit_open_clip(folder, hf_tokenizer_name="x", tokenizer_kwargs={"trust_remote_code": True})
    vouch(folder)
    refused(f"checkpoint:{folder}", "trust_remote_code" if number else "auto_map")
