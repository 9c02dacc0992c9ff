"""Jupyter servers for the browser tests: JupyterLab, Notebook 7 and Voilà, each alone in its own folders."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Literal, Self

from kernelspecs import write_kernelspec

App = Literal["lab", "notebook", "voila"]

# The factory settings of every test. News and updates would ask the network, a windowed notebook keeps cells
# out of the page, autosave writes behind the test's back.
SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "apputils-extension/sessionDialogs": {"skipKernelRestartDialog": True},
    "docmanager-extension/plugin": {"autosave": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
# An interrupted worker tears nothing down; its servers get Linux's signal of a parent's death.
ENDS_WITH_THE_TESTS = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def free_port() -> int:
    """Return a port that nothing listens on, below those that the system gives to whoever asks for any."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class JupyterServer:
    """A running server: ``with JupyterServer(folder) as server: ...``.

    ``server.work`` holds the notebooks, ``server.data`` the kernel specifications, ``server.runtime`` the
    kernels' connection files. ``env`` adds environment variables, which kernels inherit. The whole server
    lives under ``folder``; it reads nothing of the user's configuration and listens on loopback alone.
    """

    def __init__(self, folder: Path, app: App = "lab", env: dict[str, str] | None = None) -> None:
        self.app = app
        self.work, self.data, self.runtime = folder / "work", folder / "data", folder / "runtime"
        self._config, self._settings = folder / "config", folder / "settings"
        for each in (self.work, self.data, self.runtime, self._config, self._settings):
            each.mkdir(parents=True, exist_ok=True)
        self.port, self.token = free_port(), secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self._env = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(self._config),
            "JUPYTER_DATA_DIR": str(self.data),
            "JUPYTER_PATH": str(self.data),
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTERLAB_SETTINGS_DIR": str(self._settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "IPYTHONDIR": str(folder / "ipython"),
            "MPLCONFIGDIR": str(folder / "matplotlib"),
            **(env or {}),
        }
        write_kernelspec(self.data)
        self.write_settings()
        self._ending = threading.Thread()
        self._ending.start()

    def write_settings(self, *, theme: str = "light", subshells: str = "perCommTarget") -> None:
        """Put the front end's settings back to those of the tests; a page reads them when it opens.

        ``subshells`` is JupyterLab's ``commsOverSubshells``: ``"perCommTarget"`` (its default), ``"perComm"``
        or ``"disabled"``.
        """
        settings = SETTINGS | {
            "apputils-extension/themes": {"theme": THEMES[theme]},
            "apputils-extension/kernels-settings": {"commsOverSubshells": subshells},
        }
        for plugin, values in settings.items():
            file = self._settings / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))

    def _command(self) -> list[str]:
        if self.app == "voila":
            return [
                *(sys.executable, "-m", "voila", "--no-browser", f"--port={self.port}", "--Voila.ip=127.0.0.1"),
                f"--token={self.token}",
                "--VoilaConfiguration.show_tracebacks=True",
                # It is meant for Notebook 7's own pages and fails to load in Voilà's.
                "--VoilaConfiguration.extension_denylist=@jupyter-notebook/lab-extension",
                str(self.work),
            ]
        # LabApp.news_url=None cannot be said on the command line, only in a file.
        flags = {"expose_app_in_browser": True}
        config = {"LabApp": {**flags, "news_url": None}, "JupyterNotebookApp": flags}
        (self._config / "jupyter_server_config.json").write_text(json.dumps(config))
        (self._config / "jupyter_lab_config.json").write_text(json.dumps(config))
        (self._config / "jupyter_notebook_config.json").write_text(json.dumps(config))
        return [
            *(sys.executable, "-m", "jupyterlab" if self.app == "lab" else "notebook", "--no-browser"),
            *(["--allow-root"] if hasattr(os, "getuid") and os.getuid() == 0 else []),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"),
            f"--ServerApp.root_dir={self.work}",
            f"--IdentityProvider.token={self.token}",
        ]

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*ENDS_WITH_THE_TESTS, *self._command()],
                env=self._env,
                cwd=self.work,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        give_up = time.monotonic() + 120
        while True:
            try:
                # Voilà has no REST interface; its front page answers once it is up.
                self._request("GET", "" if self.app == "voila" else "api/status", timeout=2)
                return self
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    self.close()
                    raise RuntimeError(f"{self.app} did not start:\n{self.log_tail()}") from error
                time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Shut the server and its kernels down; kill it where it does not go."""
        self._ending.join()
        if self.app != "voila":
            # A polite shutdown lets the server end its kernels.
            with contextlib.suppress(OSError):
                self._request("POST", "api/shutdown")
        else:
            self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def address(self, path: str, **query: str) -> str:
        """Return the URL of ``path`` with the token."""
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"{self.url}/{path}?token={self.token}{more}"

    def _request(self, method: str, path: str, timeout: float = 15) -> Any:
        request = urllib.request.Request(
            f"{self.url}/{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            body = answer.read()
        return json.loads(body) if body.startswith((b"{", b"[")) else None

    def sessions(self) -> list[dict[str, Any]]:
        """Return the running sessions, as ``/api/sessions`` lists them."""
        return list(self._request("GET", "api/sessions"))

    def connection_file(self, notebook: str) -> Path:
        """Return the connection file of the kernel behind ``notebook`` (its path in ``work``)."""
        for session in self.sessions():
            if session["path"] == notebook:
                return self.runtime / f"kernel-{session['kernel']['id']}.json"
        raise LookupError(f"no kernel runs for {notebook}")

    def end_sessions(self, *, wait: bool = True) -> None:
        """Shut every kernel down, and leave the server running; without ``wait``, meanwhile: each takes a second."""
        self._ending.join()
        if self.app != "voila":
            self._ending = threading.Thread(target=self._end, args=(self.sessions(),))
            self._ending.start()
            if wait:
                self._ending.join()

    def _end(self, sessions: list[dict[str, Any]]) -> None:
        for session in sessions:
            with contextlib.suppress(urllib.error.HTTPError):
                self._request("DELETE", f"api/sessions/{session['id']}")

    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines that the server wrote."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
