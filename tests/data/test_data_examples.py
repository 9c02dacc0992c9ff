"""The examples in the docstrings of convlab.data print what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["data", "digits", "resolve", "shapes"])
def test_the_examples_run(name):
    # By import_module, since a function of the same name hides the module.
    result = doctest.testmod(importlib.import_module(f"convlab.data.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
