"""Feeding one epoch of pictures in memory: DataLoader, indexing a tensor batch by batch, and convlab's TensorSource.

    python benchmarks/feeding.py [--samples 10000] [--rounds 9]

The three take turns within each round; medians are printed, and ratios to the DataLoader. Nothing else is done with
the batches, so the ratios are of feeding alone.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from convlab.data.sources import TensorSource

CPU = torch.device("cpu")


def ways(x: Tensor, y: Tensor, batch_size: int) -> dict[str, Callable[[], Iterable[tuple[Tensor, Tensor]]]]:
    loader = DataLoader(TensorDataset(x, y), batch_size, shuffle=True)
    # Each keeps the pictures in its own layout from epoch to epoch.
    plain, last = TensorSource(x, y), TensorSource(x, y)
    generator = torch.Generator()

    def indexed() -> Iterable[tuple[Tensor, Tensor]]:
        for index in torch.randperm(len(x)).split(batch_size):
            yield x[index], y[index]

    def gathered(source: TensorSource, memory_format: torch.memory_format) -> Iterable[tuple[Tensor, Tensor]]:
        return source.batches(source.order(generator), 0, batch_size, CPU, memory_format)

    return {
        "DataLoader": lambda: loader,
        "x[index]": indexed,
        "TensorSource": lambda: gathered(plain, torch.contiguous_format),
        "TensorSource, channels_last": lambda: gathered(last, torch.channels_last),
    }


def epoch(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {options.samples:,} samples, {options.rounds} rounds, 1 thread")
    print(f"{'input':>10} {'batch':>5}  {'fed by':<28} {'ms/epoch':>8}  {'to DataLoader':>13}")
    for size in ((1, 8, 8), (1, 28, 28), (3, 32, 32)):
        x, y = torch.rand(options.samples, *size), torch.randint(10, (options.samples,))
        for batch_size in (32, 128):
            table = ways(x, y, batch_size)
            times: dict[str, list[float]] = {name: [] for name in table}
            for round_ in range(options.rounds + 1):
                for name, batches in table.items():
                    seconds = epoch(batches())
                    # The first round warms up.
                    if round_:
                        times[name].append(seconds)
            first = statistics.median(times["DataLoader"])
            for name, seconds_each in times.items():
                median = statistics.median(seconds_each)
                shape = "x".join(map(str, size))
                print(f"{shape:>10} {batch_size:>5}  {name:<28} {1000 * median:8.2f}  {median / first:13.3f}")


if __name__ == "__main__":
    main()
