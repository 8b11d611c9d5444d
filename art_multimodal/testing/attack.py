"""The contract of an attack as audits run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.evaluations.suite import ATTACKS, Attacked, AttackEntry, entry_of
from art_multimodal.evaluations.suite.entry import RETRIEVAL, ZERO_SHOT, Make
from art_multimodal.testing.asked import equal
from art_multimodal.testing.attack_cases import SIDES, VICTIMS, Run, Victim, runs_of, small_budget
from art_multimodal.testing.attack_runs import (
    EXCHANGES,
    REMOVALS,
    beyond,
    differences,
    fields,
    first_of_each,
    lead,
    most_asked,
    moved_words,
    same_samples,
    steady,
    touched,
)
from art_multimodal.testing.comparing import ProcessState, not_writable, read_only_is_allowed
from art_multimodal.testing.contract import Contract, ContractReport, NotChecked

ATTACK = Contract("an attack")


class _Case:
    """Runs of an attack, and of the same one where labels are targets."""

    def __init__(self, runs: list[Run], towards: list[Run]) -> None:
        self.runs, self.towards = runs, towards


def check_attack(
    attack: AttackEntry | str,
    victims: Sequence[Victim] | None = None,
    budgets: Sequence[Budget] | None = None,
    but: Mapping[str, str] | None = None,
    targeted: Make | None = None,
) -> ContractReport:
    """Check that an attack keeps its contract, on tiny models that the package brings.

    >>> "budget" in " ".join(check_attack("noise").held)
    True

    :param attack: An entry, or the name of one in the registry. One that there is for each modality is checked on each
        that it fits.
    :param victims: What is attacked instead: estimators with samples; those of tasks that the entry has count.
    :param budgets: What may be spent instead of a few steps in l_inf and in l_2.
    :param but: Names of properties that are not demanded, each with the reason; the report repeats it.
    :param targeted: Makes the attack where labels are targets, as ``make`` of an entry does otherwise; ``None`` for one
        that has none, or is not looked at.
    :return: Which properties hold, and which were not looked at.
    :raises ContractError: With all properties that do not hold.
    """
    entry = attack if isinstance(attack, AttackEntry) else _named(attack)
    spent = list(budgets or [small_budget("inf"), small_budget("2")])
    towards = [] if targeted is None else _runs(replace(entry, make=targeted), victims, spent)
    return ATTACK.check(entry.name, _Case(_runs(entry, victims, spent), towards), but)


def _runs(entry: AttackEntry, victims: Sequence[Victim] | None, spent: list[Budget]) -> list[Run]:
    if victims is not None:
        return runs_of(entry, [one for one in victims if one.task in entry.tasks], spent)
    tries = (
        runs_of(entry, [make(side) for task, make in VICTIMS.items() if task in entry.tasks], spent) for side in SIDES
    )
    return next((runs for runs in tries if runs), [])


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
        for name, of, before, after in fields(run):
            if of is not None:
                yield from beyond(run, name, of, before, after)


@ATTACK.holds(
    "texts change in as many words as are allowed",
    "count the words that differ from the original, not the steps: budget.text.max_words, max_edits",
)
def _words(case: _Case) -> Iterator[str]:
    changed = False
    for run in case.runs:
        if run.entry.modality in (*REMOVALS, *EXCHANGES):
            continue
        texts = [
            (name, old, new)
            for name, of, before, after in fields(run)
            if of is None
            for old, new in zip(before, after, strict=True)
        ]
        texts += [("prompt", *pair) for detail in run.found.details for pair in detail.texts or ()]
        most = max(run.budget.text.max_words, run.budget.text.max_edits)
        for name, old, new in texts:
            moved = moved_words(old, new)
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
        for name, of, before, after in fields(run):
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
            of_steps = before.dtype.names is not None and run.entry.modality not in EXCHANGES
            if name not in touched(run) and not equal(before, after):
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
        if run.entry.modality in REMOVALS[:1]:
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
    for run in first_of_each(case.runs):
        victim = run.victim
        x, y, model = victim.x.copy(), victim.y.copy(), victim.estimator.model
        (before, attributes), of_process = run.before, ProcessState.now()
        run.entry.run(victim.estimator, x, y, run.budget, 5)
        for said in (*before.changes(model), *of_process.changes()):
            yield f"{run}: {said}"
        if not same_samples(x, victim.x) or not np.array_equal(y, victim.y):
            yield f"{run}: the samples or labels were changed in place."
        now = vars(victim.estimator)
        if changed := sorted(name for name in {*now, *attributes} if now.get(name) is not attributes.get(name)):
            yield f"{run}: the estimator was changed: {', '.join(changed)}."


@ATTACK.holds(
    "the same seed gives the same, whatever was drawn before",
    "draw from a generator that is made of the seed that attack() gets; keep nothing from the last batch",
)
def _repeatable(case: _Case) -> Iterator[str]:
    for run in case.runs:
        np.random.random(3)  # noqa: NPY002 - the global generator that it must not depend on
        again = run.again()
        yield from differences(run, again, "in a second call with the same seed")


@ATTACK.holds(
    "results do not depend on how many samples the model sees at a time",
    "draw for each sample before batches are made; no decision by the mean over a batch",
)
def _batch_size(case: _Case) -> Iterator[str]:
    for run in case.runs:
        again, how = run.again(batch_size=3), "with batch_size 3 instead of 4"
        if any(differences(run, again, how, 1e-4)):
            # Sums of other batches are rounded otherwise: where a sample follows noise, that tells nothing.
            yield from differences(run, again, how, 1e-4, steady(run, 1e-4))


@ATTACK.holds(
    "the model is asked no more often than the entry says",
    "count every image of every forward pass, the last look included; declare cost= of the entry",
)
def _queries(case: _Case) -> Iterator[str]:
    counted = False
    for run in first_of_each(case.runs):
        most = most_asked(run)
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
    "a single sample, samples that the model gets wrong, and a view that nobody may write to are attacked as well",
    "take what comes: a last batch may have one sample; ensembles pass on what others have broken; write into a copy",
)
def _odd_batches(case: _Case) -> Iterator[str]:
    for run in first_of_each(case.runs):
        victim = run.victim
        one = run.again(victim.x[:1], victim.y[:1])
        if one.x.shape != victim.x[:1].shape:
            yield f"{run}: one sample becomes {one.x.shape}."
        with read_only_is_allowed():
            found = run.entry.run(victim.estimator, not_writable(victim.x), victim.y.copy(), run.budget, 5)
        yield from differences(run, found, "where samples are a view that nobody may write to")
        if victim.task == RETRIEVAL:
            continue
        wrong = (victim.y + 1) % victim.estimator.nb_classes
        found = run.again(y=wrong)
        for name, of, before, after in fields(run, found):
            if of is not None:
                yield from beyond(run, f"of samples that are wrong before, {name}", of, before, after)


@ATTACK.holds(
    "of no samples none come back, and that is no error",
    "return early where len(x) is 0: there is nothing to stack, and no mean over nothing",
)
def _empty(case: _Case) -> Iterator[str]:
    for run in first_of_each(case.runs):
        x, y = run.victim.x[:0], run.victim.y[:0]
        found = run.again(x, y)
        labels = np.asarray(found.labels)
        if found.x.shape != x.shape or found.x.dtype != x.dtype:
            yield f"{run}: no sample of {x.dtype}, shape {x.shape}, becomes {found.x.dtype} of shape {found.x.shape}."
        elif run.victim.task != RETRIEVAL and labels.shape != (0,):
            yield f"{run}: labels of no sample have the shape {labels.shape}."


@ATTACK.holds(
    "with targets it goes to the target of each sample, and within the same budget",
    "where labels are targets go down the loss that is gone up otherwise, then project as ever",
)
def _targets(case: _Case) -> Iterator[str]:
    runs = [run for run in first_of_each(case.towards) if run.victim.task != RETRIEVAL]
    if not runs:
        raise NotChecked("no targeted= was given, or there are no labels")
    moved = 0
    for run in runs:
        victim, classes = run.victim, run.victim.estimator.nb_classes
        targets = [(victim.y + shift) % classes for shift in (1, 2)]
        aimed = [run.again(y=target) for target in targets]
        for found in aimed:
            for name, of, before, after in fields(run, found):
                if of is not None:
                    yield from beyond(run, f"of samples with targets, {name}", of, before, after)
        rows = np.array([not same_samples(victim.x[row], aimed[0].x[row]) for row in range(len(victim.x))])
        moved += rows.sum()
        # An attack that knows no target does the same for both, and one that flees leads away.
        for name, other in (("the samples", victim.x), ("what has other targets", aimed[1].x)) if rows.any() else ():
            leads = [lead(run, x, targets[0])[rows].mean() for x in (aimed[0].x, other)]
            if not leads[0] > leads[1]:
                yield f"{run}: targets lead by {leads[0]:.5g}, and by {leads[1]:.5g} for {name}."
    if not moved:
        raise NotChecked("within this budget no sample was changed on the way to a target")


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
