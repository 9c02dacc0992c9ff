"""What a sweep costs and gains: overhead a trial, two workers against one, time to the first trial, TPE against random.

``python benchmarks/sweep.py [overhead speedup start quality] [--seeds 10]``

Overhead: the same trainings with the same values, in turn by `Sweep.run(workers=0)` and by a loop of bare Optuna on the
same database with heartbeat, reporting and pruning. Speed-up: from the first trial's start to the last one's end.
Start: from `Sweep.run` to the first trial, and to its first epoch on record. Quality: the best validation loss of a
budget, without pruning, TPE against random search.
"""

import argparse
import statistics
import tempfile
import time

import optuna

import convlab
from convlab import TrainSpec
from convlab.search.study import make_study, quiet
from convlab.search.sweep import Sweep
from convlab.training.run import Run

SPACE = {"lr": (1e-3, 0.3, "log"), "optimizer": ["sgd", "adamw"], "filters": (8, 32)}
NET = convlab.NetSpec((1, 8, 8), blocks=convlab.Block.ladder(16, 32))
SPEC = TrainSpec(epochs=8, threads=1)


def new(spec=SPEC, space=SPACE, **more) -> Sweep:
    return Sweep(NET, "digits", spec, space, directory=tempfile.mkdtemp(prefix="convlab-sweep-"), **more)


def bare(trials: int) -> tuple[float, list[float]]:
    """A loop as people write it, on the same kind of database; seconds, and the seconds of each training."""
    folder = new().directory  # a manifest, so that the study is opened as the sweep's
    study = make_study(folder)
    study.sampler = optuna.samplers.RandomSampler(0)
    study.pruner = optuna.pruners.NopPruner()
    data = convlab.data.resolve("digits")
    trainings = []

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-3, 0.3, log=True)
        optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
        filters = trial.suggest_int("filters", 16, 16)
        model = convlab.build(NET.replace(blocks=convlab.Block.ladder(filters, 2 * filters)))
        run = Run(model, data, SPEC.replace(lr=lr, optimizer=optimizer))

        def each_epoch(run: Run) -> bool:
            record = run.history.epochs[-1]
            trial.report(record.valid_loss, record.epoch)
            return not trial.should_prune()

        run.each_epoch = each_epoch
        began = time.perf_counter()
        run.start().wait()
        trainings.append(time.perf_counter() - began)
        return run.best.valid_loss

    began = time.perf_counter()
    with quiet():
        study.optimize(objective, n_trials=trials)
    return time.perf_counter() - began, trainings


def swept(trials: int) -> tuple[float, list[float]]:
    sweep = new(space={**SPACE, "filters": [16]}, sampler="random", pruner="none")
    began = time.perf_counter()
    sweep.run(trials, workers=0)
    return time.perf_counter() - began, [one.seconds for one in sweep.trials]


def overhead() -> None:
    trials, rows = 6, []
    for way in (bare, swept) * 4:
        seconds, trainings = way(trials)
        rows.append((way, seconds / trials, (seconds - sum(trainings)) / trials))
    rows = rows[2:]  # the first of each warms up
    took = {way: statistics.median(one[1] for one in rows if one[0] is way) for way in (bare, swept)}
    beside = {way: statistics.median(one[2] for one in rows if one[0] is way) for way in (bare, swept)}
    more = beside[swept] - beside[bare]  # of the rest alone: the trainings' own spread is larger than it
    print(
        f"overhead    a trial of {SPEC.epochs} epochs takes {took[bare]:.2f} s by bare Optuna; beside the training "
        f"{1000 * beside[bare]:.0f} ms by it and {1000 * beside[swept]:.0f} ms by Sweep: {more / took[bare]:+.1%} "
        "(aim: under 5 %)",
        flush=True,
    )


def speedup() -> None:
    took = {}
    for workers in (1, 2):
        sweep = new(SPEC.replace(epochs=30), {"lr": (1e-3, 0.1, "log")}, pruner="none", sampler="random")
        sweep.run(8, workers=workers).wait()
        found = sweep.study.trials
        took[workers] = (
            max(one.datetime_complete for one in found) - min(one.datetime_start for one in found)
        ).total_seconds()
    print(f"speed-up    8 trials: {took[1]:.1f} s with 1 worker, {took[2]:.1f} s with 2: {took[1] / took[2]:.2f} times")


def start() -> None:
    firsts, epochs = [], []
    for _ in range(3):
        sweep = new(SPEC.replace(epochs=2), pruner="none")
        pressed = time.time()
        sweep.run(1)
        while not (trials := sweep.study.trials):
            time.sleep(0.01)
        firsts.append(trials[0].datetime_start.timestamp() - pressed)
        while not sweep.trials[0].losses:
            time.sleep(0.01)
        epochs.append(time.time() - pressed)
        sweep.wait()
    print(
        f"start       from run() to the first trial {statistics.median(firsts):.1f} s, "
        f"to its first epoch {statistics.median(epochs):.1f} s (median of 3)"
    )


def quality(seeds: int, trials: int = 20) -> None:
    space = {**SPACE, "weight_decay": (1e-6, 1e-1, "log"), "batch_size": (16, 256, "log"), "dropout": (0.0, 0.6)}
    spec = SPEC.replace(epochs=3)
    best: dict[str, list[float]] = {"tpe": [], "random": []}
    for seed in range(seeds):
        for sampler, found in best.items():
            sweep = new(spec, space, sampler=sampler, pruner="none", seed=seed).run(trials, workers=0)
            found.append(sweep.best.value)
    wins = sum(tpe < random for tpe, random in zip(best["tpe"], best["random"], strict=True))
    print(
        f"quality     best of {trials} trials, median of {seeds} seeds: {statistics.median(best['tpe']):.4f} by TPE, "
        f"{statistics.median(best['random']):.4f} by random search; TPE lower in {wins} of {seeds}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["overhead", "speedup", "start", "quality"])
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    for name in options.what:
        quality(options.seeds) if name == "quality" else {"overhead": overhead, "speedup": speedup, "start": start}[
            name
        ]()


if __name__ == "__main__":
    main()
