"""What every test of planted faults asks: that a check finds the fault by the property that is meant for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from art_multimodal.testing import ContractError, asked
from art_multimodal.testing.contract import Contract


@dataclass(frozen=True)
class Fault:
    """Something that keeps a contract, with one fault planted in it.

    :param contract: What it breaks.
    :param name: Of the property that has to find it.
    :param what: What is wrong, in a few words.
    :param check: Looks at it.
    """

    contract: Contract
    name: str
    what: str
    check: Callable[[], Any]

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"

    def is_found(self) -> None:
        """Check that a contract is broken in the property, and that the message says so with a remedy."""
        with pytest.raises(ContractError) as caught:
            self.check()
        error = caught.value
        assert error.contract == self.contract.name
        found = {one.name: one for one in error.broken}
        assert self.name in found, str(error)
        assert found[self.name].mend == self.contract.properties[self.name].mend
        assert found[self.name].seen.strip() and f"- {self.name}: {found[self.name].seen}\n  Mend: " in str(error)
        assert self.name not in error.report.held


def changed(model: Any, **methods: Any) -> Any:
    """The same model with other methods or properties: a subclass of its class."""
    kind = type(model)
    model.__class__ = type(f"Changed{kind.__name__}", (kind,), methods)
    return model


def with_a_lambda(model: Any) -> Any:
    """The same model with an attribute that cannot be copied by pickling."""
    model.hook = lambda x: x
    return model


@contextmanager
def damaged_when_saved() -> Iterator[None]:
    """What is loaded within has other weights than what was saved."""
    load = asked.load_saved_model

    def damaged(folder: Any) -> Any:
        model = load(folder)
        next(model.parameters()).data.mul_(1.01)
        return model

    with patch.object(asked, "load_saved_model", damaged):
        yield
