"""What a run leaves in a saved notebook: its picture and settings, readable where no kernel and no widget is."""

import base64
import html
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from convlab.spec import TrainSpec

if TYPE_CHECKING:
    from convlab.training.run import Run

_CHILD = ".jp-OutputArea-child"
RULES: Final = f"""
{_CHILD}:has(.convlab-lab) + {_CHILD}:has(+ {_CHILD} .convlab-static),
{_CHILD}:has(.convlab-lab) + {_CHILD} + {_CHILD}:has(.convlab-static),
{_CHILD}:not(:has(> .jp-OutputArea-output > *)):has(+ {_CHILD} + {_CHILD} .convlab-static) {{ display: none; }}
"""
"""Of the three outputs of a bench (view, drawing, table): beside a living view hide the others, and beside those hide
the line that says that the view is lost."""


def picture(run: "Run", spec: TrainSpec, title: str) -> dict[str, str]:
    """A run as one output: outcome, curve, settings and changes as HTML, and the same without the curve as text.

    Args:
        run: the run to show.
        spec: its settings.
        title: model and data in a few words.
    """
    image = ""
    if run.history.num_steps:
        image = (
            f'<img alt="{html.escape(summary(run))}" src="data:image/png;base64,{_png(run)}" style="max-width:100%">'
        )
    return {"text/html": f"<div>{_html(run, spec, title, image)}</div>", "text/plain": _text(run, spec, title)}


def drawing(run: "Run | None") -> dict[str, str]:
    """The first of the two outputs that a bench leaves: the curve as a picture."""
    if run is None or not run.history.num_steps:
        return {"text/plain": "No run yet."}
    return {"image/png": _png(run), "text/plain": summary(run)}


def table(run: "Run | None", spec: TrainSpec, title: str, advice: Sequence[str] = ()) -> dict[str, str]:
    """The second of them: outcome, settings, changes, advice, and the rules which hide what a reader does not need.

    Args:
        run: the run to show, or None before the first.
        spec: the settings as they stand.
        title: model and data in a few words.
        advice: what the Advice panel said last, a line for what it looked at and one for each finding.
    """
    spec = run.settings if run is not None else spec
    body = f'<style>{RULES}</style><div class="convlab-static">{_html(run, spec, title)}{_advice(advice)}</div>'
    return {"text/html": body, "text/plain": _text(run, spec, title)}


def _html(run: "Run | None", spec: TrainSpec, title: str, image: str = "") -> str:
    body = f"<p><strong>{html.escape(title)}</strong></p>"
    if run is not None:
        body += f"<p>{html.escape(summary(run))}</p>{_scores(run)}"
    rows = "".join(f"<tr><th>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in _rows(spec))
    body += f"{image}<details open><summary>Settings</summary><table>{rows}</table></details>"
    if run is not None and run.journal:
        changes = "".join(f"<li>step {c.step:,}: {html.escape(str(c))}</li>" for c in run.journal[-50:])
        body += f"<details open><summary>Changed during the run</summary><ul>{changes}</ul></details>"
    return body


def _scores(run: "Run") -> str:
    if not len(run.metrics) or not (run.ended or run.standing):
        return ""
    last = run.metrics[-1]
    told = ", ".join(f"{name} {value:.4g}" for name, value in last.scores.items())
    return f"<p>Validation in epoch {last.epoch:,}: {html.escape(told)}</p>" if told else ""


def _advice(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    found = "".join(f"<li>{html.escape(line)}</li>" for line in lines[1:])
    return f"<details open><summary>Advice: {html.escape(lines[0])}</summary><ul>{found}</ul></details>"


def _text(run: "Run | None", spec: TrainSpec, title: str) -> str:
    lines = [f"convlab: {title}"]
    if run is not None:
        lines.append(f"  {run!r}")
    return "\n".join([*lines, *(f"  {name} = {value}" for name, value in _rows(spec))])


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


def _png(run: "Run") -> str:
    from convlab.plots.figure import png
    from convlab.plots.history import plot_run

    return base64.b64encode(png(plot_run(run))).decode("ascii")


def _rows(spec: TrainSpec) -> list[tuple[str, str]]:
    """What the panel shows, and what else differs from a plain `TrainSpec`."""
    plain = TrainSpec()
    rate = "betas" if spec.optimizer in ("adam", "adamw") else "momentum"
    shown = ("optimizer", "lr", rate, "weight_decay", "batch_size", "epochs", "seed")
    return [
        (name, f"{value:.4g}" if isinstance(value, float) else str(value))
        for name, value in ((field.name, getattr(spec, field.name)) for field in fields(spec))
        if name in shown or (value != getattr(plain, name) and name not in ("momentum", "betas"))
    ]
