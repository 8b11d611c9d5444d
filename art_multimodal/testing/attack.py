"""The contract of an attack as audits run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.evaluations.suite import ATTACKS, Attacked, AttackEntry, entry_of
from art_multimodal.evaluations.suite.costs import Texts
from art_multimodal.evaluations.suite.entry import LABELS, RETRIEVAL, SAMPLES, SCORES, ZERO_SHOT
from art_multimodal.language.words import words_of
from art_multimodal.modalities import image, text
from art_multimodal.modalities.modality import Modality
from art_multimodal.testing.asked import equal
from art_multimodal.testing.attack_cases import SIDES, VICTIMS, Run, Victim, runs_of, small_budget
from art_multimodal.testing.comparing import drawn_from, random_states
from art_multimodal.testing.contract import Contract, ContractReport, NotChecked

ATTACK = Contract("an attack")
#: What a radius may be exceeded by for rounding, in relation to it: float32 differences of numbers up to 1.
_ROUNDING = 1e-5
#: What attacks of these groups change, where samples are images or pairs; all others may change both.
_OF_IMAGES = ("image", "noise", "transfer", "universal", "decision", "typographic")
#: Groups in which points are removed, or whole modalities exchanged, moved or left out.
_REMOVALS, _EXCHANGES = ("decoupling", "modality_removed"), ("modality_swap", "time_shift", "modality_missing")


class _Case:
    """Runs of an attack."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs = runs


def check_attack(
    attack: AttackEntry | str,
    victims: Sequence[Victim] | None = None,
    budgets: Sequence[Budget] | None = None,
    but: Mapping[str, str] | None = None,
) -> ContractReport:
    """Check that an attack keeps its contract, on tiny models that the package brings.

    >>> "budget" in " ".join(check_attack("noise").held)
    True

    :param attack: An entry, or the name of one in the registry. One that there is for each modality is checked on each
        that it fits.
    :param victims: What is attacked instead: estimators with samples; those of tasks that the entry has count.
    :param budgets: What may be spent instead of a few steps in l_inf and in l_2.
    :param but: Names of properties that are not demanded, each with the reason; the report repeats it.
    :return: Which properties hold, and which were not looked at.
    :raises ContractError: With all properties that do not hold.
    """
    entry = attack if isinstance(attack, AttackEntry) else _named(attack)
    spent = list(budgets or [small_budget("inf"), small_budget("2")])
    runs: list[Run] = []
    if victims is not None:
        runs = runs_of(entry, [one for one in victims if one.task in entry.tasks], spent)
    else:
        for side in SIDES:
            runs = runs or runs_of(entry, [make(side) for task, make in VICTIMS.items() if task in entry.tasks], spent)
    return ATTACK.check(entry.name, _Case(runs), but)


def _named(name: str) -> AttackEntry:
    return ATTACKS[name] if name in ATTACKS else entry_of(name)


@ATTACK.holds(
    "it runs for each task that the entry names, and returns samples of the same shape and dtype, with labels",
    "return Attacked(x, labels): samples as the estimator takes them, and what it says (None in retrieval)",
    gate=True,
)
def _works(case: _Case) -> Iterator[str]:
    if not case.runs:
        yield "no task, modality or shape fits: look at tasks, fits and applies of the entry, or give victims."
    for run in case.runs:
        x, found = run.victim.x, run.found
        if not isinstance(found, Attacked):
            yield f"{run}: it returns {type(found).__name__}."
        elif found.x.shape != x.shape or found.x.dtype != x.dtype:
            yield f"{run}: {x.dtype} of shape {x.shape} becomes {found.x.dtype} of shape {found.x.shape}."
        elif (found.labels is None) != (run.victim.task == RETRIEVAL):
            yield f"{run}: labels are {'missing' if found.labels is None else 'there'}."
        elif found.labels is not None and (
            np.shape(found.labels) != (len(x),) or np.asarray(found.labels).dtype.kind not in "iu"
        ):
            yield f"{run}: labels are {np.asarray(found.labels).dtype} of shape {np.shape(found.labels)}."
        elif len(found.details) not in (0, len(x)):
            yield f"{run}: there are {len(found.details)} details of {len(x)} samples."


@ATTACK.holds(
    "numbers move within the radius, are removed points, or cover the share that is allowed",
    "project at last, in the dtype that is returned: art_multimodal.functional.perturbations.within_budget",
)
def _budget(case: _Case) -> Iterator[str]:
    for run in case.runs:
        for name, of, before, after in _fields(run):
            if of is not None:
                yield from _beyond(run, name, of, before, after)


@ATTACK.holds(
    "texts change in as many words as are allowed",
    "count the words that differ from the original, not the steps: budget.text.max_words, max_edits",
)
def _words(case: _Case) -> Iterator[str]:
    changed = False
    for run in case.runs:
        if run.entry.modality in (*_REMOVALS, *_EXCHANGES):
            continue
        texts = [
            (name, old, new)
            for name, of, before, after in _fields(run)
            if of is None
            for old, new in zip(before, after, strict=True)
        ]
        texts += [("prompt", *pair) for detail in run.found.details for pair in detail.texts or ()]
        most = max(run.budget.text.max_words, run.budget.text.max_edits)
        for name, old, new in texts:
            moved = _moved_words(old, new)
            changed |= moved > 0
            if moved > most:
                yield f"{run}: {name} {old!r} becomes {new!r}: {moved} words changed, where {most} may."
    if not changed:
        raise NotChecked("no text was changed")


@ATTACK.holds(
    "values stay within clip_values and are finite",
    "clamp after the projection; replace what is not finite by the original",
)
def _range(case: _Case) -> Iterator[str]:
    for run in case.runs:
        for name, of, before, after in _fields(run):
            if of is None:
                continue
            missing = np.isnan(after).reshape(len(after), -1).all(axis=1) & (run.entry.modality == "modality_missing")
            low, high = (np.asarray(bound, dtype=np.float64) for bound in of.clip_values)
            for row in np.flatnonzero(~missing):
                now = after[row].astype(np.float64)
                outside = (now < low - 1e-6) | (now > high + 1e-6)
                if not np.isfinite(now).all():
                    yield f"{run}: {name} of sample {row} holds NaN or infinite values."
                elif (outside & (now != before[row])).any():
                    yield f"{run}: {name} of sample {row} has values in [{now.min():.5g}, {now.max():.5g}]."


@ATTACK.holds(
    "what the attack does not change stays bit by bit",
    "copy the samples, and write into the modality that is attacked alone",
)
def _untouched(case: _Case) -> Iterator[str]:
    for run in case.runs:
        x, found = run.victim.x, run.found.x
        if x.dtype.names is None:
            if run.entry.modality == "text" and not equal(x, found):
                yield f"{run}: images were changed by an attack on texts."
            continue
        for name in x.dtype.names:
            before, after = (np.ascontiguousarray(of[name]) for of in (x, found))
            of_steps = before.dtype.names is not None and run.entry.modality not in _EXCHANGES
            if name not in _touched(run) and not equal(before, after):
                yield f"{run}: {name} was changed."
            elif of_steps and not np.array_equal(before["length"], after["length"]):
                yield f"{run}: lengths of {name} were changed."


@ATTACK.holds(
    "labels are what the estimator says about what is returned",
    "score the samples that you return, after the last projection: estimator.predict_labels(x)",
)
def _labels(case: _Case) -> Iterator[str]:
    looked = False
    for run in case.runs:
        if run.victim.task == RETRIEVAL or (run.victim.task == ZERO_SHOT and run.entry.modality != "image"):
            # There are no labels, or prompts may be others.
            continue
        if run.entry.modality in _REMOVALS[:1]:
            continue  # words are removed that the texts still show
        looked = True
        said = run.victim.estimator.predict_labels(run.found.x)
        labels = np.asarray(run.found.labels)
        for row in np.flatnonzero(labels != said):
            yield f"{run}: the label of sample {row} is {labels[row]}, the estimator says {said[row]}."
    if not looked:
        raise NotChecked("labels belong to prompts or texts that are not returned, or there are none")


@ATTACK.holds(
    "asking changes nothing: samples, labels, weights, modes, gradients, the estimator, global random numbers",
    "attack a copy of the samples; draw within global_seed(seed); take a view of the estimator before setting anything",
)
def _leaves_no_trace(case: _Case) -> Iterator[str]:
    for run in _first_of_each(case):
        victim = run.victim
        x, y, model = victim.x.copy(), victim.y.copy(), victim.estimator.model
        (before, shape, attributes), random_before = run.before, random_states()
        run.entry.run(victim.estimator, x, y, run.budget, 5)
        for said in (*before.changes(model), *drawn_from(random_before)):
            yield f"{run}: {said}"
        if not _same_samples(x, victim.x) or not np.array_equal(y, victim.y):
            yield f"{run}: the samples or labels were changed in place."
        if victim.estimator.input_shape != shape or {"predict", "loss_gradient"} & (
            set(vars(victim.estimator)) - attributes
        ):
            yield f"{run}: the estimator was changed."


@ATTACK.holds(
    "the same seed gives the same, whatever was drawn before",
    "draw from a generator that is made of the seed that attack() gets; keep nothing from the last batch",
)
def _repeatable(case: _Case) -> Iterator[str]:
    for run in case.runs:
        np.random.random(3)  # noqa: NPY002 - the global generator that it must not depend on
        again = run.again()
        yield from _differences(run, again, "in a second call with the same seed")


@ATTACK.holds(
    "results do not depend on how many samples the model sees at a time",
    "draw for each sample before batches are made; no decision by the mean over a batch",
)
def _batch_size(case: _Case) -> Iterator[str]:
    for run in case.runs:
        yield from _differences(run, run.again(batch_size=3), "with batch_size 3 instead of 4", 1e-4)


@ATTACK.holds(
    "the model is asked no more often than the entry says",
    "count every image of every forward pass, the last look included; declare cost= of the entry",
)
def _queries(case: _Case) -> Iterator[str]:
    counted = False
    for run in _first_of_each(case):
        most = _most_asked(run)
        if most is None or run.victim.tower is None:
            continue
        counted = True
        rows: list[int] = []
        handle = run.victim.tower.register_forward_hook(lambda module, given, out, rows=rows: rows.append(len(out)))
        try:
            for row in range(2):
                rows.clear()
                run.again(run.victim.x[row : row + 1], run.victim.y[row : row + 1])
                if sum(rows) > most:
                    yield f"{run}: sample {row} is asked about {sum(rows)} times, where the entry says {most:g}."
        finally:
            handle.remove()
    if not counted:
        raise NotChecked("the entry has no cost, and the budget of queries does not bind it")


@ATTACK.holds(
    "a single sample, and samples that the model gets wrong, are attacked as well",
    "take what comes: a last batch may have one sample; ensembles pass on what others have broken",
)
def _odd_batches(case: _Case) -> Iterator[str]:
    for run in _first_of_each(case):
        victim = run.victim
        one = run.again(victim.x[:1], victim.y[:1])
        if one.x.shape != victim.x[:1].shape:
            yield f"{run}: one sample becomes {one.x.shape}."
        if victim.task == RETRIEVAL:
            continue
        wrong = (victim.y + 1) % victim.estimator.nb_classes
        found = run.again(y=wrong)
        for name, of, before, after in _fields(run, found):
            if of is not None:
                yield from _beyond(run, f"of samples that are wrong before, {name}", of, before, after)


@ATTACK.holds(
    "the entry tells in one line what it does and what it needs",
    "give name, summary, knowledge, tasks and needs",
)
def _described(case: _Case) -> Iterator[str]:
    entry = case.runs[0].entry
    for what in ("name", "summary", "knowledge", "modality"):
        said = getattr(entry, what)
        if not isinstance(said, str) or not said.strip() or "\n" in said:
            yield f"{what} is {said!r}."


def _fields(run: Run, found: Attacked | None = None) -> Iterator[tuple[str, Modality | None, np.ndarray, np.ndarray]]:
    """Of each modality its name, what it is (``None`` for texts), and its values before and after."""
    x, after = run.victim.x, (run.found if found is None else found).x
    estimator = run.victim.estimator
    known = estimator.modalities if run.victim.task == SAMPLES else {"image": image("image"), "text": text("text")}
    if x.dtype.names is None:
        yield "image", known["image"], x, after
        return
    for name in x.dtype.names:
        of = known[name]
        if of.numeric:
            yield name, of, np.asarray(of.values(x[name])), np.asarray(of.values(after[name]))
        else:
            yield name, None, x[name], after[name]


def _beyond(run: Run, name: str, of: Modality, before: np.ndarray, after: np.ndarray) -> Iterator[str]:
    """Yield for each sample how its numbers are beyond the budget."""
    group, budget = run.entry.modality, run.budget
    if group in _EXCHANGES:
        return
    changed = (after != before) & ~(np.isnan(after) & np.isnan(before))
    if group in _REMOVALS:
        fill = np.asarray(of.fill if run.victim.task == SAMPLES else _mean_colour(run), dtype=before.dtype)
        wrong = changed & ~np.isclose(after, np.broadcast_to(fill, after.shape), atol=1e-6)
        for row in np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1)):
            yield f"{run}: {name} of sample {row} has removed points that are not the fill."
        return
    if group == "typographic":
        for place, covered in enumerate(changed.any(axis=1).reshape(len(changed), -1).mean(axis=1)):
            if covered > budget.max_share:
                yield f"{run}: {covered:.3g} of image {place} are covered, where {budget.max_share:.3g} may be."
        return
    if not changed.any():
        return
    ball = budget.balls.get(name) if run.victim.task == SAMPLES else None
    eps = ball.eps if ball else budget.eps
    delta = np.nan_to_num(after.astype(np.float64) - before.astype(np.float64)).reshape(len(after), -1)
    lengths = np.abs(delta).max(axis=1) if budget.art_norm == np.inf else np.linalg.norm(delta, axis=1)
    # Each difference of float32 numbers is rounded by itself.
    most = eps * (1 + _ROUNDING) + np.finfo(np.float32).eps * float(np.abs(before[np.isfinite(before)]).max())
    for row in np.flatnonzero(~(lengths <= most)):
        yield f"{run}: {name} of sample {row} moved by {lengths[row]:.8g}, beyond the radius {eps:g}."


def _mean_colour(run: Run) -> np.ndarray:
    model = run.victim.estimator.model
    found = next(part for part in model.modules() if hasattr(part, "mean_colour"))
    return found.mean_colour


def _touched(run: Run) -> set[str]:
    """Fields that the attack may change."""
    names = set(run.victim.x.dtype.names or ())
    _, at, modality = run.entry.name.partition("@")
    if run.victim.task == SAMPLES:
        return {modality} if at else names
    group = run.entry.modality
    return {"image"} if group in _OF_IMAGES else {"text"} if group == "text" else names


def _moved_words(old: str, new: str) -> int:
    before, after = ([word.text for word in words_of(text)] for text in (old, new))
    if len(before) != len(after):
        return max(len(before), len(after))
    return sum(a != b for a, b in zip(before, after, strict=True))


def _first_of_each(case: _Case) -> list[Run]:
    """One run for each task."""
    return list({run.victim.task: run for run in reversed(case.runs)}.values())


def _most_asked(run: Run) -> float | None:
    """How often one sample may be asked about."""
    entry, victim = run.entry, run.victim
    if entry.cost is None:
        return run.budget.max_queries if entry.needs in (SCORES, LABELS) else None
    classes = len(victim.x) if victim.task == RETRIEVAL else victim.estimator.nb_classes
    shared = classes if victim.task == ZERO_SHOT else 0
    axes = tuple(len(of.point_axes) for of in getattr(victim.estimator, "modalities", {}).values() if of.numeric)
    texts = Texts(classes, float(shared == 0), shared, 6, 400, axes or (2,), 2, victim.task)
    return entry.cost(run.budget, texts).forward


def _same_samples(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.names is None:
        return equal(one, other)
    return all(equal(np.ascontiguousarray(one[n]), np.ascontiguousarray(other[n])) for n in one.dtype.names)


def _differences(run: Run, again: Attacked, how: str, atol: float = 0.0) -> Iterator[str]:
    """Yield where a second result is another one."""
    for name, of, one, other in _fields(Run(run.entry, run.victim, run.budget, run.found), again):
        first = {n: a for n, _, _, a in _fields(run)}[name]
        same = (first == other) if of is None else np.isclose(first, other, rtol=0, atol=atol, equal_nan=True)
        for row in np.flatnonzero(~np.asarray(same, dtype=bool).reshape(len(one), -1).all(axis=1)):
            yield f"{run}: {name} of sample {row} is another one {how}."
    if not np.array_equal(np.asarray(run.found.labels), np.asarray(again.labels)):
        yield f"{run}: labels are others {how}."
