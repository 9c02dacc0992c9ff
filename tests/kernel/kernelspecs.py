"""Kernel specifications written for the tests: this interpreter's kernel, and ones with another ipykernel."""

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def write_kernelspec(data_dir: Path, name: str = "python3", *, pythonpath: Path | None = None) -> None:
    """Write ``data_dir/kernels/name``, whose kernel is this interpreter.

    Modules in ``pythonpath`` come before the installed ones, so another ipykernel can be tried with the same
    torch. ``data_dir`` must be named by ``JUPYTER_PATH``: inside a virtual environment the user's own data
    directory ranks below the environment's, whose "python3" may be any ``python`` on PATH.
    """
    folder = data_dir / "kernels" / name
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"{name} (convlab tests)",
        "language": "python",
        "metadata": {"debugger": False},
    }
    if pythonpath is not None:
        spec["env"] = {"PYTHONPATH": str(pythonpath)}
    (folder / "kernel.json").write_text(json.dumps(spec))


def install_ipykernel(version: str, folder: Path) -> Path:
    """Put another ipykernel into ``folder`` (once; pip, without touching the environment) and return it."""
    target = folder / "site"
    if not target.exists():
        wanted = (f"ipykernel=={version}", "nest-asyncio>=1.4")  # 6.x and early 7.x need the latter
        # Several processes may test at once: each makes its own, and the first to be done puts it there, whole.
        with tempfile.TemporaryDirectory(dir=folder) as own:
            made = Path(own) / "site"
            subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", made, *wanted],
                check=True,
                timeout=300,
            )
            with contextlib.suppress(OSError):
                made.rename(target)
    return target
