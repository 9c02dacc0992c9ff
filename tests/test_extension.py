"""``%load_ext convlab`` and ``%convlab`` in a real IPython shell."""

from collections.abc import Iterator

import pytest
import torch
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from convlab.panels.lab import Lab


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "convlab")
    yield shell
    shell.run_line_magic("unload_ext", "convlab")
    shell.reset()
    InteractiveShell.clear_instance()


def test_the_magic_opens_the_bench(shell: InteractiveShell) -> None:
    lab = shell.run_line_magic("convlab", "")
    assert isinstance(lab, Lab)
    assert lab.data.name == "digits"
    assert lab.data.input_size == (1, 8, 8)


def test_it_takes_model_and_data_from_the_namespace(shell: InteractiveShell) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    X, y = torch.rand(20, 3, 2, 2), torch.arange(20) % 2
    shell.push({"net": net, "X": X, "y": y, "mine": (X, y)})
    for line in ("net --data (X, y)", "net --data mine", "net --data=mine"):
        lab = shell.run_line_magic("convlab", line)
        assert lab.model is net
        assert lab.data.input_size == (3, 2, 2)
    assert shell.run_line_magic("convlab", "--data shapes").data.input_size == (3, 32, 32)


def test_a_variable_wins_over_a_built_in_name(shell: InteractiveShell) -> None:
    shell.push({"digits": (torch.rand(20, 1, 4, 4), torch.arange(20) % 2)})
    assert shell.run_line_magic("convlab", "--data digits").data.input_size == (1, 4, 4)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nett", "MODEL 'nett' is nothing that this notebook knows"),
        ("--dta digits", "no option --dta"),
        ("--data", "--data needs a name"),
        ("--data digitz", "digits"),
        ("a b", "takes one model"),
        ("text", "net must be one of single_conv"),
    ],
)
def test_wrong_arguments_explain_themselves(shell: InteractiveShell, line: str, says: str) -> None:
    shell.push({"text": "not a model"})
    with pytest.raises(UsageError, match=says):
        shell.run_line_magic("convlab", line)


def test_help_says_how(shell: InteractiveShell) -> None:
    text = shell.object_inspect_text("%convlab")
    assert "--data" in text
    assert "the bench on a small network" in text


def test_unload_and_reload(shell: InteractiveShell) -> None:
    shell.run_line_magic("reload_ext", "convlab")
    assert shell.find_line_magic("convlab")
    shell.run_line_magic("unload_ext", "convlab")
    assert shell.find_line_magic("convlab") is None
    shell.run_line_magic("load_ext", "convlab")
    assert shell.find_line_magic("convlab")
