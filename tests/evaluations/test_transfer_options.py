"""How images are made on surrogates: said in one option, and kept by everything that follows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import TinyEncoder

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion import TransferAttack
from art_multimodal.cli.program import main
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import Audit, AuditSettings
from art_multimodal.evaluations.audit.findings.repeating import repeat_of
from art_multimodal.evaluations.audit.plan import plan_of
from art_multimodal.evaluations.audit.transfer_options import OPTIONS, parse_transfer, transfer_spec
from art_multimodal.evaluations.plans import parse_plan
from art_multimodal.evaluations.suite.transfer import transfer_attack
from art_multimodal.evaluations.transfer import TransferSettings

SETTINGS = AuditSettings(
    "demo:digits", "demo:digits", attacks="noise", eps=6 / 255, limit=2, surrogates=("demo:digits/robust",)
)
SAID = "crops=2,scales=0.5/0.75"
IN_FULL = "ensemble=logits,decay=1.0,diversity=0.5,crops=2,scales=0.5/0.75"


def test_options_are_those_of_the_attack_at_its_defaults() -> None:
    attack = TransferAttack(ZeroShotClassifier(TinyEncoder(), ("a", "b"), device_type="cpu"), verbose=False)
    assert {name: option.default for name, option in OPTIONS.items()} == {
        name: getattr(attack, name) for name in OPTIONS
    }
    for said in (SAID, "decay=1/3", "ensemble=embeddings,diversity=0", "scales=1.5"):
        assert parse_transfer(transfer_spec(parse_transfer(said))) == parse_transfer(said)
    assert parse_transfer(SAID)["scales"] == (0.5, 0.75) and parse_transfer("decay=1/4")["decay"] == 0.25


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", "--transfer '' is not of the form OPTION=VALUE,..., such as crops=1,scales=0.5/0.75"),
        ("crops", "is not of the form"),
        ("crop=1", "--transfer has no option 'crop'. Its options: ensemble, decay, diversity, crops, scales"),
        ("crops=1,crops=2", "The option crops of --transfer is given twice"),
        ("crops=-1", "crops of --transfer must be a number from 0 to 100, not -1"),
        ("decay=2", "decay of --transfer must be a number from 0 to 1, not 2"),
        ("ensemble=votes", "ensemble of --transfer must be logits or embeddings, not 'votes'"),
        ("scales=0.5/x", "scales of --transfer must be a number from 0.05 to 20, not 'x'"),
        ("scales=0.5/nan", "not nan"),
        ("scales=0.5/", "scales of --transfer must be a number"),
    ],
)
def test_what_is_refused(said: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        replace(SETTINGS, transfer=said)
    assert message in str(error.value)


def test_without_surrogates_it_says_nothing() -> None:
    with pytest.raises(InputError, match="--transfer says how images are made on surrogates: give --surrogate, too"):
        replace(SETTINGS, surrogates=(), transfer=SAID)


def test_an_audit_makes_images_as_it_was_told(tmp_path: Path) -> None:
    told = replace(SETTINGS, transfer=SAID, smaller_eps=(3 / 255,))
    assert told.transfer == IN_FULL and "transfer" not in SETTINGS.as_json()
    audit, usual = (Audit(one, tmp_path / name, device="cpu") for name, one in (("a", told), ("b", SETTINGS)))
    for budget in (audit.budget, *audit.smaller.values()):
        attack = transfer_attack(list(budget.surrogates.values()), budget, 0)
        assert (attack.crops, attack.scales, attack.decay) == (2, (0.5, 0.75), 1.0)
    header = audit.header()
    assert header["settings"]["transfer"] == IN_FULL
    assert "2 local crops and the whole at scales 0.5, 0.75" in header["protocol"]["transfer"]
    # Two crops and two scales are four looks in each step.
    planned, before = (
        next(one for one in plan_of(job).passes if one.name == "transfer@digits_robust") for job in (audit, usual)
    )
    assert planned.backward == 4 * before.backward
    command = repeat_of(header)["command"]
    assert "--surrogate demo:digits/robust" in command and f"--transfer {IN_FULL}" in command
    loaded = replace(SETTINGS, surrogates=(TinyEncoder(),)).as_json()
    assert repeat_of({"settings": json.loads(json.dumps(loaded))})["command"] is None


def test_the_row_is_what_the_attack_makes() -> None:
    names = ("cat", "dog", "bird")
    one = ZeroShotClassifier(TinyEncoder(seed=3).eval(), names, device_type="cpu")
    x = np.random.default_rng(0).random((3, 3, 8, 8), dtype=np.float32)
    y = one.predict_labels(x)
    options = parse_transfer("crops=1,decay=0,ensemble=embeddings,scales=0.5")
    budget = Budget("inf", 0.1, 0.05, 50, batch_size=3, transfer=options)
    own = TransferAttack(one, eps=0.1, eps_step=0.005, max_iter=50, batch_size=3, seed=7, verbose=False, **options)
    np.testing.assert_array_equal(transfer_attack([one], budget, 7).generate(x, y), own.generate(x, y))


def test_a_plan_declares_it() -> None:
    text = (
        "{plan: 1, models: [demo:digits], data: demo:digits, attacks: {image: [pgd]}, surrogates: [demo:digits/robust],"
        " transfer: 'crops=2,scales=0.5/0.75'}"
    )
    plan = parse_plan(text).plan
    assert plan.settings("demo:digits").transfer == IN_FULL and plan.as_json()["transfer"] == SAID


def test_the_matrix_looks_at_scales(capsys: pytest.CaptureFixture[str]) -> None:
    models = ("demo:digits", "demo:digits/robust")
    told = TransferSettings(models, "demo:digits", scales=(0.5, 1.5))
    assert told.as_json()["scales"] == [0.5, 1.5] and "scales" not in replace(told, scales=()).as_json()
    classifier = ZeroShotClassifier(TinyEncoder(), ("a", "b"), device_type="cpu")
    assert told.attack([classifier]).scales == (0.5, 1.5)
    assert main(["transfer", *models, "--data", "demo:digits", "--scales", "0.5,2", "--out", "never"]) == 2
    assert "--scales must be a number from 0.05 to 20, not '0.5,2'" in capsys.readouterr().err
