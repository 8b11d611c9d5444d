"""Links of all pages: what they lead to is there, headings included; addresses elsewhere have the right form."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .pages import DOCS, ROOT, blocks_of, page_files, prose_of  # docs/ is found from here on

import glossary  # isort: skip

PAGES = page_files()
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
#: Made when the site is built: from the registries and from results.
GENERATED = DOCS / "generated"
#: Of the repository, pages of the site by inclusion.
ON_SITE = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
#: Depth of the headings that Sphinx gives an anchor (myst_heading_anchors).
DEPTH = 3
_LINK = re.compile(r"(?<!\\)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_BARE = re.compile(r"https?://[^\s)>\]`\"']+")


def links_of(page: Path) -> list[tuple[int, str]]:
    """Where the links of a page lead to, with the lines that they stand in."""
    found = []
    for number, line in prose_of(page):
        # What stands in code is no link.
        found += [
            (number, match[2]) for match in _LINK.finditer(re.sub(r"``.*?``|`[^`]*`", lambda m: "_" * len(m[0]), line))
        ]
        # But a link may be around code.
        found += [(number, match[1]) for match in re.finditer(r"\[`[^`]*`\]\(([^()\s]+)\)", line)]
    return list(dict.fromkeys(found))


def included(page: Path) -> list[Path]:
    """The files outside of the site that a page includes, which are pages by themselves, too."""
    names = [block.language.split()[-1] for block in blocks_of(page) if block.language.startswith("{include}")]
    return [(page.parent / name).resolve() for name in names if name.startswith("../")]


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """All anchors of a page, with those of what it includes."""
    found: dict[str, int] = {}
    anchors = []
    for _, line in [line for one in (page, *included(page)) for line in prose_of(one)]:
        heading = re.match(rf"^(#{{1,{DEPTH}}}) +(.*)$", line)
        if heading:
            anchor = glossary.anchor_of(heading[2])
            anchors.append(f"{anchor}-{found[anchor]}" if anchor in found else anchor)
            found[anchor] = found.get(anchor, 0) + 1
    return frozenset(anchors)


@cache
def generated() -> frozenset[str]:
    """Names of the pages that are made."""
    written = (DOCS / "generate.py").read_text(encoding="utf-8")
    names = {match[1] for match in re.finditer(r'"([\w]+)\.md"', written)}
    stems = {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    formats = {f"format_{name}" for name in re.findall(r'"([\w-]+)"', written)}
    notebooks = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    return frozenset(f"{name}.md" for name in names | stems | formats) | notebooks


def fault(page: Path, target: str) -> str | None:
    """What is wrong with a link; ``None`` if it leads somewhere."""
    if re.match(r"^[a-z]+:", target):
        parts = urlsplit(target)
        good = parts.scheme == "mailto" or (
            parts.scheme in ("http", "https") and "." in parts.netloc and not parts.username
        )
        return None if good else "is no address"
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if path.parent == GENERATED:
        return None if path.name in generated() else "is no page that is made"
    if not path.is_relative_to(ROOT):
        return "leads out of the repository"
    if not path.exists():
        return "is not there"
    # Pages of the site lead to pages of the site: nothing else is beside them where it is read.
    if page.parent == DOCS and path.parent != DOCS and path.suffix == ".md":
        return "is no page of the site"
    if anchor and path.suffix == ".md" and anchor not in anchors_of(path):
        return f"has no heading #{anchor}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    faults = [
        f"{page.name}:{line}: {target} {said}" for line, target in links_of(page) if (said := fault(page, target))
    ]
    assert not faults


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_addresses_have_the_right_form(page: Path) -> None:
    for number, line in prose_of(page):
        for address in _BARE.findall(line):
            parts = urlsplit(address.rstrip(".,;:"))
            local = parts.hostname in ("localhost", "127.0.0.1")
            assert parts.hostname and ("." in parts.hostname or local), f"{page.name}:{number}: {address}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_what_is_included_is_made(page: Path) -> None:
    for block in blocks_of(page):
        if block.language.startswith("{include}"):
            name = block.language.split()[-1]
            made = name.startswith("generated/") and Path(name).name in generated()
            assert made or (page.parent / name).resolve() in ON_SITE, block.place


@pytest.mark.parametrize("page", ON_SITE, ids=lambda page: page.name)
def test_what_is_a_page_of_the_site_too_leads_to_pages_of_the_site(page: Path) -> None:
    """The site turns links that begin with docs/ into those of its pages, and has nothing else beside them."""
    for line, target in links_of(page):
        assert re.match(r"^(https?:|#|docs/[\w/]+\.md)", target), f"{page.name}:{line}: {target}"
    (shown,) = [one for one in DOCS.glob("*.md") if page in included(one)]
    assert ":relative-docs: docs/" in shown.read_text(encoding="utf-8")


def test_every_page_is_in_the_contents_once() -> None:
    entries = [
        line.strip()
        for block in blocks_of(DOCS / "index.md")
        if block.language.startswith("{toctree}")
        for line in block.text.splitlines()
        if line.strip() and not line.startswith(":")
    ]
    assert len(entries) == len(set(entries))
    assert {entry for entry in entries if not entry.startswith("generated/")} == {
        page.stem for page in DOCS.glob("*.md") if page.stem != "index"
    }
    captions = [block.text.splitlines()[0] for block in blocks_of(DOCS / "index.md") if block.language == "{toctree}"]
    assert all(caption.startswith(":caption: ") for caption in captions)


def test_every_word_is_defined_once() -> None:
    words = glossary.definitions()
    assert len(words) > 30
    terms = [one.term.casefold() for one in words]
    names = [*terms, *(one.also.casefold() for one in words if one.also)]
    assert sorted(terms) == terms and [name for name in names if names.count(name) > 1] == []
    for one in words:
        assert one.anchor in anchors_of(DOCS / one.page), one
        assert len(one.text.split()) > 4 and one.text.endswith((".", ")")), one
    asked = "robust accuracy, worst case, white box, black box, gallery, oracle, smoothed model, transfer attack"
    assert {*asked.split(", "), "cost of trust", "adaptive attack", "naive attack", "point"} <= set(terms)


def test_the_glossary_has_definitions_with_links_from_its_own_folder() -> None:
    page = glossary.page()
    assert "**Modality**\n: One part of a sample: an image," in page and "(../concepts.md#what-is-attacked)" in page
    assert "**Robust accuracy** (accuracy under attack)\n: The share of **all** samples" in page
    for target in re.findall(r"\]\(([^)\s]+)\)", page):
        assert target.startswith("https://") or fault(GENERATED / "glossary.md", target) is None, target


ABOUT_ART = ("estimators", "attacks", "defences", "trainers", "certificates", "interoperability", "detection")


@pytest.mark.parametrize("name", ABOUT_ART)
def test_pages_about_what_art_has_lead_to_its_own_pages(name: str) -> None:
    own = "https://adversarial-robustness-toolbox.readthedocs.io/en/latest/modules/"
    assert any(target.startswith(own) for _, target in links_of(DOCS / f"{name}.md"))


def test_wrong_links_are_found(tmp_path: Path) -> None:
    page = DOCS / "start.md"
    assert fault(page, "concepts.md#what-is-measured") is None and fault(page, "#5-run-it") is None
    assert fault(page, "https://arxiv.org/abs/2103.00020") is None
    for target in (
        "nowhere.md",
        "concepts.md#nowhere",
        "#nowhere",
        "http://x",
        "../../elsewhere.md",
        "generated/no.md",
    ):
        assert fault(page, target), target
    assert fault(page, "../README.md") == "is no page of the site"
