"""Imports run one way: each room is imported in an interpreter of its own, and nothing above it may come along."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "convlab"

# From the ground up; a room may import those before it.
ROOMS = [
    "limits",
    "formula",
    "schedule_spec",
    "spec",
    "geometry",
    "net_spec",
    "models",
    "lab_state",
    "data",
    "training",
    "diagnosis",
    "search",
    "plots",
    "frontend",
    "panels",
    "_ipython",
]
DISPLAY = {"ipywidgets", "anywidget", "IPython", "matplotlib"}
HEAVY = {"torch", "numpy", "pandas", "matplotlib", "sklearn", "ipywidgets", "anywidget"}
REFUSED = {
    "limits": HEAVY,
    "formula": HEAVY,
    "spec": HEAVY,
    "schedule_spec": HEAVY,
    "geometry": HEAVY,
    "net_spec": HEAVY,
    "models": DISPLAY,
    "lab_state": HEAVY,
    "data": DISPLAY,
    "training": DISPLAY,
    "diagnosis": DISPLAY,
    "search": DISPLAY,
    "plots": {"matplotlib.pyplot", "ipywidgets", "IPython"},
    "_ipython": HEAVY,
}

LOADED = """
import importlib, json, os, pkgutil, sys
first, *rooms = sys.argv[1:]
for name in first.split(","):
    name and importlib.import_module(name)
for room in rooms:
    if child := os.fork():
        if os.waitpid(child, 0)[1]:
            sys.exit(f"convlab.{room} cannot be imported")
        continue
    module = importlib.import_module("convlab." + room)
    for info in pkgutil.walk_packages(getattr(module, "__path__", []), module.__name__ + "."):
        importlib.import_module(info.name)
    print(json.dumps([room, sorted(sys.modules)]), flush=True)
    os._exit(0)
"""
# What those that compute need in any case; imported once, before each is imported in a fork.
SHARED = "torch"
COMPUTE = [room for room in ROOMS if not REFUSED.get(room, set()) >= HEAVY]


def loaded_with(rooms: list[str], first: str, root: Path) -> dict[str, set[str]]:
    """Names of all modules that a fresh interpreter holds after importing everything in a room, by room."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, first, *rooms],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = (json.loads(line) for line in done.stdout.splitlines() if line.startswith('["'))
    return {room: set(names) for room, names in told}


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    light = [room for room in ROOMS if room not in COMPUTE]
    return loaded_with(light, "", PACKAGE.parent) | loaded_with(COMPUTE, SHARED, PACKAGE.parent)


def violations(room: str, loaded: set[str]) -> set[str]:
    """What `room` drags in and should not."""
    above = ROOMS[ROOMS.index(room) + 1 :]
    rooms = {
        other
        for other in above
        if any(name == f"convlab.{other}" or name.startswith(f"convlab.{other}.") for name in loaded)
    }
    return rooms | (REFUSED.get(room, set()) & loaded)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below(room: str, loaded: dict[str, set[str]]) -> None:
    assert violations(room, loaded[room]) == set()


def test_every_room_is_listed() -> None:
    found = {p.stem for p in PACKAGE.iterdir() if (p / "__init__.py").exists() or p.suffix == ".py"}
    assert found == {*ROOMS, "__init__", "_version"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "file", "line", "caught"),
    [
        ("geometry", "geometry/__init__.py", "import torch", "torch"),
        ("spec", "spec.py", "import convlab.geometry", "geometry"),
        ("plots", "plots/figure.py", "import matplotlib.pyplot", "matplotlib.pyplot"),
    ],
)
def test_the_test_can_fail(tmp_path: Path, room: str, file: str, line: str, caught: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "convlab", ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    planted = tmp_path / "convlab" / file
    planted.write_text(planted.read_text() + f"\n{line}\n")
    assert caught in violations(room, loaded_with([room], SHARED if room in COMPUTE else "", tmp_path)[room])


def test_import_and_extension_load_nothing_heavy() -> None:
    code = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
shell.run_line_magic("load_ext", "convlab")
import convlab
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    new = set(json.loads(done.stdout.splitlines()[-1]))
    assert "convlab._ipython" in new
    assert not {"torch", "matplotlib", "sklearn", "ipywidgets", "anywidget", "pandas"} & new


def test_each_public_name_resolves_and_is_listed_once() -> None:
    import ast

    import convlab

    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.asname or alias.name: node.module for node in block.body for alias in node.names}
    assert typed == {**convlab._HOME, **dict.fromkeys(convlab._ROOMS, "convlab")}
    for name in convlab._HOME:
        assert getattr(convlab, name) is not None
        assert name in dir(convlab)
    with pytest.raises(AttributeError, match="no attribute 'Labb'"):
        _ = convlab.Labb
