"""Every public class of ART is in the matrix, or in the list of those that cannot apply; a new one is noticed."""

from __future__ import annotations

from interop.catalogue import NOT_APPLICABLE, public
from interop.matrix import ROWS

COVERED = {name for row in ROWS for name in row.covers}
ELSEWHERE = {name for names in NOT_APPLICABLE.values() for name in names}


def test_every_public_class_has_a_place() -> None:
    unknown = {name for name in public() - COVERED if name.rpartition(".")[2] not in ELSEWHERE}
    assert not unknown, f"not yet in the matrix: {sorted(unknown)}"


def test_a_new_class_would_be_noticed(monkeypatch) -> None:
    from art.attacks.evasion import boundary

    class BrandNewAttack:
        __module__ = boundary.__name__

    monkeypatch.setattr(boundary, "BrandNewAttack", BrandNewAttack, raising=False)
    unknown = {name for name in public() - COVERED if name.rpartition(".")[2] not in ELSEWHERE}
    assert unknown == {"art.attacks.evasion.boundary.BrandNewAttack"}


def test_what_is_run_is_not_called_inapplicable() -> None:
    both = {name.rpartition(".")[2] for name in COVERED} & ELSEWHERE
    assert not both, sorted(both)
