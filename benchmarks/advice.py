"""What the rules of `convlab.diagnose` find in planted faults, and in healthy runs.

``python benchmarks/advice.py [--seeds 10] [--followed 3] [--only NAME]``

A row a fault: in how many of the runs (three networks, so many seeds) one of its rules spoke, which spoke how often,
and in how many of those that were followed the last validation loss is lower with the remedy, from the same weights.
"""

import argparse
import collections
import math
import time

import torch

import convlab
from convlab.diagnosis.finding import Finding
from convlab.diagnosis.planted import FAULTS, HEALTHY, Fault, Setup


def last_loss(setup: Setup) -> float:
    history = setup.run().history
    last = history.epochs[-1].valid_loss if history.epochs else None
    return last if last is not None and math.isfinite(last) else math.inf


def seen(fault: Fault, setup: Setup) -> tuple[list[Finding], float]:
    """What is found in a training, and its last validation loss; not trained where that would tell no more."""
    before = convlab.diagnose(setup.model, setup.data, setup.spec)
    if not fault.helps and any(one.rule in fault.rules for one in before):
        return before, math.nan
    run = setup.run()
    last = run.history.epochs[-1].valid_loss if run.history.epochs else None
    return convlab.diagnose(run), last if last is not None and math.isfinite(last) else math.inf


def judged(fault: Fault, seeds: int, followed: int) -> str:
    spoke: collections.Counter[str] = collections.Counter()
    runs = found = helped = tried = 0
    for network in fault.nets:
        for seed in range(seeds):
            findings, loss = seen(fault, fault.setup(network, seed))
            runs += 1
            spoke.update(one.rule for one in findings)
            right = [one for one in findings if one.rule in fault.rules]
            found += bool(right) if fault.rules else not findings
            if fault.helps and right and right[0].remedy.can_be_applied and seed < followed:
                tried += 1
                helped += last_loss(fault.setup(network, seed).with_remedy(right[0].remedy)) < loss
    rules = ", ".join(f"{rule} {count}" for rule, count in spoke.most_common()) or "-"
    return f"{runs:5} {found:6} {f'{helped} of {tried}' if tried else '-':>9}   {rules}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--followed", type=int, default=3, help="seeds whose remedies are followed")
    parser.add_argument("--only", default="", help="faults whose name holds one of these, separated by commas")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':<36} {'runs':>5} {'found':>6} {'helped':>9}   rules that spoke", flush=True)
    for faults in (FAULTS, HEALTHY):
        if faults is HEALTHY:
            print("healthy ones; found means that no rule spoke", flush=True)
        for fault in faults:
            if any(part in fault.name for part in options.only.split(",")):
                began = time.monotonic()
                told = judged(fault, options.seeds, options.followed)
                print(f"{fault.name:<36} {told}   ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
