"""The page that `make demo` writes: shown anywhere, with nothing to fetch."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("demo", ROOT / "tools" / "demo.py")
assert SPEC is not None
assert SPEC.loader is not None
demo = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(demo)

PICTURE_AND_WIDGET = """
import io
import ipywidgets
from IPython.display import Image, display
from matplotlib.figure import Figure
figure, file = Figure(figsize=(2, 1)), io.BytesIO()
figure.subplots().plot([1, 3, 2])
figure.savefig(file, format="png")
display(ipywidgets.IntSlider())
display(Image(file.getvalue()))
"""


def make(path: Path, *sources: str) -> Path:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_markdown_cell("[a link](https://example.org) is no request, $x$ no MathJax")]
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(notebook, path)
    return path


@pytest.mark.slow
def test_the_page_holds_the_picture_and_fetches_nothing(tmp_path, capsys):
    notebook = make(tmp_path / "small.ipynb", PICTURE_AND_WIDGET, "print('validation accuracy: 97.2%')")
    page = tmp_path / "out" / "small.html"
    demo.main(notebook, page)
    assert "Final validation accuracy: 97.2%\n" in capsys.readouterr().out
    html = page.read_text()
    assert 'src="data:image/png;base64,' in html
    assert demo.fetched_by(html) == []
    for stranger in ("cdnjs", "unpkg", "jsdelivr", "widget-view"):
        assert stranger not in html


@pytest.mark.slow
def test_a_notebook_that_reports_no_accuracy_fails(tmp_path):
    notebook = make(tmp_path / "silent.ipynb", "1 + 1")
    with pytest.raises(SystemExit, match="put out no text such as 'validation accuracy"):
        demo.main(notebook, tmp_path / "silent.html")


def test_what_a_browser_would_fetch_is_found():
    page = """
    <script src="https://cdn.example/require.js"></script> <a href="https://example.org">a link</a>
    <img alt="p" src='http://example.org/p.png'><img src="data:image/png;base64,AA=="> <link href=//cdn.example/a.css>
    <style>@import "https://cdn.example/b.css"; b { background: url(https://cdn.example/c.png) }</style>
    """
    assert demo.fetched_by(page) == [
        "https://cdn.example/require.js",
        "http://example.org/p.png",
        "//cdn.example/a.css",
        "https://cdn.example/b.css",
        "https://cdn.example/c.png",
    ]
