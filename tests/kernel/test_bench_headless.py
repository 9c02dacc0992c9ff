"""The bench where nobody sits: executed notebooks and scripts wait for the run and keep its picture."""

import os
import subprocess
import sys

import nbformat
import pytest
from kernelspecs import write_kernelspec
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

CELLS = [
    "%load_ext convlab\nimport convlab\nlab = convlab.Lab(spec=convlab.TrainSpec(epochs=2))\nlab",
    "lab.run()\nlab.current.state",
]
SCRIPT = """
import convlab
lab = convlab.Lab(spec=convlab.TrainSpec(epochs=1))
run = lab.run()
print(run.state, run.history.num_epochs, lab.stop(), lab)
"""


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A folder with a kernel of this interpreter, and no Jupyter server around it."""
    for name in ("JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(name, raising=False)
    write_kernelspec(tmp_path)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(notebook, tmp_path / "in.ipynb")
    return tmp_path


def expect_picture(notebook):
    bench, state = (cell["outputs"] for cell in notebook.cells)
    assert "finished" in state[-1]["data"]["text/plain"]
    view, picture, table = (output["data"] for output in bench)
    assert set(view) == {"application/vnd.jupyter.widget-view+json"}
    assert len(picture["image/png"]) > 10_000
    assert "finished after 90 steps, 2 epochs" in table["text/html"]
    assert "<th>lr</th><td>0.05</td>" in table["text/html"]


def test_nbclient(alone):
    notebook = nbformat.read(alone / "in.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(alone)}}).execute()
    expect_picture(notebook)


@pytest.mark.parametrize(
    "command",
    [
        ["papermill", "in.ipynb", "out.ipynb"],
        ["nbconvert", "--to", "notebook", "--execute", "--output", "out.ipynb", "in.ipynb"],
    ],
    ids=["papermill", "nbconvert"],
)
def test_programs_that_execute_notebooks(alone, command):
    subprocess.run([sys.executable, "-m", *command], check=True, cwd=alone, timeout=200, capture_output=True)
    expect_picture(nbformat.read(alone / "out.ipynb", as_version=4))


def test_a_plain_script(alone):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, cwd=alone, timeout=120, capture_output=True, text=True
    )
    assert done.stdout.startswith("finished 1 None Lab(Sequential on digits, finished, 1 runs)")
    assert done.stderr == ""


def test_in_a_kernel_that_somebody_watches_run_returns_at_once(kernel):
    assert os.environ.get("JPY_SESSION_NAME") is None  # the kernel fixture sets it for the kernel alone
    kernel.execute("import convlab\nlab = convlab.Lab(spec=convlab.TrainSpec(epochs=20_000))\nlab")
    shown = kernel.execute("run = lab.run()\nprint(run.state in ('pending', 'running'))")
    assert shown.stdout == "True\n"
    kernel.execute("run.stop()")
    assert kernel.eval("run.state") == "stopped"
