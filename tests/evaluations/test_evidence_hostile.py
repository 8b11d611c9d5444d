"""Bundles that somebody has changed, or made for harm: each is refused in one line, and nothing of it is believed."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evidence import KINDS, edited, first, forged, header_changed, kept, reported

from art_multimodal import cli
from art_multimodal.errors import InputError
from art_multimodal.evaluations.evidence.bundle import Bundle, Written
from art_multimodal.evaluations.evidence.files import MOST_HEADER, read_tensors, write_tensors
from art_multimodal.evaluations.evidence.fixtures import Head
from art_multimodal.evaluations.evidence.manifest import Entry, read_manifest
from art_multimodal.evaluations.evidence.rescoring import rescore
from art_multimodal.store import opened_document, sealed_document

pytestmark = pytest.mark.usefixtures("little_effort")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    made = {}
    attacks = {"digits": "pgd,character_attack", "retrieval": "similarity_pgd"}
    for kind in ("digits", "pairs", "views", "retrieval"):
        settings = replace(KINDS[kind], attacks=attacks.get(kind, "art_pgd"))
        made[kind] = kept(settings, tmp_path_factory.mktemp(kind) / "out")
    return made


def own(written: dict[str, Written], folder: Path, kind: str = "digits") -> Path:
    return Path(shutil.copytree(written[kind].folder, folder / "bundle"))


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of a bundle that cannot be used: one line."""
    code = cli.main(["verify", str(folder), "--device", "cpu"])
    captured = capsys.readouterr()
    assert code == 2, captured
    assert captured.err.count("\n") == 1 and captured.err.startswith("error: "), captured.err
    assert "\x1b" not in captured.err
    return captured.err


def test_one_changed_byte_anywhere_is_found_and_named(written, tmp_path: Path) -> None:
    folder, generator = own(written, tmp_path, "pairs"), np.random.default_rng(7)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        places = {0, len(content) - 1, *generator.integers(len(content), size=6).tolist()}
        for place in sorted(places):
            changed = bytearray(content)
            changed[place] ^= int(generator.integers(1, 256))
            path.write_bytes(bytes(changed))
            with pytest.raises(InputError) as error:
                Bundle(folder)
            assert path.name in str(error.value) or "another version" in str(error.value), (path, place)
        path.write_bytes(content)
    Bundle(folder)


def test_a_file_that_is_gone_added_renamed_cut_or_longer_is_named(written, tmp_path: Path) -> None:
    folder = own(written, tmp_path)
    one = first(folder, "safetensors")
    content, name = one.read_bytes(), one.name

    def fails(what: str) -> None:
        with pytest.raises(InputError, match=what):
            Bundle(folder)

    one.unlink()
    fails(f"{name} is missing")
    other = one.with_name("p000-b000099.safetensors")
    other.write_bytes(content)
    fails(f"{other.name} is not in the manifest; .*{name} is missing")
    other.unlink()
    one.write_bytes(content[:-1])
    fails(f"{name} has .* bytes instead of")
    one.write_bytes(content + b"\0")
    fails(f"{name} has .* bytes instead of")
    one.write_bytes(content)
    for stranger in ("run.json.bak", "fixtures/notes.txt", "fixtures/.hidden"):
        (folder / stranger).write_text("x")
        fails(f"{stranger} is not in the manifest")
        (folder / stranger).unlink()
    (folder / "fixtures" / "inner").mkdir()
    fails("fixtures/inner is not in the manifest")
    (folder / "fixtures" / "inner").rmdir()
    Bundle(folder)


def test_links_are_not_followed(written, tmp_path: Path) -> None:
    folder = own(written, tmp_path)
    one, outside = first(folder, "safetensors"), tmp_path / "outside"
    shutil.move(one, outside)
    one.symlink_to(outside)
    with pytest.raises(InputError, match="is no regular file"):
        Bundle(folder)
    one.unlink()
    os.link(outside, one)
    with pytest.raises(InputError, match="hard link"):
        Bundle(folder)
    one.unlink()
    shutil.move(outside, one)
    moved = tmp_path / "fixtures"
    shutil.move(folder / "fixtures", moved)
    (folder / "fixtures").symlink_to(moved)
    with pytest.raises(InputError, match="fixtures is not in the manifest"):
        Bundle(folder)
    manifest = folder / "manifest.json"
    shutil.move(manifest, tmp_path / "manifest.json")
    manifest.symlink_to(tmp_path / "manifest.json")
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        Bundle(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "a recipe"}, "is not evidence of an audit"),
        ({"schema_version": 99}, "another version of art-multimodal .schema 99"),
        ({"fixtures": "none"}, "fixtures of the manifest"),
        ({"files": {"../run.json": {"size": 1, "sha256": "0" * 64}}}, "which no bundle has"),
        ({"files": {"/etc/passwd": {"size": 1, "sha256": "0" * 64}}}, "which no bundle has"),
        ({"files": {"fixtures/\x1b[31m.pt": {"size": 1, "sha256": "0" * 64}}}, r"\\x1b"),
        ({"files": {"run.json": {"size": 1 << 60, "sha256": "0" * 64}}}, "size of run.json"),
        ({"files": {"run.json": {"size": 1, "sha256": "0" * 63}}}, "sha256 of run.json"),
        ({"files": {}}, "does not name run.json"),
        ({"files": [1]}, "files of the manifest"),
        ({"hashes": {"weights": "x"}}, "hashes of the manifest"),
    ],
)
def test_a_manifest_names_what_a_bundle_has_and_nothing_else(written, tmp_path, capsys, change, said) -> None:
    folder = own(written, tmp_path)
    value = opened_document((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(sealed_document({**value, **change}))
    assert re.search(said, refused(folder, capsys))


def test_damaged_manifests(written, tmp_path: Path, capsys) -> None:
    folder = own(written, tmp_path)
    for content in (b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"kind": NaN}'):
        (folder / "manifest.json").write_bytes(content)
        assert "manifest.json cannot be used" in refused(folder, capsys)


def tensors_changed(change: Callable[[dict[str, np.ndarray]], None], number: int = 1) -> Callable[[Path], None]:
    """Change tensors, and the digest of them that the head has."""

    def apply(folder: Path) -> None:
        path = first(folder, "safetensors", number)
        tensors, _ = read_tensors(path)
        change(tensors)
        digest = write_tensors(path, tensors)
        edited(first(folder, "jsonl", number), lambda head: head.update(tensors=digest), 0)

    return apply


def lines_changed(line: int, number: int = 1, **entries: object) -> Callable[[Path], None]:
    return lambda folder: edited(first(folder, "jsonl", number), lambda value: value.update(entries), line)


def _renamed(tensors: dict[str, np.ndarray]) -> None:
    tensors["g9.v0.image"] = tensors.pop("g0.v0.image")


def _set(values: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, np.ndarray]], None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["g0.v0.image"] = np.ascontiguousarray(values(tensors["g0.v0.image"]))

    return change


def _filled(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda images: np.full_like(images, value)


def _of_another_file(folder: Path) -> None:
    write_tensors(first(folder, "safetensors"), {"x": np.zeros(3, np.float32)})


#: What no audit writes, with the digests that it would have.
HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "another name": (tensors_changed(_renamed), "lacks the tensor g0.v0.image"),
    "too many": (tensors_changed(lambda t: t.update(other=np.zeros(1, np.float32))), "belongs to no sample"),
    "fewer samples": (tensors_changed(_set(lambda images: images[:-1])), "is not of"),
    "another dtype": (tensors_changed(_set(lambda images: images.astype(np.int64))), "is not of"),
    "one channel": (tensors_changed(_set(lambda images: images[:, :1])), "must have shape"),
    "no pixels": (tensors_changed(_set(lambda images: images[:, :, :0])), "must have shape"),
    "a NaN": (tensors_changed(_set(_filled(np.nan))), "NaN or infinite"),
    "out of range": (tensors_changed(_set(_filled(7.0))), r"lie in \[0, 1\]"),
    "tensors of another file": (_of_another_file, "not those that it was written with"),
    "another pass": (lines_changed(0, attack="character_attack"), "of another pass"),
    "another batch": (lines_changed(0, batch=7), "does not fit what follows"),
    "another schema": (lines_changed(0, fixtures=9), "of schema 9"),
    "groups without samples": (lines_changed(0, groups=[10**9]), "does not fit what follows"),
    "many versions": (lines_changed(0, versions=10**6), "versions of the head"),
    "versions that are not there": (lines_changed(0, versions=3), "order of the groups"),
    "a number that is none": (lines_changed(1, index=-1), "index of a sample"),
    "a sample of another batch": (lines_changed(1, index=10**6), "not those of the log"),
    "another group": (lines_changed(1, group=5), "order of the groups"),
    "prompts of no class": (lines_changed(1, 2, prompts={"99": ["x"]}), "of a class that there is not"),
    "no prompts": (lines_changed(1, 2, prompts={"0": []}), "a class without prompts"),
    "prompts that are no texts": (lines_changed(1, 2, prompts={"0": [7]}), "prompts of a sample"),
    "a clean sample without a name": (lines_changed(1, 0, name=None), "has no name"),
    "a label that is no class": (lines_changed(1, 0, label=10**6), "label"),
    "as before, and not there before": (lines_changed(0, 0, same=["g0.v0.image"], tensors=None), "nothing before"),
    "a model that runs a file": (header_changed(model={"spec": "python:evil.py:make"}), "runs code of that name here"),
    "a model without a name": (header_changed(model={"spec": "loaded:Mine"}), "came from Python, unnamed"),
    "a model that is none": (header_changed(model={"spec": 7}), "spec of the model"),
    "settings that are none": (header_changed(settings={"seed": "x"}), "seed of the settings"),
    "groups of none": (header_changed(settings={"group_size": 0}), "group_size of the settings"),
    "points of a curve that are none": (header_changed(budget={"word_curve": ["x"]}), "word_curve of the budget"),
    "another number of classes": (header_changed(data={"class_names": ["one", "two"]}), "label|predicted"),
}


@pytest.mark.parametrize("kind", ["pairs", "views"])
def test_samples_of_another_size_are_refused(written, tmp_path: Path, capsys, kind: str) -> None:
    folder = own(written, tmp_path, kind)

    def shorter(tensors: dict[str, np.ndarray]) -> None:
        for name, values in tensors.items():
            tensors[name] = np.ascontiguousarray(values[..., :-1] if kind == "views" else values[:, :2])

    forged(folder, tensors_changed(shorter, 0))
    assert "must have shape" in refused(folder, capsys)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("captions", [[], ["a"] * 9, [" "], ["a"] * 5000])
def test_samples_have_the_captions_of_the_log(written, tmp_path: Path, capsys, number: int, captions: list) -> None:
    folder = own(written, tmp_path, "retrieval")
    forged(folder, lines_changed(1, number, texts={"text": captions}))
    err = refused(folder, capsys)
    assert "caption" in err or "no text" in err or "is empty" in err


def test_modalities_of_a_header_have_names(written, tmp_path: Path, capsys) -> None:
    folder = own(written, tmp_path, "views")
    forged(folder, header_changed(data={"modalities": [{"name": 7}]}))
    assert "name of a modality" in refused(folder, capsys)


def test_images_are_not_written_into_a_bundle(written, tmp_path: Path, capsys) -> None:
    folder = own(written, tmp_path)
    for where, said in ((folder / "images", "lies in the bundle"), (tmp_path, "holds bundle")):
        assert cli.main(["verify", str(folder), "--device", "cpu", "--images", str(where)]) == 2
        assert said in capsys.readouterr().err
    where = tmp_path / "images"
    assert cli.main(["verify", str(folder), "--device", "cpu", "--images", str(where)]) == 0
    assert f"{len(list(where.iterdir()))} images" in capsys.readouterr().out
    # Before any attack, and after the one that changes images.
    assert {path.name[:4] for path in where.iterdir()} == {"p000", "p001"}


def test_headers_of_tensors_are_bounded_and_hold_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"

    def fails(content: bytes, said: str) -> None:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said):
            read_tensors(path)

    def file_of(header: object, data: bytes = b"") -> bytes:
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    fails(b"", "too short")
    fails(struct.pack("<Q", 2**63) + b"{}", "header claims")
    fails(struct.pack("<Q", MOST_HEADER + 1) + b" " * (MOST_HEADER + 1), "header claims")
    fails(struct.pack("<Q", 4) + b"\x80\x04K.", "no JSON")
    fails(file_of([1]), "no object")
    fails(file_of({"x": 1}), "not of float32")
    fails(file_of({"x": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8), "not of float32")
    # A shape that would be allocated, if it were believed.
    fails(file_of({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, b"\0" * 4), "no whole file")
    fails(file_of({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4), "no whole file")
    fails(file_of({"x": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}}, b"\0" * 4), "not of float32")
    fails(file_of({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8), "no whole file")


def test_names_from_data_are_no_names_of_files_and_reach_no_terminal(written, tmp_path: Path, capsys) -> None:
    folder = own(written, tmp_path)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    place = next(number for number, line in enumerate(lines) if line["attack"] == "pgd")
    before = lines[place]["samples"][0]["predicted"]

    def lie(value: dict) -> None:
        value["samples"][0].update(name="../\x1b[31m\n=x", predicted=(before + 1) % 10)

    forged(folder, lambda where: edited(where / "log.jsonl", lie, place))
    # Whoever changes the log has to write the report anew.
    assert "report.json says something else than the log" in refused(folder, capsys)
    forged(folder, lambda where: reported(where, written["digits"].folder.parent / "pictures"))
    assert cli.main(["verify", str(folder), "--device", "cpu"]) == 1
    assert r"pgd: ../\x1b[31m\n=x was" in capsys.readouterr().out


def test_a_manifest_that_names_a_file_twice_as_large(written, tmp_path: Path, capsys) -> None:
    folder = own(written, tmp_path)
    name = f"fixtures/{first(folder, 'safetensors').name}"
    entry = read_manifest(folder)[0].files[name]
    forged(folder, lambda where: None, **{name: Entry(2 * entry.size, entry.sha256)})
    assert "bytes instead of" in refused(folder, capsys)


def _text_changed(name: str, old: str, new: str, count: int = 1) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, count), encoding="utf-8")

    return apply


def _numbers_changed(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    report["results"]["image"]["accuracy"] = 0.875
    report["verdicts"] = {"plan": None, "overall": "PASS", "gates": [], "without_limit": []}
    (folder / "report.json").write_text(json.dumps(report))


def _picture_changed(folder: Path) -> None:
    """Another image of the page stands in the place of the first."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    one, other = list(dict.fromkeys(re.findall(r"data:image/png;base64,[A-Za-z0-9+/=]+", text)))[:2]
    (folder / "report.html").write_text(text.replace(one, other), encoding="utf-8")


def _row_left_out(folder: Path) -> None:
    lines = (folder / "samples.csv").read_bytes().splitlines(keepends=True)
    (folder / "samples.csv").write_bytes(b"".join(lines[:-1]))


#: Reports that say something else than the log.
FORGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "numbers and a verdict": (_numbers_changed, "report.json says something else than the log .* .under results"),
    "no report": (lambda folder: (folder / "report.json").write_text("{}"), "report.json was written by another"),
    "a sample of the table": (_text_changed("samples.csv", ",1", ",0"), "samples.csv says something else"),
    "a sample fewer in the table": (_row_left_out, "samples.csv says something else"),
    "a sample more in the table": (_text_changed("samples.csv", "\n", "\n7,x,0,0,1,0,1,0,1\n"), "samples.csv says"),
    "a page": (_text_changed("report.md", "0.0 %", "90.0 %", -1), "report.md is not what"),
    "another page": (_text_changed("report.html", "0.0 %", "90.0 %", -1), "report.html is not what"),
    "a picture": (_picture_changed, "report.html is not what"),
}
CHANGED = {**HOSTILE, **FORGED}


@pytest.mark.parametrize("name", CHANGED)
def test_a_bundle_that_is_whole_and_says_what_cannot_be(written, tmp_path: Path, capsys, name: str) -> None:
    folder = own(written, tmp_path)
    change, said = CHANGED[name]
    forged(folder, change)
    assert re.search(said, err := refused(folder, capsys)), err


def test_pages_of_another_version_are_not_compared_and_that_is_said(written, tmp_path: Path, capsys) -> None:
    folder = own(written, tmp_path)

    def made_elsewhere(where: Path) -> None:
        header_changed(versions={"art-multimodal": "0.0.1"})(where)
        reported(where, written["digits"].folder.parent / "pictures")
        _text_changed("report.md", "#", "# Old")(where)

    forged(folder, made_elsewhere)
    assert cli.main(["verify", str(folder), "--device", "cpu"]) == 0
    assert "not compared: report.md, report.html: made by version 0.0.1" in capsys.readouterr().out


def test_verifying_changes_nothing(written, tmp_path: Path) -> None:
    folder = own(written, tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert rescore(Bundle(folder), device="cpu").confirmed
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert Head.__dataclass_params__.frozen
