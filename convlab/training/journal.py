"""The journal: what a person changed during a run, precisely enough to replay it."""

from dataclasses import dataclass
from typing import Final

from convlab.schedule_spec import ScheduleSpec

_MODES: Final = {"scale": "schedule goes on", "hold": "schedule held", "release": "schedule released"}


@dataclass(frozen=True)
class Change:
    """One setting changed in flight: in force from the update after `step` finished steps on."""

    step: int
    name: str
    old: object
    new: object

    def __str__(self) -> str:
        if self.name == "edit":
            return str(self.new)
        if self.name == "schedule_mode":
            return _MODES[str(self.new)]
        return f"{self.name} {_short(self.old)} → {_short(self.new)}"


def _short(value: object) -> str:
    if isinstance(value, ScheduleSpec):
        return value.scheduler
    return f"{value:.4g}" if isinstance(value, float) else str(value)


LIVE_SETTINGS: Final = (
    "lr",
    "momentum",
    "betas",
    "weight_decay",
    "dropout",
    "batch_size",
    "micro_batch_size",
    "clip_grad_norm",
    "label_smoothing",
    "epochs",
    "schedule",
    "schedule_mode",
)
