"""Fixtures of the browser tests: a server a session, a browser a file, a fresh context and notebook a test."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import nbformat
import pytest
from harness import ARTIFACTS, CHROMIUM, CHROMIUM_ARGS, NotebookPage
from kernelspecs import install_ipykernel, write_kernelspec
from playwright.sync_api import Browser, expect, sync_playwright
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


# A sync Playwright leaves its event loop marked as running in this thread, which breaks asyncio.run elsewhere:
# it must end with the file, before tests of other rooms begin.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


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
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    page = NotebookPage(context, server, label)
    try:
        yield page
        report = request.node.stash.get(OUTCOME, None)
        if report is None or report.failed:
            page.screenshot("failed")
            console = "\n".join(page.console)
            (ARTIFACTS / f"{label}-failed.log").write_text(f"{server.log_tail()}\n\nconsole:\n{console}\n")
        else:
            page.assert_clean()
    finally:
        context.close()
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
