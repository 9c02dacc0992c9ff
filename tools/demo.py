"""Run a notebook without a browser, print the accuracy that it reports, write a page that needs no network.

``python tools/demo.py notebooks/01_quickstart.ipynb artifacts/quickstart.html``
"""

import re
import sys
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat import NotebookNode

# JupyterLab's own page without what it would load from elsewhere: require.js, the widget manager, MathJax, Mermaid.
OFFLINE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""
WIDGET = "application/vnd.jupyter.widget-view+json"
ACCURACY = re.compile(r"validation accuracy[^\d\n]{0,20}(\d+(?:\.\d+)?(?: ?%)?)", re.IGNORECASE)


def execute(notebook: Path) -> NotebookNode:
    """Run every cell in a fresh kernel; raises nbclient's error, with the traceback, where a cell fails."""
    content = nbformat.read(notebook, as_version=4)
    resources = {"metadata": {"path": str(notebook.parent)}}
    # A kernel warns that it talks without encryption, which on this machine's own loopback says nothing.
    quiet = ["--log-level=ERROR"]
    client = NotebookClient(content, timeout=1200, kernel_name="python3", resources=resources, extra_arguments=quiet)
    client.execute()
    return content


def texts(notebook: NotebookNode) -> list[str]:
    """Return the texts that the notebook put out, in order."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]


def to_html(notebook: NotebookNode, title: str) -> str:
    """Turn an executed notebook into one page with pictures and styles in it and nothing to fetch."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata.pop("widgets", None)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        for output in cell.outputs:
            # A widget needs its manager, which a page can only fetch; the picture beside it stays.
            output.get("data", {}).pop(WIDGET, None)
        cell.outputs = [output for output in cell.outputs if output.get("data", True)]
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"offline.html.j2": OFFLINE})],
        template_file="offline.html.j2",
        embed_images=True,
    )
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    fetched = fetched_by(page)
    if fetched:
        raise ValueError(f"the page would fetch {fetched[0]!r}; embed it in the notebook instead")
    return page


def fetched_by(page: str) -> list[str]:
    """Return the addresses that a browser would fetch when it shows the page; links to click are none."""
    tags = r"<(?:script|img|iframe|source|video|audio|embed|link)\b[^>]*?\b(?:src|href)=[\"']?(?!data:)([^\"'\s>]+)"
    styles = r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)"
    return re.findall(tags, page) + re.findall(styles, page)


def main(notebook: Path, page: Path) -> None:
    """Do it all for one notebook."""
    print(f"Running {notebook} ...", flush=True)
    executed = execute(notebook)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(to_html(executed, notebook.stem), encoding="utf-8")
    found = ACCURACY.findall("\n".join(texts(executed)))
    if not found:
        sys.exit(f"{notebook} put out no text such as 'validation accuracy 97.2 %'")
    print(f"Final validation accuracy: {found[-1]}")
    print(f"Wrote {page}, {page.stat().st_size / 1e6:.1f} MB; open it in any browser, no network needed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
