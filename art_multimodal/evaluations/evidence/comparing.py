"""Two audits of the same samples: what changed, row by row, with what chance alone would have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.defence_files import HEADER as DEFENCE_FILES
from art_multimodal.evaluations.audit.lines import CLEAN, CleanLine
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.outcomes import Outcomes, outcomes
from art_multimodal.evaluations.audit.passes import goes_on_after, is_naive
from art_multimodal.evaluations.audit.rendering import md, percent
from art_multimodal.evaluations.audit.summary import members_of
from art_multimodal.evaluations.evidence.bundle import Bundle, evidence_folder
from art_multimodal.evaluations.evidence.keeping import MANIFEST_FILE
from art_multimodal.evaluations.suite.selection import SMOOTHED_ROWS
from art_multimodal.functional.statistics import holm_adjusted, mcnemar, paired_difference_ci95
from art_multimodal.shown import shown
from art_multimodal.store import HEADER_FILE
from art_multimodal.store.files import reason_of

#: Chance of at least one false alarm over all rows.
ALPHA = 0.05
#: Entries of the settings that say who is compared, how fast, or what is run at all: rows with these are comparable.
_MAY_DIFFER = frozenset({"model", "batch_size", "attacks", "limit", "defences", "draws"})
#: Begins the names of settings that rows of a smoothed model alone depend on.
_OF_SMOOTHING = "smoothing_"


@dataclass(frozen=True)
class RowChange:
    """What changed in a row.

    :param row: Its name.
    :param n: Samples that both count.
    :param accuracy_a: Of the first, over these.
    :param accuracy_b: Of the second, over these.
    :param difference: Second less first; a share, not points.
    :param difference_ci95: 95 % interval of it, in pairs.
    :param gained: Places of samples that were wrong and are right now.
    :param lost: Places of samples that were right and are wrong now.
    :param p: Of the exact test by McNemar, two-sided: the chance of samples that differ splitting so unevenly.
    :param p_holm: The same, corrected for the number of rows by Holm.
    """

    row: str
    n: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    difference_ci95: tuple[float, float]
    gained: tuple[int, ...]
    lost: tuple[int, ...]
    p: float
    p_holm: float = 1.0

    def is_regression(self, margin: float = 0.0) -> bool:
        """Whether the second is significantly worse, and by more than a margin.

        :param margin: A share: 0.02 is two points.
        """
        return self.p_holm < ALPHA and self.difference < -margin


@dataclass(frozen=True)
class Comparison:
    """Two audits side by side.

    :param model_a: Of the first, by name.
    :param model_b: Of the second.
    :param samples: How many they have in common.
    :param rows: What changed, row by row.
    :param differences: What differs in what was done, one line each.
    :param left_out: Rows of one of them, or made in another way, and why they are not compared.
    """

    model_a: str
    model_b: str
    samples: int
    rows: tuple[RowChange, ...]
    differences: tuple[str, ...]
    left_out: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """In JSON types."""
        return {**asdict(self), "alpha": ALPHA, "regressions": [one.row for one in self.regressions()]}

    def regressions(self, margin: float = 0.0) -> list[RowChange]:
        """Rows in which the second is significantly worse, by more than a margin."""
        return [one for one in self.rows if one.is_regression(margin)]


@dataclass(frozen=True)
class _Run:
    """An audit as it is compared."""

    header: dict[str, Any]
    rows: dict[str, Outcomes]
    names: dict[int, str]
    pixels: dict[tuple[int, ...], str]


def compare(a: str | Path, b: str | Path) -> Comparison:
    """Compare two audits, sample by sample.

    >>> comparison = compare(audited, audited)
    >>> isinstance(comparison, Comparison), comparison.samples, comparison.regressions()
    (True, 4, [])
    >>> isinstance(comparison.rows[0], RowChange), comparison.rows[0].difference
    (True, 0.0)

    :param a: Folder of a run, or a bundle of evidence, which is checked first.
    :param b: Likewise; of the same data.
    :raises InputError: If one cannot be read, the data are not the same, or no row of them can be compared.
    """
    first, second = _read(Path(a)), _read(Path(b))
    differences = _check_same_data(first, second)
    common = [index for index, name in first.names.items() if second.names.get(index) == name]
    if not common:
        raise InputError("The two audits have no sample in common: they drew different ones. Give the same --seed.")
    if len(common) < max(len(first.names), len(second.names)):
        differences.append(
            f"of {len(first.names):,} and {len(second.names):,} samples {len(common):,} are in both: these are compared"
        )
    if any(second.pixels.get(batch, pixels) != pixels for batch, pixels in first.pixels.items()):
        differences.append("images are not the same pixels: photos are reduced to each model's own size, or changed")
    rows, left_out = _comparable(first, second, differences)
    changes = [_change(row, first.rows[row], second.rows[row], common) for row in rows]
    found = _holm([one for one in changes if one is not None])
    if not found:
        raise InputError(f"No row of the two audits can be compared: {_said(left_out, differences)}.")
    names = [shown(run.header["model"].get("spec", "?")) for run in (first, second)]
    return Comparison(names[0], names[1], len(common), found, tuple(differences), left_out)


def _said(left_out: Mapping[str, str], differences: Sequence[str]) -> str:
    reasons = [*differences, *(f"{row}: {why}" for row, why in left_out.items())]
    return "; ".join(reasons[:5]) or "they are empty"


def _read(folder: Path) -> _Run:
    """Read an audit without changing anything in its folder."""
    if not folder.is_dir():
        raise InputError(f"{shown(folder)} is no folder. Give the --out of an audit, or a bundle of evidence.")
    if (folder / MANIFEST_FILE).exists() or not (folder / HEADER_FILE).exists():
        evidence = evidence_folder(folder)
        if not (evidence / MANIFEST_FILE).exists():
            raise InputError(f"{shown(folder)} holds no audit. Give the --out of one, or a bundle of evidence.")
        log: RunLog = Bundle(evidence).log
    else:
        try:
            log = RunLog(folder, RunLog.read_header(folder / HEADER_FILE))
        except InputError:
            raise
        except (OSError, ValueError) as error:
            raise InputError(f"{shown(folder / HEADER_FILE)} cannot be read ({shown(reason_of(error))}).") from error
    names: dict[int, str] = {}
    pixels: dict[tuple[int, ...], str] = {}
    lines = list(log.lines())
    for line in lines:
        if isinstance(line, CleanLine):
            names |= {one.index: one.name for one in line.samples}
            pixels[tuple(one.index for one in line.samples)] = line.pixels_hash
    return _Run(log.header, outcomes(log.header, lines), names, pixels)


def _check_same_data(a: _Run, b: _Run) -> list[str]:
    """What differs and does no harm.

    :raises InputError: If the samples are not the same ones.
    """
    if a.header["task"] != b.header["task"]:
        raise InputError(f"One audit is of {shown(a.header['task'])}, the other of {shown(b.header['task'])}.")
    one, other = a.header["data"], b.header["data"]
    for key, what in (("fingerprint", "data"), ("class_names", "classes")):
        first, second = one.get(key), other.get(key)
        if key == "class_names" and set(first or ()) == set(second or ()):
            continue
        if first != second:
            raise InputError(
                f"The two audits are of different {what} ({shown(one.get('spec'))[:60]} and "
                f"{shown(other.get('spec'))[:60]}): samples cannot be paired."
            )
    return [
        f"{key}: {shown(one.get(key))[:60]} and {shown(other.get(key))[:60]}"
        for key in ("templates",)
        if one.get(key) != other.get(key)
    ]


def _comparable(a: _Run, b: _Run, differences: list[str]) -> tuple[list[str], dict[str, str]]:
    """Rows that both have, made in the same way; and why others are left out."""
    said: list[str] = []
    for part in ("budget", "settings"):
        one, other = a.header.get(part, {}), b.header.get(part, {})
        for key in sorted({*one, *other} - _MAY_DIFFER):
            # What was asked for is in the settings, what came of it in the budget: once is enough.
            if key.startswith(_OF_SMOOTHING):
                continue
            if one.get(key) != other.get(key) and not any(line.startswith(f"{shown(key)}: ") for line in said):
                said.append(f"{shown(key)}: {shown(one.get(key))[:40]} and {shown(other.get(key))[:40]}")
    differences += said
    for key in ("defences",):
        if a.header.get(key) != b.header.get(key):
            differences.append(f"{key}: {_listed(a.header.get(key))} and {_listed(b.header.get(key))}")
    digests = [_listed(one["sha256"][:16] for one in run.header.get(DEFENCE_FILES, ())) for run in (a, b)]
    if digests[0] != digests[1]:
        differences.append(f"files of defences: SHA-256 {digests[0]} and {digests[1]}")
    rows, left_out = [], {}
    for row in dict.fromkeys((*a.rows, *b.rows)):
        if row not in a.rows or row not in b.rows:
            left_out[row] = "only one of the audits has it"
        elif said and row != CLEAN:
            left_out[row] = "the budgets or settings differ"
        elif row in SMOOTHED_ROWS and _smoothing(a) != _smoothing(b):
            left_out[row] = "models are smoothed, or certified, in other ways"
        elif _members(a, row) != _members(b, row):
            left_out[row] = "it is the worst case of other attacks"
        else:
            rows.append(row)
    return rows, left_out


def _listed(value: Any) -> str:
    return shown("; ".join(map(str, value or ())) or "none")[:60]


def _smoothing(run: _Run) -> Any:
    """How votes are cast, and within what they are certified."""
    settings = {key: value for key, value in run.header["settings"].items() if key.startswith(_OF_SMOOTHING)}
    return settings, run.header.get("smoothing")


def _members(run: _Run, row: str) -> list[str]:
    """The attacks that a row stands for besides its own; with and without knowing of defences they are the same."""
    attacks = run.header["attacks"]
    if row == CLEAN or row in SMOOTHED_ROWS or is_naive(row):
        return []
    return list(goes_on_after(row, attacks)) if row in attacks else members_of(row, attacks)


def _change(row: str, a: Outcomes, b: Outcomes, common: Sequence[int]) -> RowChange | None:
    both = [index for index in common if index in a and index in b]
    if not both:
        return None
    before, after = (np.array([one[index] for index in both]) for one in (a, b))
    gained = tuple(index for index in both if b[index] and not a[index])
    lost = tuple(index for index in both if a[index] and not b[index])
    interval = paired_difference_ci95(after.tolist(), before.tolist())
    assert interval is not None
    means = float(before.mean()), float(after.mean())
    return RowChange(
        row, len(both), *means, means[1] - means[0], interval, gained, lost, mcnemar(len(gained), len(lost))
    )


def _holm(rows: Sequence[RowChange]) -> tuple[RowChange, ...]:
    """The same with values of p that are corrected for their number."""
    corrected = holm_adjusted([one.p for one in rows])
    return tuple(replace(one, p_holm=float(p)) for one, p in zip(rows, corrected, strict=True))


def as_markdown(comparison: Comparison, margin: float = 0.0) -> str:
    """A comparison as a page of Markdown; strings from data are escaped.

    :param margin: By how much a row may get worse, as a share.
    """
    a, b = (md(name) for name in (comparison.model_a, comparison.model_b))
    lines = [
        "# Comparison of two audits",
        "",
        f"A: {a}, B: {b}; {comparison.samples:,} samples in common. Differences are B less A in points, with a 95 % "
        "interval over samples, in pairs; p is of McNemar's exact test, corrected by Holm for the number of rows.",
        "",
        "| row | n | A | B | difference | 95 % interval | right now | wrong now | p |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in comparison.rows:
        worse = " **worse**" if one.is_regression(margin) else ""
        cells = [percent(one.accuracy_a), percent(one.accuracy_b), in_points(one.difference)]
        cells += [" to ".join(map(in_points, one.difference_ci95)), str(len(one.gained)), str(len(one.lost))]
        lines.append(f"| {md(one.row)}{worse} | {one.n} | {' | '.join(cells)} | {p_value(one.p_holm)} |")
    for title, entries in (
        ("What differs besides", comparison.differences),
        ("Not compared", [f"{row}: {why}" for row, why in comparison.left_out.items()]),
    ):
        if entries:
            lines += ["", f"## {title}", "", *(f"- {md(entry)}" for entry in entries)]
    return "\n".join(lines) + "\n"


def in_points(share: float) -> str:
    """A difference of shares in points."""
    return f"{100 * share:+.1f}"


def p_value(p: float) -> str:
    """A chance as it is shown."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
