"""What a user gets: the source distribution, and the wheel that is built from it where there is no Node."""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRONTEND = ROOT / "convlab" / "frontend"


def build(source: Path, kind: str, out: Path) -> Path:
    # Only Python's own folder is on the PATH: a Node of the machine cannot help.
    environment = os.environ | {"PATH": str(Path(sys.executable).parent)}
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(out), str(source)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = out.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> zipfile.ZipFile:
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    [source] = unpacked.iterdir()
    assert not (source / "convlab" / "frontend" / "static").exists()
    with zipfile.ZipFile(build(source, "wheel", tmp_path_factory.mktemp("wheel"))) as opened:
        yield opened


@pytest.mark.slow
def test_a_wheel_from_the_sdist_carries_the_bundle(wheel):
    names = set(wheel.namelist())
    for entry in (FRONTEND / "src").iterdir():
        if entry.is_file():
            assert f"convlab/frontend/static/{entry.name}" in names
    chart = wheel.read("convlab/frontend/static/chart.js").decode()
    assert "uplot" in chart, "uPlot names its elements so"
    assert ".u-over" in wheel.read("convlab/frontend/static/chart.css").decode()


@pytest.mark.slow
def test_a_wheel_carries_types_and_licence_and_nothing_of_the_workshop(wheel):
    names = wheel.namelist()
    assert "convlab/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    in_package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "convlab").rglob("*.py")}
    assert in_package <= set(names)
    strangers = [
        n for n in names if re.search(r"node_modules|/src/|package.*\.json|\.npmrc|\.mjs|tests/|__pycache__", n)
    ]
    assert not strangers


@pytest.mark.slow
def test_the_bundle_fetches_nothing(wheel):
    for name in wheel.namelist():
        if name.startswith("convlab/frontend/static/"):
            text = wheel.read(name).decode()
            # The names of SVG and XHTML look like addresses; nobody fetches them.
            addresses = [url for url in re.findall(r"""https?://[^\s"'`)]+""", text) if "www.w3.org" not in url]
            assert not addresses, name
            assert not re.search(r"\bimport\s*\(|@import", text), f"{name} imports"


def test_the_lock_holds_hashes_and_no_address():
    lock = json.loads((FRONTEND / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert {"node_modules/uplot", "node_modules/esbuild"} <= set(packages)
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
    assert "://" not in (FRONTEND / ".npmrc").read_text()
