"""Fixtures of the browser tests: a server and a browser a session, a fresh notebook and kernel a test."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import nbformat
import pytest
from harness import ARTIFACTS, CHROMIUM, CHROMIUM_ARGS, VIEWPORT, NotebookPage
from kernelspecs import install_ipykernel, write_kernelspec
from playwright.sync_api import Browser, Playwright, expect, sync_playwright
from servers import App, JupyterServer

OUTCOME = pytest.StashKey[pytest.TestReport]()
NotebookMaker = Callable[..., str]

# A machine that is busy with other work is slow, not wrong.
expect.set_options(timeout=60_000)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call":
        item.stash[OUTCOME] = report
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)
            # One test walks through much, and its two processors may have other work.
            item.add_marker(pytest.mark.timeout(600))


class Kept:
    """The browser, and a tab in JupyterLab, from one test to the next."""

    def __init__(self) -> None:
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self.page: NotebookPage | None = None

    def browser(self) -> Browser:
        """Begun when it is first asked for."""
        if self._browser is None:
            self._playwright = sync_playwright().start()
            self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        return self._browser

    def end(self) -> None:
        """End both."""
        if self._browser is not None and self._playwright is not None:
            self._browser.close()
            self._playwright.stop()
        self._browser = self._playwright = self.page = None


KEPT = Kept()


# A sync Playwright leaves its event loop marked as running in this thread, which breaks asyncio.run elsewhere:
# it must end before tests of other rooms begin.
@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Any:
    done = yield
    if nextitem is None or "tests/browser/" not in nextitem.path.as_posix():
        KEPT.end()
    return done


@pytest.fixture
def browser() -> Browser:
    return KEPT.browser()


def _server(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    with JupyterServer(tmp_path_factory.mktemp(app), app) as server:
        yield server


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    yield from _server("lab", tmp_path_factory)


@pytest.fixture(scope="session")
def notebook7_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    yield from _server("notebook", tmp_path_factory)


@pytest.fixture(scope="session")
def voila_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    yield from _server("voila", tmp_path_factory)


@pytest.fixture
def label(request: pytest.FixtureRequest) -> str:
    """The test's name, fit for a file name."""
    return re.sub(r"\W+", "-", request.node.name).strip("-")


@pytest.fixture
def notebook(label: str, request: pytest.FixtureRequest) -> NotebookMaker:
    """``notebook([source, ...], kernel="python3")`` writes a notebook and returns its path for `open`.

    It lands in a folder of the test's own in every server that the test uses.
    """

    def make(cells: list[str], kernel: str = "python3") -> str:
        content = nbformat.v4.new_notebook()
        content.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        content.cells = [nbformat.v4.new_code_cell(source) for source in cells]
        names = {"lab_server", "notebook7_server", "voila_server"} & set(request.fixturenames)
        for name in names:
            folder = request.getfixturevalue(name).work / label
            folder.mkdir(exist_ok=True)
            nbformat.write(content, folder / "test.ipynb")
        return f"{label}/test.ipynb"

    return make


def _page(
    browser: Browser, server: JupyterServer, label: str, request: pytest.FixtureRequest
) -> Iterator[NotebookPage]:
    kept = KEPT.page if server.app == "lab" else None
    page = kept or NotebookPage(browser.new_context(viewport=VIEWPORT), server, label)
    page.begin(label)
    is_kept = False
    try:
        yield page
        report = request.node.stash.get(OUTCOME, None)
        if report is None or report.failed:
            page.screenshot("failed")
            console = "\n".join(page.console)
            (ARTIFACTS / f"{label}-failed.log").write_text(f"{server.log_tail()}\n\nconsole:\n{console}\n")
        else:
            page.assert_clean()
            is_kept = page.put_away()
    finally:
        if not is_kept:
            page.close()
        if server.app == "lab":
            KEPT.page = page if is_kept else None
        server.end_sessions(wait=False)


@pytest.fixture
def page(
    browser: Browser, lab_server: JupyterServer, label: str, request: pytest.FixtureRequest
) -> Iterator[NotebookPage]:
    """A fresh tab in JupyterLab."""
    yield from _page(browser, lab_server, label, request)


@pytest.fixture
def notebook7(
    browser: Browser, notebook7_server: JupyterServer, label: str, request: pytest.FixtureRequest
) -> Iterator[NotebookPage]:
    """A fresh tab in Notebook 7."""
    yield from _page(browser, notebook7_server, label, request)


@pytest.fixture
def voila(
    browser: Browser, voila_server: JupyterServer, label: str, request: pytest.FixtureRequest
) -> Iterator[NotebookPage]:
    """A fresh tab in Voilà."""
    yield from _page(browser, voila_server, label, request)


@pytest.fixture
def other_ipykernel(lab_server: JupyterServer, pytestconfig: pytest.Config) -> Callable[[str], str]:
    """``other_ipykernel("6.30.1")`` gives the name of a kernel, for ``notebook(cells, kernel=...)``."""

    def make(version: str) -> str:
        name = f"ipykernel-{version}"
        folder = install_ipykernel(version, pytestconfig.cache.mkdir(name))
        write_kernelspec(lab_server.data, name, pythonpath=folder)
        return name

    return make
