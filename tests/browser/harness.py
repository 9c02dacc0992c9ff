"""A notebook in a real browser: what a person does with it, as methods that wait for the effect."""

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any, Final

from jupyter_client.blocking.client import BlockingKernelClient
from kernel_eval import evaluate
from playwright.sync_api import BrowserContext, ConsoleMessage, Frame, Locator, Page, expect
from servers import THEMES, JupyterServer

SECOND = 1000
ARTIFACTS = Path(__file__).parents[2] / "artifacts"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nothing but loopback resolves: a page that needs a CDN breaks here as it would in a hall without network.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# What JupyterLab, Notebook 7 and Voilà write to the console, or fetch, with no notebook's doing.
KNOWN_NOISE = {
    "lab": [r"Failed to load resource.*404"],
    "notebook": [r"Failed to load resource.*404", r"uncaught: .*reading 'schema'"],
    "voila": [r"Failed to load resource.*(404|fontawesome)"],
}
NO_KERNEL_NOISE = r"uncaught: Cannot read properties of null \(reading 'kernel'\)"
# What a kernel writes while it goes may be cut in two.
CUT_OFF = "Kernel message validation error"
KNOWN_FOREIGN = {"voila": r"https://cdn\.jsdelivr\.net/npm/@fortawesome/"}

# The server's page configuration says whether notebooks start kernels, for all pages alike; an address ending
# in convlab_kernel=false says so for one. (Rewriting the response instead makes Chromium treat the page as a
# stranger and refuse its web sockets.)
_KERNEL_SWITCH = """
if (location.search.includes('convlab_kernel=false')) {
    const parse = JSON.parse;
    JSON.parse = (...args) => {
        const value = parse(...args);
        if (value?.notebookStartsKernel !== undefined) value.notebookStartsKernel = false;
        return value;
    };
}"""
_KERNEL_READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    const session = panel?.context?.sessionContext;
    const kernel = session?.session?.kernel;
    return kernel?.connectionStatus === 'connected' && kernel.status === 'idle' && session.isReady;
}"""
# Without a question about unsaved changes.
_CLEAR = """async () => {
    for (const widget of [...window.jupyterapp.shell.widgets('main')]) {
        await widget.context?.sessionContext?.shutdown().catch(() => null);
        widget.dispose();
    }
    return !document.querySelector('.jp-Dialog');
}"""
_OPEN = """([path, address]) => {
    history.replaceState(null, '', address);
    return window.jupyterapp.commands.execute('docmanager:open', {path}).then(() => null);
}"""
_IS_OPEN = """path => {
    const context = window.jupyterapp.shell.currentWidget?.context;
    return context?.path === path && context.isReady && !!document.querySelector('.jp-Notebook .jp-Cell');
}"""
VIEWPORT: Final = {"width": 1200, "height": 1000}
_RUN = """([name, command, index]) => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    if (index !== null) { notebook.deselectAll(); notebook.activeCellIndex = index; }
    window.convlabDone ??= {};
    window.convlabDone[name] = false;
    window.jupyterapp.commands.execute(command).finally(() => { window.convlabDone[name] = true; });
}"""


class NotebookPage:
    """One browser tab on one notebook of one server; every wait ends within ``timeout`` seconds.

    JupyterLab takes long to load, a notebook in it does not: the tab is kept from test to test, with `begin` and
    `put_away`, as long as nothing was done to it but with the notebook.

    ``tab`` is Playwright's page, for locators of the test's own. ``console`` holds what the page wrote there,
    ``foreign`` each request that left the machine; `assert_clean` looks at both.
    """

    def __init__(self, context: BrowserContext, server: JupyterServer, label: str, timeout: float = 60) -> None:
        self.server = server
        self.begin(label)
        self._loaded: tuple[str, str] | None = None
        self._is_kept = False
        self._loopback = r"(https?|wss?)://127\.0\.0\.1[:/]|data:|blob:|about:|file:"
        if server.app in KNOWN_FOREIGN:
            self._loopback += "|" + KNOWN_FOREIGN[server.app]
        self._context = context
        context.set_default_timeout(timeout * SECOND)
        context.on("request", lambda request: self._note_request(request.url))
        context.add_init_script(_KERNEL_SWITCH)
        self.tab: Page = context.new_page()
        self.tab.on("framenavigated", self._note_navigation)
        self.tab.on("console", self._note_console)
        self.tab.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))
        self.tab.on("websocket", lambda socket: self._note_request(socket.url))

    def begin(self, label: str) -> None:
        """Another test."""
        self.label = label
        self.console: list[str] = []
        self.foreign: list[str] = []
        self.notebook = ""
        self._allowed = list(KNOWN_NOISE[self.server.app])

    def put_away(self) -> bool:
        """Close what the test opened; whether the tab can be used again."""
        if self.server.app != "lab" or self._loaded is None:
            return False
        self._context.clear_permissions()
        self.tab.set_viewport_size(VIEWPORT)
        if not self.tab.evaluate(_CLEAR):
            return False
        self.set_theme("light")
        self._is_kept = self._loaded is not None
        return self._is_kept

    def close(self) -> None:
        """Close the tab and all that belongs to it."""
        self._context.close()

    def _note_navigation(self, frame: Frame) -> None:
        if frame == self.tab.main_frame:
            self._loaded = None

    def _note_request(self, url: str) -> None:
        if not re.match(self._loopback, url):
            self.foreign.append(url)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.console.append(f"{message.text} [{message.location['url']}]")

    def allow_console(self, pattern: str) -> None:
        """Expect errors in the console that match the regular expression ``pattern`` in this test."""
        self._allowed.append(pattern)

    def assert_clean(self) -> None:
        """Fail when the page wrote an error that is not allowed or asked anything of the network."""
        errors = [line for line in self.console if not any(re.search(p, line) for p in self._allowed)]
        assert not errors, "errors in the browser's console:\n" + "\n".join(errors)
        assert not self.foreign, "requests that left the machine:\n" + "\n".join(self.foreign)

    # -- opening ---------------------------------------------------------------------------------------------

    def open(
        self, notebook: str, *, kernel: bool = True, theme: str = "light", subshells: str = "perCommTarget"
    ) -> None:
        """Open ``notebook`` (its path in the server's ``work``), and wait for its kernel.

        With ``kernel=False`` the notebook shows what its file holds and no kernel is started. ``theme`` is
        "light" or "dark"; ``subshells`` is JupyterLab's ``commsOverSubshells``.
        """
        self.notebook = notebook
        if self.server.app == "voila":
            self.tab.goto(self.server.address(f"voila/render/{notebook}"))
            return
        place = "doc/tree" if self.server.app == "lab" else "notebooks"
        address = self.server.address(f"{place}/{notebook}", reset="", convlab_kernel=str(kernel).lower())
        can_stay, self._is_kept = self._is_kept and kernel and self._loaded == (theme, subshells), False
        if can_stay:
            self.tab.evaluate(_OPEN, [notebook, address])
            self.tab.wait_for_function(_IS_OPEN, arg=notebook)
            self.wait_for_kernel()
            return
        self.server.write_settings(theme=theme, subshells=subshells)
        self.tab.goto(address)
        self.tab.wait_for_selector(".jp-Notebook .jp-Cell")
        self.tab.wait_for_function("() => !!window.jupyterapp?.shell.currentWidget?.context?.isReady")
        if kernel:
            self.wait_for_kernel()
            self._loaded = theme, subshells
        else:
            self.allow_console(NO_KERNEL_NOISE)

    def reopen_without_kernel(self) -> None:
        """End the notebook's kernel, then show the file as it was last saved, with no kernel at all."""
        self.tab.goto("about:blank")
        self.server.end_sessions()
        self.open(self.notebook, kernel=False)
        assert not self.server.sessions(), "a kernel was started"

    def wait_for_kernel(self) -> None:
        """Wait until the kernel is connected and idle."""
        self.tab.wait_for_function(_KERNEL_READY)

    # -- acting ----------------------------------------------------------------------------------------------

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command of the application, such as ``"notebook:interrupt-kernel"``, to its end."""
        self.tab.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => null)", [name, arguments]
        )

    def _run(self, command: str, index: int | None, wait: bool, timeout: float) -> None:
        done = f"{command} {index}"
        self.tab.evaluate(_RUN, [done, command, index])
        if wait:
            self.tab.wait_for_function("name => window.convlabDone[name]", arg=done, timeout=timeout * SECOND)

    def run_all(self, *, wait: bool = True, timeout: float = 120) -> None:
        """Run all cells; with ``wait``, until the last is done."""
        self._run("notebook:run-all-cells", None, wait, timeout)

    def run_cell(self, index: int, *, wait: bool = True, timeout: float = 120) -> None:
        """Run one cell, counted from 0; with ``wait``, until it is done."""
        self._run("notebook:run-cell", index, wait, timeout)

    def set_source(self, index: int, source: str) -> None:
        """Replace the text of a cell."""
        self.tab.evaluate(
            "([i, s]) => window.jupyterapp.shell.currentWidget.content.widgets[i].model.sharedModel.setSource(s)",
            [index, source],
        )

    def interrupt(self) -> None:
        """Interrupt the kernel, as the stop square does."""
        self.command("notebook:interrupt-kernel")

    def restart_kernel(self) -> None:
        """Restart the kernel, and wait until the new one is ready."""
        self.allow_console(CUT_OFF)
        self.command("notebook:restart-kernel")
        self.wait_for_kernel()

    def save(self) -> dict[str, Any]:
        """Save the notebook (widget state is not saved with it), and return the file's content."""
        is_dirty = "() => window.jupyterapp.shell.currentWidget.context.model.dirty"
        for _ in range(20):  # what an output becomes while the file is written makes the notebook dirty again
            self.command("docmanager:save")
            if not self.tab.evaluate(is_dirty):
                break
            self.tab.wait_for_timeout(500)
        else:
            raise TimeoutError("the notebook changes whenever it is saved")
        content: dict[str, Any] = json.loads((self.server.work / self.notebook).read_text())
        return content

    def set_theme(self, theme: str) -> None:
        """Switch to the "light" or the "dark" theme."""
        self.command("apputils:change-theme", theme=THEMES[theme])
        self.tab.wait_for_selector(f"body[data-jp-theme-name='{THEMES[theme]}']", state="attached")

    def zoom(self, factor: float) -> None:
        """Zoom as the browser's own zoom does: fewer CSS pixels, each larger."""
        size = self.tab.viewport_size
        assert size is not None
        metrics = {
            "width": round(size["width"] / factor),
            "height": round(size["height"] / factor),
            "deviceScaleFactor": factor,
            "mobile": False,
        }
        self._loaded = None
        self._context.new_cdp_session(self.tab).send("Emulation.setDeviceMetricsOverride", metrics)

    # -- looking ---------------------------------------------------------------------------------------------

    def cell(self, index: int) -> Locator:
        """Return the cell, counted from 0."""
        return self.tab.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        """Return the output area of a cell."""
        return self.cell(index).locator(".jp-Cell-outputWrapper")

    def cell_text(self, index: int) -> str:
        """Return the text that a person sees in a cell's output."""
        output = self.output(index)
        return output.inner_text() if output.count() else ""

    def expect_text(self, index: int, text: str, timeout: float = 60) -> None:
        """Wait until the output of a cell contains ``text``."""
        expect(self.output(index)).to_contain_text(text, timeout=timeout * SECOND)

    def screenshot(self, name: str = "") -> Path:
        """Keep a picture of the page as ``artifacts/<label>[-name].png``."""
        ARTIFACTS.mkdir(exist_ok=True)
        file = ARTIFACTS / (f"{self.label}-{name}.png" if name else f"{self.label}.png")
        self.tab.screenshot(path=file, timeout=30 * SECOND)
        return file

    def kernel_eval(self, expression: str, timeout: float = 30) -> Any:
        """Evaluate ``expression`` in the notebook's own kernel; what JSON cannot hold comes as its ``repr``.

        >>> page.kernel_eval("lab.run.optimizer.param_groups[0]['lr']")  # doctest: +SKIP
        0.05

        It speaks to the kernel directly, so the page sees nothing of it, and waits while a cell runs.
        """
        client = BlockingKernelClient(connection_file=str(self.server.connection_file(self.notebook)))
        client.load_connection_file()
        client.start_channels(iopub=False, stdin=False, hb=False, control=False)
        try:
            return evaluate(client, expression, timeout)
        finally:
            client.stop_channels()

    def expect_in_kernel(self, expression: str, seconds: float = 60) -> None:
        """Ask the notebook's kernel until an expression is true."""
        give_up = time.monotonic() + seconds
        while not self.kernel_eval(f"bool({expression})"):
            assert time.monotonic() < give_up, f"not true after {seconds} s: {expression}"
            self.tab.wait_for_timeout(50)
