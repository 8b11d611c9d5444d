"""Saved models come back as they were, by our loader and by their libraries' own; what is on the disk stays whole."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from photos import save_photo
from tiny import TinyEncoder

from art_multimodal import cli
from art_multimodal.demo.digits import DigitsEncoder
from art_multimodal.errors import InputError
from art_multimodal.models import saving
from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
from art_multimodal.models.fast_gradients import with_fast_gradients
from art_multimodal.models.loading import load_model
from art_multimodal.models.saving import INDEX, save_model, weights_sha256

HUGGING_FACE = ["align", "altclip", "blip", "chinese_clip", "clip", "clip_other_pad", "metaclip_2", "siglip"]
OPEN_CLIP = ["tiny-test", "tiny-test-coca", "tiny-test-sigmoid", "tiny-test-rectangle", "tiny-test-stripped"]
OPEN_CLIP += ["tiny-test-end-is-pad"]


def moved(model):
    """The model with all weights somewhere else, as after training: what stands for padding stays zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter[0].any():
                parameter.mul_(1.01)
            else:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * 0.02 * parameter.abs().mean())
    return model


@torch.no_grad()
def logits(model, texts) -> torch.Tensor:
    images = torch.rand(3, 3, 41, 52, generator=torch.Generator().manual_seed(1))
    return model(images, model.tokenize(list(texts)))


@pytest.fixture(params=[*HUGGING_FACE, *OPEN_CLIP, "demo:digits", "demo:scenes"])
def spec(request, saved, open_clip_checkpoint) -> str:
    if request.param in HUGGING_FACE:
        return f"hf:{saved(request.param).folder}"
    if request.param in OPEN_CLIP:
        return f"open_clip:{request.param}/{open_clip_checkpoint(request.param)[1]}"
    return request.param


def test_a_saved_model_answers_as_before(spec, tmp_path, texts):
    model = moved(load_model(spec))
    save_model(model, tmp_path / "out" / "best", trained_from=spec)
    for name in (tmp_path / "out", tmp_path / "out" / "best"):
        again = load_model(f"checkpoint:{name}")
        assert type(again) is type(model) and not again.training
        assert torch.equal(logits(model, texts), logits(again, texts))
    facts = json.loads((tmp_path / "out" / "best" / INDEX).read_text())
    assert facts["weights_sha256"] == weights_sha256(model) and facts["trained_from"] == spec
    # Once more from there, and the weights are there once.
    save_model(again, tmp_path / "again")
    assert weights_sha256(load_model(f"checkpoint:{tmp_path / 'again'}")) == facts["weights_sha256"]
    assert len(list((tmp_path / "again").rglob("*.safetensors"))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "out"]


@pytest.mark.parametrize("family", HUGGING_FACE)
def test_transformers_reads_it(saved, tmp_path, texts, family):
    import transformers

    model = moved(load_model(f"hf:{saved(family).folder}"))
    save_model(model, tmp_path / "best")
    assert torch.equal(logits(model, texts), logits(load_model(f"hf:{tmp_path / 'best'}"), texts))
    theirs, info = transformers.AutoModel.from_pretrained(tmp_path / "best", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, model.model.state_dict()[name]), name
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "best")
    assert tokenizer("a red dog")["input_ids"] == saved(family).tokenizer("a red dog")["input_ids"]
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "best")
    assert processor.to_dict() == saved(family).processor.to_dict()


@pytest.mark.parametrize("architecture", OPEN_CLIP)
def test_open_clip_reads_it(open_clip_checkpoint, tmp_path, texts, architecture):
    import open_clip

    model = moved(load_model(f"open_clip:{architecture}/{open_clip_checkpoint(architecture)[1]}"))
    save_model(model, tmp_path / "best")
    weights = tmp_path / "best" / "open_clip_model.safetensors"
    by_path = load_model(f"open_clip:{architecture}/{weights}")
    assert torch.equal(logits(model, texts), logits(by_path, texts))
    theirs, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'best'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'best'}")
    # Layers with faster gradients add in another order than open_clip's own, which a model handed in keeps.
    torch.testing.assert_close(
        logits(model, texts), logits(OpenCLIPEncoder(theirs, tokenizer).eval(), texts), rtol=1e-4, atol=1e-4
    )


def test_quick_gelu_and_preprocessing_are_not_forgotten(open_clip_checkpoint, tmp_path, texts):
    """They come with a published tag; beside a bare file of weights they would be lost."""
    import open_clip

    model, _ = open_clip_checkpoint("tiny-test")
    config = {**open_clip.get_model_config("tiny-test"), "quick_gelu": True}
    quick = open_clip.create_model(
        "tiny-test", force_quick_gelu=True, force_preprocess_cfg={"mean": (0.1, 0.2, 0.3), "resize_mode": "squash"}
    ).eval()
    quick.load_state_dict(model.state_dict())
    encoder = OpenCLIPEncoder(quick, open_clip.get_tokenizer("tiny-test"), config)
    save_model(encoder, tmp_path / "best")
    with_fast_gradients(quick)  # as what is loaded has them
    before = logits(encoder, texts)
    assert torch.equal(before, logits(load_model(f"checkpoint:{tmp_path}"), texts))
    weights = tmp_path / "best" / "open_clip_model.safetensors"
    assert torch.equal(before, logits(load_model(f"open_clip:tiny-test/{weights}"), texts))
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(weights.read_bytes())
    assert not torch.allclose(before, logits(load_model(f"open_clip:tiny-test/{bare}"), texts), atol=1e-3)


def refusal(spec: str) -> str:
    with pytest.raises(InputError) as caught:
        load_model(spec)
    return str(caught.value)


@pytest.fixture
def best(tmp_path) -> Path:
    save_model(load_model("demo:digits"), tmp_path / "best")
    return tmp_path / "best"


def test_what_is_no_saved_model_is_refused(best, tmp_path):
    assert "no saved model" in refusal(f"checkpoint:{tmp_path / 'nowhere'}")
    assert "names no folder" in refusal("checkpoint:")
    index = best / INDEX
    facts = json.loads(index.read_text())
    for text, message in [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 1}', "cannot be read"),
        (json.dumps({**facts, "format": 2}), "has format 2"),
        (json.dumps({**facts, "family": "keras"}), "Unknown family"),
        (json.dumps({**facts, "name": "../digits"}), "Unknown demo model"),
        (json.dumps({**facts, "name": ["digits"]}), "Unknown demo model"),
        (json.dumps({**facts, "name": "scenes"}), "does not hold the weights of demo:scenes"),
        (json.dumps({**facts, "family": "hf"}), "Cannot load"),
        (json.dumps({**facts, "family": "open_clip"}), "Cannot load"),
    ]:
        index.write_text(text)
        assert message in refusal(f"checkpoint:{best}"), text


def test_changed_cut_and_missing_files_are_noticed_before_they_are_read(saved, tmp_path):
    save_model(load_model(f"hf:{saved('clip').folder}"), tmp_path / "best")
    (tmp_path / "best" / "README.md").write_text("somebody's own")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "preprocessor_config.json"):
        path = tmp_path / "best" / name
        whole = path.read_bytes()
        for content in (whole[:-1], whole + b" ", None):
            path.unlink() if content is None else path.write_bytes(content)
            assert f"{path} is not the file that was saved there" in refusal(f"checkpoint:{tmp_path}")
        path.write_bytes(whole)
    load_model(f"checkpoint:{tmp_path}")


@pytest.mark.parametrize("family", ["demo", "hf", "open_clip"])
def test_a_full_disk_leaves_what_was_there(saved, open_clip_checkpoint, tmp_path, monkeypatch, family, texts):
    spec = {
        "demo": "demo:digits",
        "hf": f"hf:{saved('clip').folder}",
        "open_clip": f"open_clip:tiny-test/{open_clip_checkpoint('tiny-test')[1]}",
    }[family]
    model = load_model(spec)
    save_model(model, tmp_path / "best")
    before = {path.name: path.read_bytes() for path in (tmp_path / "best").iterdir()}
    write_text = Path.write_text

    def full(path: Path, *arguments, **named):
        if path.name == INDEX:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *arguments, **named)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left on device.*Make room"):
        save_model(moved(model), tmp_path / "best")
    assert {path.name: path.read_bytes() for path in (tmp_path / "best").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_kill_between_the_exchange_of_folders_loses_nothing(best, texts):
    """Then the new folder is complete, but the old one has its name no more."""
    best.rename(best.with_name(".best.old"))
    model = load_model(f"checkpoint:{best}")
    assert isinstance(load_model(f"checkpoint:{best.parent}"), DigitsEncoder)
    save_model(moved(model), best)
    assert [path.name for path in best.parent.iterdir()] == ["best"]
    assert torch.equal(logits(model, texts), logits(load_model(f"checkpoint:{best}"), texts))


def test_an_exchange_that_fails_is_undone(best, monkeypatch):
    before = weights_sha256(load_model(f"checkpoint:{best}"))
    rename = Path.rename

    def failing(path: Path, target: Path):
        if path.name == ".best.part":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError, match="Input/output error"):
        save_model(moved(load_model("demo:digits")), best)
    assert [path.name for path in best.parent.iterdir()] == ["best"]
    assert weights_sha256(load_model(f"checkpoint:{best}")) == before


def test_models_without_a_format_are_refused_before_any_work(tmp_path, open_clip_checkpoint):
    import open_clip

    with pytest.raises(InputError, match="TinyEncoder has no format"):
        saving.check_can_be_saved(TinyEncoder())
    with pytest.raises(InputError, match="does not know its architecture"):
        save_model(
            OpenCLIPEncoder(open_clip_checkpoint("tiny-test")[0], open_clip.get_tokenizer("tiny-test")),
            tmp_path / "best",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", ["hf", "open_clip"])
def test_what_the_command_line_trains_is_read_by_the_libraries(tmp_path, saved, open_clip_checkpoint, family):
    for index in range(12):
        save_photo(tmp_path / "photos" / ("cat", "dog")[index % 2] / f"{index}.png", (40, 40), index)
    spec = {
        "hf": f"hf:{saved('clip').folder}",
        "open_clip": f"open_clip:tiny-test/{open_clip_checkpoint('tiny-test')[1]}",
    }[family]
    out = tmp_path / "out"
    arguments = ["--data", f"folder:{tmp_path / 'photos'}", "--epochs", "1", "--steps", "1", "--batch-size", "6"]
    arguments += ["--validation", "0.3", "--device", "cpu", "--out", str(out)]
    assert cli.main(["train", "tecoa", spec, *arguments]) == 0
    trained = load_model(f"checkpoint:{out}")
    own = f"hf:{out}/best" if family == "hf" else f"open_clip:tiny-test/{out}/best/open_clip_model.safetensors"
    again = load_model(own)
    images, tokens = torch.rand(2, 3, 32, 32), trained.tokenize(["a cat", "red dog"])
    with torch.no_grad():
        assert torch.equal(trained(images, tokens), again(images, tokens))
        assert not torch.equal(trained(images, tokens), load_model(spec)(images, tokens))


def test_links_stay_links_and_files_stay_files(tmp_path, monkeypatch):
    model = load_model("demo:digits")
    (tmp_path / "disk").mkdir()
    (tmp_path / "best").symlink_to("disk")
    for _ in range(3):
        save_model(model, tmp_path / "best")
    assert (tmp_path / "best").is_symlink() and (tmp_path / "disk" / "saved_model.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "disk"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        save_model(model, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    monkeypatch.chdir(tmp_path / "disk")
    assert load_model("checkpoint:.").state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("files", [{}, [[1, "x"]], None, {"model.safetensors": 5}])
def test_weights_that_the_index_does_not_vouch_for_are_not_read(tmp_path, files):
    save_model(load_model("demo:digits"), tmp_path / "best")
    index = tmp_path / "best" / "saved_model.json"
    facts = json.loads(index.read_text())
    index.write_text(json.dumps({**facts, "files": files}))
    with pytest.raises(InputError):
        load_model(f"checkpoint:{tmp_path / 'best'}")
