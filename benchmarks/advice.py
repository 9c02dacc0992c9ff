"""What the rules of `convlab.diagnose` find in planted faults, and in healthy runs.

``python benchmarks/advice.py [--seeds 10]``

A row a fault: in how many of the runs (three networks, so many seeds) the right rule spoke, and which did. Where a
rule offers a setting: in how many of them the last validation loss is lower with it.
"""

import argparse
import collections
import math

import torch
from torch import nn

import convlab
from convlab.data import Data, resolve
from convlab.models.gallery import lenet, net
from convlab.training.run import Run

DIGITS = resolve("digits")
SPEC = convlab.TrainSpec(epochs=12, threads=1)


def few(seed: int) -> Data:
    """300 pictures, of which 90 have somebody else's label: to be learned by heart."""
    order = torch.randperm(len(DIGITS.train.y), generator=torch.Generator().manual_seed(seed))[:300]
    labels = DIGITS.train.y[order].clone()
    labels[:90] = labels[:90].roll(1)
    return resolve(((DIGITS.train.x[order], labels), (DIGITS.valid.x, DIGITS.valid.y)))


def shuffled(seed: int) -> Data:
    order = torch.randperm(len(DIGITS.train.y), generator=torch.Generator().manual_seed(seed))
    return resolve(((DIGITS.train.x, DIGITS.train.y[order]), (DIGITS.valid.x, DIGITS.valid.y)))


def perceptron(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


NETS = {
    "lenet": lambda seed: lenet(seed=seed),
    "resnet": lambda seed: net("resnet", input_size=(1, 8, 8), num_classes=10, seed=seed),
    "perceptron": perceptron,
}
CASES = {
    "healthy, sgd": (lambda _: DIGITS, {}, ""),
    "healthy, adamw": (lambda _: DIGITS, {"optimizer": "adamw", "lr": 2e-3}, ""),
    "lr 20": (lambda _: DIGITS, {"lr": 20.0}, "diverged"),
    "lr 0.5 to 1": (lambda _: DIGITS, {"lr": 1.0}, "diverged oscillating"),
    "lr 0.00001": (lambda _: DIGITS, {"lr": 1e-5}, "too_slow"),
    "weight decay 0.3": (lambda _: DIGITS, {"weight_decay": 0.3}, "decayed_away"),
    "shuffled labels": (shuffled, {"lr": 0.02}, "at_chance"),
    "by heart, 60 epochs": (few, {"epochs": 60, "lr": 0.02}, "overfitting"),
}


def last_loss(run: Run) -> float:
    found = [one.valid_loss for one in run.history.epochs if math.isfinite(one.valid_loss)]
    return found[-1] if found else math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':<24} {'runs':>5} {'found':>6}   rules that spoke; remedies that helped", flush=True)
    for name, (data, changes, expected) in CASES.items():
        spoke: collections.Counter[str] = collections.Counter()
        helped: collections.Counter[str] = collections.Counter()
        tried: collections.Counter[str] = collections.Counter()
        hits = runs = 0
        for make in NETS.values():
            for seed in range(options.seeds):
                found, spec = data(seed), SPEC.replace(**changes, seed=seed)
                run = convlab.fit(make(seed), found, spec)
                runs += 1
                rules = convlab.diagnose(run)
                hits += any(one.rule in expected.split() for one in rules) if expected else not rules
                for one in rules:
                    spoke[one.rule] += 1
                    if one.remedy.changes:
                        tried[one.rule] += 1
                        better = convlab.fit(make(seed), found, one.remedy.applied(spec))
                        helped[one.rule] += last_loss(better) < last_loss(run)
        told = ", ".join(f"{rule} {count}" for rule, count in spoke.most_common()) or "none"
        good = ", ".join(f"{rule} {helped[rule]} of {count}" for rule, count in tried.items())
        print(f"{name:<24} {runs:5} {hits:6}   {told}; {good or '-'}", flush=True)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore", RuntimeWarning)
    main()
