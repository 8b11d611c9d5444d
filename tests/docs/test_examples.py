"""Every block of code on a page is run: here, by a test of the page, or not at all, and then the page says why.

The blocks of a page are run in their order, in one folder and with one set of names, as a reader would. What the page
takes for granted (images, a model of the reader's own) is given beforehand. Commands get small limits where they have
none, and weights of a hub are those of a demo.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import art_multimodal
from art_multimodal.cli.program import main
from art_multimodal.datasets import open_data
from art_multimodal.evaluations.formats import FORMATS

from . import pages
from .given import captioned, sensors, towers, write_photos
from .pages import ROOT, blocks_of, commands_of, page_files
from .test_commands import arguments_of, is_console

#: Pages whose Python blocks are run by a test of their own, which looks at what comes out.
OWN_TESTS = {
    "docs/benchmark.md": "tests/test_cli_benchmark.py",
    "docs/api.md": "tests/docs/test_docstrings.py",
    "docs/certificates.md": "tests/estimators/certification/test_certificates_page.py",
    "docs/defences.md": "tests/defences/test_registry.py",
    "docs/detection.md": "tests/defences/test_detection_page.py",
    "docs/extending.md": "tests/test_contributors.py",
    "docs/fusions.md": "tests/defences/test_documentation.py",
    "docs/modalities.md": "tests/models/test_modalities_page.py",
    "docs/own_model.md": "tests/models/test_own_model_page.py",
    "docs/trainers.md": "tests/defences/test_documentation.py",
    "docs/training.md": "tests/defences/test_training_run.py",
}
#: Stand for weights that would have to be fetched.
STANDS_FOR = {
    "open_clip:ViT-B-32/laion2b_s34b_b79k": "demo:digits",
    "open_clip:ViT-B-32/openai": "demo:digits",
    "open_clip:ViT-L-14/openai": "demo:digits",
    "open_clip:RN50/openai": "demo:digits/robust",
    "open_clip:ViT-B-16/laion2b_s34b_b88k": "demo:scenes",
    "hf:openai/clip-vit-base-patch32": "demo:digits",
    "hf:dandelin/vilt-b32-finetuned-vqa": "demo:shapes",
}
#: What commands get where they say nothing of it, so that they are through in seconds.
SMALL = {
    "audit": {"--limit": "4", "--steps": "1", "--max-queries": "10", "--device": "cpu"},
    "train": {"--limit": "40", "--epochs": "1", "--steps": "1", "--device": "cpu"},
    "certify": {"--limit": "4", "--attack-steps": "1", "--device": "cpu"},
    "transfer": {"--limit": "4", "--steps": "1", "--device": "cpu"},
    "universal": {"--limit": "4", "--steps": "1", "--device": "cpu"},
    "statistics": {"--limit": "4", "--device": "cpu"},
}
_DIGITS = """
import numpy as np
from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.datasets import open_data
data = open_data("demo:digits")
names = data.class_names
images = np.stack([data.image(i) for i in range(4)])
labels = np.array([data.label_of(i) for i in range(4)])
"""
_SURROGATES = """
first = ZeroShotClassifier(load_model("demo:digits"), names, data.templates)
second = ZeroShotClassifier(load_model("demo:digits/robust"), names, data.templates)
target = first
"""
_SHAPES = """
import numpy as np
from art_multimodal.datasets import open_data
shapes = open_data("demo:shapes")
images = np.stack([shapes.image(i) for i in range(3)])
questions = [shapes.text_of(i) for i in range(3)]
labels = np.array([shapes.label_of(i) for i in range(3)])
"""
#: What a page takes for granted: before the block that has the text.
GIVEN: dict[str, list[tuple[str, str]]] = {
    # The page begins with the commands and shows the file behind them.
    "docs/benchmark.md": [("--dry-run", "small_benchmark()")],
    "docs/decoupling.md": [
        ('modalities="image"', _SHAPES),
        ('modalities=("rgb", "audio")', "classifier, x = sensors()"),
    ],
    "docs/estimators.md": [
        ("image_text_pairs(images, captions)", "images, captions = captioned()"),
        ("image_text_pairs(images, questions)", _SHAPES),
        ("CustomFusion(", "net, tokenizer = towers()"),
    ],
    "docs/formats.md": [
        ("read_report", "run('art-multimodal audit demo:digits --data demo:digits --attacks pgd --out audit')")
    ],
    "docs/interoperability.md": [
        (
            "zero_shot_classifier",
            _SHAPES
            + """
from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs, load_model
fusion_classifier = FusionClassifier(load_model("demo:shapes"))
pairs = image_text_pairs(images, questions)
zero_shot_classifier = ZeroShotClassifier(load_model("demo:digits"), ["no", "yes", "red", "blue", "two"])
labels = np.array([0, 1, 0])
""",
        )
    ],
    "docs/multimodal_attacks.md": [
        ("CoAttack(", _DIGITS),
        ("truth=pairs", "pairs = adversarial = captioned(pairs=True)"),
    ],
    "docs/preprocessing.md": [
        (
            "--deployed pipeline.npz",
            "import numpy as np\nnp.savez('pipeline.npz', pixels=np.zeros((20, 3, 32, 32), 'f4'))",
        )
    ],
    "docs/transfer.md": [
        ("TransferAttack([first, second]", _DIGITS + _SURROGATES),
    ],
    "docs/typographic.md": [("TypographicAttack", _DIGITS)],
    "docs/worst_case.md": [("WorstCase", _DIGITS + 'estimator = ZeroShotClassifier(load_model("demo:digits"), names)')],
    "docs/evidence.md": [
        (
            "compare before after",
            "run('art-multimodal audit demo:digits --data demo:digits --attacks pgd --out before')\n"
            "run('art-multimodal audit demo:digits --data demo:digits --attacks pgd --out after')",
        )
    ],
}
#: Pages whose code imports a package that is optional, by its name.
WANTS = {"docs/maite.md": "maite"}
BLOCKS = [block for page in page_files() for block in blocks_of(page) if not block.language.startswith("{")]
RUN = [block for block in BLOCKS if not block.reason and (block.language == "python" or is_console(block))]
HERE = sorted({block.page for block in RUN if is_console(block) or block.page not in OWN_TESTS})


def test_every_block_is_of_a_known_kind() -> None:
    for block in BLOCKS:
        assert block.language in ("", "python", "yaml", "json", "bash"), f"{block.place}: {block.language}"
        assert not block.reason or len(block.reason.split()) > 2, f"{block.place}: why is it not run?"
        if block.language == "python":
            ast.parse(block.text)


def test_pages_with_a_test_of_their_own_are_read_by_it() -> None:
    for page, test in OWN_TESTS.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), page
        assert any(block.page == page and block.language == "python" for block in BLOCKS), page
    for page, pieces in GIVEN.items():
        for text, _ in pieces:
            assert any(block.page == page and text in block.text for block in RUN), f"{page}: no block with {text}"


@pytest.mark.slow
@pytest.mark.parametrize("page", HERE)
def test_the_blocks_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    if page in WANTS:
        pytest.importorskip(WANTS[page], reason=f"needs the extra {WANTS[page]}, which the page names")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FORMATS, "_entries", dict(FORMATS._entries))
    real = art_multimodal.load_model
    monkeypatch.setattr(art_multimodal, "load_model", lambda name, *rest: real(STANDS_FOR.get(name, name), *rest))
    for folder in ("photos", "others"):
        write_photos(tmp_path / folder)
    given_by = (run, captioned, sensors, towers, open_data, small_benchmark)
    names: dict[str, Any] = {one.__name__: one for one in given_by}
    printed = ""
    for block in (block for block in RUN if block.page == page):
        for text, given in GIVEN.get(page, ()):
            if text in block.text:
                exec(given, names)
        if is_console(block):
            for line in commands_of(block):
                assert run(line, printed) == 0, f"{block.place}: {line}: {capsys.readouterr().err[-500:]}"
                printed = capsys.readouterr().out
        elif page not in OWN_TESTS:
            exec(compile(block.text, block.place, "exec"), names)


def run(line: str, printed: str = "") -> int:
    """Run a command of a page, with small limits; return its exit code, 1 (a limit failed) taken for fine.

    :param printed: By the command before, in which a digest stands that the page shows the beginning of.
    """
    digest = re.search(r"\b[0-9a-f]{64}\b", printed)
    line = re.sub(r"\b[0-9a-f]{8}\.\.\.", digest[0] if digest else "", line)
    for name, stand_in in STANDS_FOR.items():
        line = line.replace(name, stand_in)
    arguments = arguments_of(line)
    assert arguments is not None, f"{line}: mark the block, this is no command of the program"
    if "--plan" not in arguments:
        for option, value in SMALL.get(arguments[0], {}).items():
            if option in arguments:
                arguments[arguments.index(option) + 1] = value
            elif option not in arguments:
                arguments += [option, value]
    elif arguments[0] == "audit":
        shorten(Path(arguments[arguments.index("--plan") + 1]))
    if arguments[0] in ("audit", "certify") and not {"--out", "--resume", "--overwrite"} & set(arguments):
        # A page shows what one might do, each into the folder that is meant where none is named.
        arguments.append("--overwrite")
    code = main(arguments)
    return 0 if code == 1 else code


def small_benchmark() -> None:
    """Write the configuration that the page on benchmarks shows, for two models."""
    (text,) = [
        one.text
        for one in BLOCKS
        if one.page == "docs/benchmark.md" and one.language == "yaml" and "title:" in one.text
    ]
    content = yaml.safe_load(text)
    content["models"], content["samples"]["limit"] = content["models"][:2], 4
    Path("benchmark.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def shorten(plan: Path) -> None:
    """Leave little to do in a plan."""
    content = yaml.safe_load(plan.read_text(encoding="utf-8"))
    content["samples"]["limit"] = 4
    content["attacks"] = {"image": ["pgd"], "noise": ["noise"]}
    content["budgets"] = {"eps": "1/255", "steps": 1}
    plan.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_a_block_says_why_it_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: needs what is not here -->\n```python\nraise\n```\n\n```\nart-multimodal audit x\n```\n"
    )
    first, second = blocks_of(page)
    assert (first.reason, second.reason) == ("needs what is not here", "")
    assert is_console(second) and not is_console(first)
    assert (first.place, second.place) == ("page.md:2", "page.md:6") and first.text == "raise\n"
