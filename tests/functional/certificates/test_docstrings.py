"""The numbers in the docstrings of certificates."""

import doctest
import importlib
import pkgutil

import pytest

from art_multimodal.functional import certificates

MODULES = [f"{certificates.__name__}.{module.name}" for module in pkgutil.iter_modules(certificates.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_say_what_comes_out(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_most_functions_have_an_example():
    assert sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES) > 10
