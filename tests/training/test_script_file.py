"""A script is saved whole, its weights beside it, and nobody's file is lost to it."""

import subprocess
import sys

import pytest
import torch

from convlab.models.gallery import lenet
from convlab.training.script import script_for
from convlab.training.script_file import WEIGHTS, needs_weights, save_script

LOADS = f'import torch\nprint(len(torch.load("{WEIGHTS}", weights_only=True)))\n'


def no_weights(path):
    raise AssertionError(f"asked to write {path}")


def state(path, value=1.0):
    torch.save({"a": torch.tensor(value)}, path)


def test_a_script_without_weights_is_one_file(tmp_path):
    assert save_script("x = 1\n", tmp_path / "train.py", weights=no_weights) == (tmp_path / "train.py",)
    assert (tmp_path / "train.py").read_text() == "x = 1\n"
    assert [file.name for file in tmp_path.iterdir()] == ["train.py"]


@pytest.mark.slow
def test_weights_lie_beside_the_script_that_loads_them(tmp_path):
    save_script(LOADS, tmp_path / "train.py", weights=state)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["train.py", WEIGHTS]
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_the_same_again_is_no_overwriting(tmp_path):
    for _ in range(2):
        save_script(LOADS, tmp_path / "train.py", weights=state)


@pytest.mark.parametrize("name", ["train.py", WEIGHTS])
def test_another_file_is_kept_unless_told_otherwise(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"^{name} in .* would be overwritten"):
        save_script(LOADS, tmp_path / "train.py", weights=state)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"
    save_script(LOADS, tmp_path / "train.py", weights=state, overwrite=True)
    assert (tmp_path / "train.py").read_text() == LOADS
    assert torch.load(tmp_path / WEIGHTS)["a"] == 1


def test_other_weights_are_another_file(tmp_path):
    save_script(LOADS, tmp_path / "train.py", weights=state)
    with pytest.raises(FileExistsError, match=WEIGHTS):
        save_script(LOADS, tmp_path / "train.py", weights=lambda path: state(path, 2.0))


def test_weights_that_cannot_be_written_leave_no_script(tmp_path):
    with pytest.raises(AssertionError):
        save_script(LOADS, tmp_path / "train.py", weights=no_weights)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["train.txt", "", ".", WEIGHTS, "train"])
def test_what_is_no_script_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"try path='train\.py'"):
        save_script("x = 1", name and tmp_path / name, weights=no_weights)


def test_what_a_script_needs_is_read_in_its_own_words():
    model = lenet()
    assert not needs_weights(script_for(model, "digits"))
    with torch.no_grad():
        model.fc2.bias.zero_()
    assert needs_weights(script_for(model, "digits"))
