"""Killed at any moment, a run that is kept on disk goes on from its last whole epoch, bit for bit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from driving import ENVIRONMENT

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lives are forked, where threads can be counted"),
]


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, HERE / "killed.py", tmp_path_factory.mktemp("killed")],
        env={**ENVIRONMENT, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=280,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def ends_of(chains):
    return [end for chain in chains for end in chain["ends"]]


def test_the_end_is_that_of_the_run_that_nobody_killed(chains):
    assert sum(end["by"] == "kill" for end in ends_of(chains)) >= 50
    for chain in chains:
        whole = next(one for one in chains if one["net"] == chain["net"] and not one["ends"])
        assert "error" not in chain["result"], chain["result"]
        assert chain["result"] == whole["result"]


def test_what_was_said_to_be_saved_is_there_and_never_goes_back(chains):
    for chain in chains:
        kept = 0
        for end in chain["ends"]:
            steps = end["steps"][0] if end["steps"] else 0
            assert len(end["steps"]) <= 1
            assert steps >= max(kept, end["told"]), end
            assert steps % 4 == 0
            kept = steps


def test_nothing_half_written_passes_for_a_run_and_nothing_of_it_stays(chains):
    ends = ends_of(chains)
    assert sum(bool(end["left"]) for end in ends) >= 5, "no kill hit a write"
    assert sum(end["steps"] == [] for end in ends) >= 2, "no kill hit a start"
    assert [end for end in ends if end["broken"]] == []
    assert {tuple(chain["left"]) for chain in chains} == {("run.before.safetensors", "run.safetensors")}
