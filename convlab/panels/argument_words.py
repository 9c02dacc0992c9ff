"""What each argument of a scheduler does, in plain words."""

from collections.abc import Mapping
from typing import Final

UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("T_max", "T_0", "total_iters", "total_steps", "step_size", "milestones"), "calls"),
    **dict.fromkeys(("step_size_up", "step_size_down", "patience", "cooldown"), "calls"),
    "epochs": "epochs",
    "steps_per_epoch": "steps",
}
"""What an argument counts: calls of `step`, which are steps or epochs, as the cadence says."""

_WORDS: Final[Mapping[str, str]] = {
    "T_max": "After so many the lr has come down to eta_min; past that it climbs back up.",
    "T_0": "Length of the first cycle.",
    "T_mult": "Each cycle is so many times as long as the one before.",
    "anneal_strategy": "The shape of the rise and of the fall: a half cosine, or straight.",
    "base_lr": "The lr at the foot of each cycle.",
    "base_momentum": "The least momentum (Adam: beta1), where the lr is at its peak.",
    "cooldown": "How long to wait after a reduction before losses count again.",
    "cycle_momentum": "Let momentum (Adam: beta1) move against the lr: low where the lr is high.",
    "div_factor": "The lr begins at max_lr divided by this.",
    "end_factor": "What the lr is multiplied by at the end.",
    "epochs": "With steps_per_epoch: another way to say total_steps.",
    "eps": "A reduction smaller than this is not made.",
    "eta_min": "The lowest lr, at the foot of the cosine.",
    "factor": "What the lr is multiplied by.",
    "final_div_factor": "The lr ends at its beginning divided by this.",
    "gamma": "What the lr is multiplied by each time.",
    "lr_lambda": "What the lr is multiplied by, as a formula of epoch: the number of calls of scheduler.step() so far.",
    "max_lr": "The lr at the peak.",
    "max_momentum": "The most momentum (Adam: beta1), where the lr is lowest.",
    "milestones": "When the lr is reduced: numbers in rising order, with commas.",
    "min_lr": "The lr is never reduced below this.",
    "mode": "Whether the watched score should fall (min: a loss) or rise (max: an accuracy).",
    "patience": "How long to wait for something better before the lr is reduced.",
    "pct_start": "Share of the training that the rise takes, from 0 to 1.",
    "power": "1 falls in a straight line; more falls faster first, less falls faster last.",
    "scale_fn": "How cycles shrink: a formula of x, which counts what scale_mode says. Empty: as mode says.",
    "scale_mode": "What x in scale_fn counts.",
    "schedulers": "The schedules that it is made of.",
    "start_factor": "What the lr is multiplied by at the beginning.",
    "step_size": "How long each lr is kept.",
    "step_size_down": "Length of the fall in each cycle; None: as long as the rise.",
    "step_size_up": "Length of the rise in each cycle.",
    "steps_per_epoch": "With epochs: another way to say total_steps.",
    "three_phase": "Fall as long as it rose, then a last phase down to next to nothing.",
    "threshold": "What counts as better: an improvement smaller than this is none.",
    "threshold_mode": "Whether threshold is a share of the best score (rel) or a difference from it (abs).",
    "total_iters": "How long the lr moves; it stays after that.",
    "total_steps": "Length of the cycle: all calls of scheduler.step(). One more is an error.",
}
_OF_ONE: Final[Mapping[tuple[str, str], str]] = {
    ("MultiplicativeLR", "lr_lambda"): "What the lr of the call before is multiplied by, as a formula of epoch: the "
    "number of calls of scheduler.step() so far.",
    ("ExponentialLR", "gamma"): "What the lr is multiplied by at every call.",
    ("CyclicLR", "gamma"): "With mode exp_range: what the height of the cycles is multiplied by at every call.",
    ("CyclicLR", "mode"): "Cycles all alike, each half as high as the one before, or shrinking by gamma.",
    ("ReduceLROnPlateau", "factor"): "What the lr is multiplied by when the score has stopped improving.",
    ("ConstantLR", "total_iters"): "How long the lr is multiplied by factor; after that it is whole.",
    ("SequentialLR", "milestones"): "When the next schedule takes over: one number fewer than there are schedules.",
}


def tooltip(scheduler: str, argument: str) -> str:
    """What this argument of this scheduler does."""
    return _OF_ONE.get((scheduler, argument)) or _WORDS[argument]
