"""Open JupyterLab on a notebook: in the browser, or by printing the address where there is no display.

``python tools/lab.py notebooks/01_quickstart.ipynb``; further arguments go to JupyterLab.
"""

import os
import sys


def jupyter_arguments(notebook: str) -> list[str]:
    """Return the command line of JupyterLab that suits this machine."""
    # As the page to begin with, not as a file to open: then the address that is printed leads there too.
    arguments = [sys.executable, "-m", "jupyterlab", f"--LabApp.default_url=/lab/tree/{notebook}"]
    displays = ("DISPLAY", "WAYLAND_DISPLAY")
    if os.environ.get("CI") or (sys.platform == "linux" and not any(map(os.environ.get, displays))):
        arguments.append("--no-browser")
    if hasattr(os, "getuid") and os.getuid() == 0:
        arguments.append("--allow-root")
    return arguments


if __name__ == "__main__":
    command = [*jupyter_arguments(sys.argv[1]), *sys.argv[2:]]
    os.execv(command[0], command)
