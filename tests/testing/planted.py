"""What every test of planted faults asks: that a check finds the fault by the property that is meant for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from art_multimodal.testing import ContractError


def assert_found(name: str, check: Callable[[], Any]) -> None:
    """Check that a contract is broken in a property, and that the message says so with a remedy."""
    with pytest.raises(ContractError) as caught:
        check()
    found = {one.name: one for one in caught.value.broken}
    assert name in found, str(caught.value)
    assert found[name].seen.strip() and f"- {name}: " in str(caught.value) and "  Mend: " in str(caught.value)
    assert name not in caught.value.report.held


def changed(model: Any, **methods: Any) -> Any:
    """The same model with other methods or properties: a subclass of its class."""
    kind = type(model)
    model.__class__ = type(f"Changed{kind.__name__}", (kind,), methods)
    return model
