"""A real Jupyter kernel without a browser: the test plays the front end, widget messages included."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from kernel_eval import evaluate
from nbformat.v4 import output_from_msg


@dataclass
class Execution:
    """One execute request: what its cell shows, and its end."""

    stdout: str = ""
    stderr: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    done: threading.Event = field(default_factory=threading.Event)

    def wait(self, timeout: float = 60) -> "Execution":
        """Wait for the cell's end; raise `TimeoutError` where it does not come."""
        if not self.done.wait(timeout):
            raise TimeoutError(f"the cell still runs after {timeout} s; stderr: {self.stderr!r}")
        return self


class LiveKernel:
    """A kernel process: ``with LiveKernel(folder, spec) as kernel: kernel.execute("1 + 1")``.

    ``widgets`` maps the id of each open widget to its state as a front end would know it. With
    ``subshells=True`` the messages to widgets go to a subshell, as JupyterLab sends them to a kernel that has
    any (ipykernel 7); otherwise to the main shell.
    """

    def __init__(self, folder: Path, kernel_dirs: list[str], name: str = "python3", subshells: bool = False) -> None:
        self.widgets: dict[str, dict[str, Any]] = {}
        self._executions: dict[str, Execution] = {}
        self._use_subshell, self._subshell = subshells, None
        self._stop = threading.Event()
        specs = KernelSpecManager(kernel_dirs=kernel_dirs)
        self._manager = KernelManager(kernel_name=name, kernel_spec_manager=specs)
        self._folder = folder

    def __enter__(self) -> "LiveKernel":
        # JPY_SESSION_NAME is how a kernel knows that a Jupyter server, not nbclient, started it.
        env = {**os.environ, "JPY_SESSION_NAME": str(self._folder / "live.ipynb")}
        self._manager.start_kernel(cwd=str(self._folder), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        self._open_subshell()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._reader.join(10)
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def _open_subshell(self) -> None:
        if self._use_subshell:
            message = self._client.session.msg("create_subshell_request", {})
            self._client.control_channel.send(message)
            while True:
                reply = self._client.get_control_msg(timeout=30)
                if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                    break
            self._subshell = reply["content"]["subshell_id"]

    # -- cells -----------------------------------------------------------------------------------------------

    def start(self, code: str) -> Execution:
        """Send a cell, and return at once."""
        execution = Execution()
        message = self._client.session.msg("execute_request", _execute_content(code))
        self._executions[message["header"]["msg_id"]] = execution
        self._client.shell_channel.send(message)
        return execution

    def execute(self, code: str, timeout: float = 60, *, check: bool = True) -> Execution:
        """Run a cell to its end; with ``check``, an error in it fails the test."""
        execution = self.start(code).wait(timeout)
        if check and execution.error:
            raise AssertionError(f"the cell failed: {execution.error}")
        return execution

    def eval(self, expression: str, timeout: float = 30) -> Any:
        """Evaluate in the kernel's namespace; what JSON cannot hold comes as its ``repr``."""
        return evaluate(self._client, expression, timeout)

    def interrupt(self) -> None:
        """Interrupt, as the stop square does."""
        self._manager.interrupt_kernel()

    def restart(self) -> None:
        """Restart the kernel process, and wait until it answers."""
        self._stop.set()
        self._reader.join(10)
        self._manager.restart_kernel(now=True)
        self._client.wait_for_ready(timeout=60)
        self.widgets.clear()
        self._executions.clear()
        self._stop.clear()
        self._open_subshell()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # -- widgets ---------------------------------------------------------------------------------------------

    def find(self, **state: Any) -> str:
        """Return the id of the newest widget whose state has these values: ``find(description="Run")``."""
        for name, values in reversed(list(self.widgets.items())):
            if all(key in values and values[key] == value for key, value in state.items()):
                return name
        raise LookupError(f"no widget has {state}")

    def click(self, widget: str) -> None:
        """Press a `Button`."""
        self._send(widget, {"method": "custom", "content": {"event": "click"}})

    def set(self, widget: str, **state: Any) -> None:
        """Set traits from the front end's side, as dragging a slider does."""
        self._send(widget, {"method": "update", "state": state, "buffer_paths": []})

    def _send(self, widget: str, data: dict[str, Any]) -> None:
        message = self._client.session.msg("comm_msg", {"comm_id": widget, "data": data})
        if self._subshell is not None:
            message["header"]["subshell_id"] = self._subshell
        self._client.shell_channel.send(message)

    # -- reading ---------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                message = self._client.get_iopub_msg(timeout=0.2)
            except Empty:
                continue
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_open":
            self.widgets[content["comm_id"]] = dict(content["data"].get("state", {}))
        elif kind == "comm_msg" and content["data"].get("method") == "update":
            self.widgets.get(content["comm_id"], {}).update(content["data"]["state"])
        elif kind == "comm_close":
            self.widgets.pop(content["comm_id"], None)
        execution = self._executions.get(message["parent_header"].get("msg_id", ""))
        if execution is None:
            return
        if kind == "stream":
            setattr(execution, content["name"], getattr(execution, content["name"]) + content["text"])
        elif kind in ("display_data", "execute_result", "error"):
            execution.outputs.append(output_from_msg(message))
            if kind == "error":
                execution.error = f"{content['ename']}: {content['evalue']}"
        elif kind == "status" and content["execution_state"] == "idle":
            execution.done.set()


def _execute_content(code: str) -> dict[str, Any]:
    return {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": False,
    }


def wait_until(condition: Callable[[], Any], timeout: float = 30, every: float = 0.05) -> Any:
    """Wait until ``condition()`` is true and return its value; raise `TimeoutError` where it never is."""
    give_up = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"still not true after {timeout} s")
        time.sleep(every)
    return value
