"""What a run leaves in a saved notebook: its picture and settings, readable where no kernel and no widget is."""

import base64
import html
from dataclasses import asdict
from typing import TYPE_CHECKING

from convlab.spec import TrainSpec

if TYPE_CHECKING:
    from convlab.training.run import Run

_FOLD = (
    "<style>.jp-OutputArea-child:has(> .jp-OutputArea-output.jupyter-widgets:not(:has(*)))"
    ":has(+ .jp-OutputArea-child .convlab-static){display:none}</style>"
)


def picture(run: "Run | None", spec: TrainSpec, title: str) -> dict[str, str]:
    """A display's data: HTML with the curve as an embedded picture and the settings as a table, and a line of text.

    Args:
        run: the run to show, or None before the first.
        spec: the settings as they stand.
        title: model and data in a few words.
    """
    spec = run.settings if run is not None else spec
    lines = [f"convlab: {title}", *(f"  {name} = {value}" for name, value in _rows(spec))]
    body = f"<p><strong>{html.escape(title)}</strong></p>"
    if run is not None:
        lines.insert(1, f"  {run!r}")
        body += f"<p>{html.escape(summary(run))}</p>"
        if run.history.num_steps:
            body += _image(run)
    rows = "".join(f"<tr><th>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in _rows(spec))
    body += f"<details open><summary>Settings</summary><table>{rows}</table></details>"
    if run is not None and run.journal:
        changes = "".join(f"<li>step {c.step:,}: {html.escape(str(c))}</li>" for c in run.journal[-50:])
        body += f"<details><summary>Changed during the run</summary><ul>{changes}</ul></details>"
    return {"text/html": f'<div class="convlab-static">{_FOLD}{body}</div>', "text/plain": "\n".join(lines)}


def summary(run: "Run") -> str:
    """The outcome of a run in one sentence."""
    text = f"{run.state} after {run.history.num_steps:,} steps, {run.history.num_epochs:,} epochs"
    if run.history.epochs:
        last = run.history.epochs[-1]
        text += f"; training loss {last.train_loss:.4g}"
        if last.valid_loss is not None:
            text += f", validation loss {last.valid_loss:.4g}"
        if last.valid_accuracy is not None:
            text += f", validation accuracy {last.valid_accuracy:.1%}"
    if run.error is not None:
        text += f"; {type(run.error).__name__}: {run.error}"
    return text


def _image(run: "Run") -> str:
    from convlab.plots.figure import png
    from convlab.plots.history import plot_run

    data = base64.b64encode(png(plot_run(run))).decode("ascii")
    return f'<img alt="{html.escape(summary(run))}" src="data:image/png;base64,{data}" style="max-width:100%">'


def _rows(spec: TrainSpec) -> list[tuple[str, str]]:
    return [(name, f"{value:.4g}" if isinstance(value, float) else str(value)) for name, value in asdict(spec).items()]
