"""The loops that `benchmarks/training.py` compares, each with the display that its users know. Runs in a real kernel.

Each trains one model on the same tensors and validates after every epoch. A contender is a function
``(model, data, epochs, batch_size)``; `seconds_per_epoch` tells the time between the ends of the first and the last
epoch, so that what comes once (building, first pictures, last picture) counts for nobody.
"""

import contextlib
import importlib.util
import io
import logging
import time
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convlab.data import Data, resolve
from convlab.models.gallery import lenet
from convlab.spec import TrainSpec
from convlab.training.fit import fit

LR, MOMENTUM, VALID_BATCH = 0.05, 0.9, 128
Contender = Callable[[nn.Module, Data, int, int], None]


def seconds_per_epoch(contender: str, epochs: int, batch_size: int) -> tuple[float, float]:
    """Train a fresh LeNet on digits; wall and CPU time of an epoch, from one validation's beginning to the next.

    The CPU time is that of all threads of the kernel: what other processes of a busy machine do is not in it.
    """
    torch.set_num_threads(1)
    model, stamps = lenet(), []
    train = model.train

    def stamped(mode: bool = True) -> nn.Module:
        if model.training and not mode:
            stamps.append((time.perf_counter(), time.process_time()))
        return train(mode)

    model.train = stamped
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CONTENDERS[contender](model, resolve("digits"), epochs, batch_size)
    assert len(stamps) >= epochs, f"{contender} validated {len(stamps)} times in {epochs} epochs"
    wall, cpu = ((last - first) / (epochs - 1) for first, last in zip(stamps[-epochs], stamps[-1], strict=True))
    return wall, cpu


def available(contender: str) -> bool:
    """Whether what the contender needs is installed."""
    package = {"livelossplot": "livelossplot", "Lightning": "lightning", "fastai": "fastai", "skorch": "skorch"}
    name = package.get(contender.partition(",")[0])
    return name is None or importlib.util.find_spec(name) is not None


def convlab_live(model: nn.Module, data: Data, epochs: int, batch_size: int) -> None:
    """The whole bench, shown: curve, progress, transport, all of it going to the front end."""
    from IPython.display import display

    from convlab.panels.lab import Lab

    lab = Lab(model, data, TrainSpec(epochs=epochs, batch_size=batch_size, lr=LR, momentum=MOMENTUM))
    display(lab)
    lab.run(wait=True)
    lab.close()


def convlab_silent(model: nn.Module, data: Data, epochs: int, batch_size: int) -> None:
    """The same loop and nobody watching."""
    fit(model, data, TrainSpec(epochs=epochs, batch_size=batch_size, lr=LR, momentum=MOMENTUM))


def loaders(data: Data, batch_size: int) -> tuple[DataLoader, DataLoader]:
    """What everybody writes."""
    train, valid = (TensorDataset(source.x, source.y) for source in (data.train, data.valid))
    return DataLoader(train, batch_size, shuffle=True), DataLoader(valid, VALID_BATCH)


def bare(model: nn.Module, train, valid, epochs: int, after_epoch: Callable[..., object] = lambda **_: None) -> None:
    """The loop of PyTorch's tutorials, with mean loss and accuracy of both splits."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    for _ in range(epochs):
        logs = {}
        for prefix, batches in (("", train), ("val_", valid)):
            model.train(not prefix)
            loss_sum, hits, seen = 0.0, 0, 0
            with torch.set_grad_enabled(not prefix):
                for x, y in batches():
                    output = model(x)
                    loss = F.cross_entropy(output, y)
                    if not prefix:
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()
                    loss_sum += loss.item() * len(y)
                    hits += (output.argmax(1) == y).sum().item()
                    seen += len(y)
            logs |= {f"{prefix}loss": loss_sum / seen, f"{prefix}accuracy": hits / seen}
        after_epoch(**logs)


def bare_loader(model: nn.Module, data: Data, epochs: int, batch_size: int) -> None:
    """Over a DataLoader, with no display."""
    train, valid = loaders(data, batch_size)
    bare(model, lambda: train, lambda: valid, epochs)


def bare_indexed(model: nn.Module, data: Data, epochs: int, batch_size: int) -> None:
    """Over tensors cut by index, with no display."""

    def batches(source, size, shuffle):
        order = torch.randperm(len(source.x)) if shuffle else torch.arange(len(source.x))
        for index in order.split(size):
            yield source.x[index], source.y[index]

    bare(model, lambda: batches(data.train, batch_size, True), lambda: batches(data.valid, VALID_BATCH, False), epochs)


def livelossplot(model: nn.Module, data: Data, epochs: int, batch_size: int) -> None:
    """The bare DataLoader loop, one update of livelossplot's plot an epoch."""
    from livelossplot import PlotLosses

    plot = PlotLosses()

    def send(**logs: float) -> None:
        plot.update(logs)
        plot.send()

    train, valid = loaders(data, batch_size)
    bare(model, lambda: train, lambda: valid, epochs, send)


def lightning(model: nn.Module, data: Data, epochs: int, batch_size: int) -> None:
    """Its Trainer with its progress bar; without logger, checkpoints and summary, which would cost more."""
    import lightning as L

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Lit(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def _step(self, batch, prefix):
            x, y = batch
            output = self.net(x)
            loss = F.cross_entropy(output, y)
            accuracy = (output.argmax(1) == y).float().mean()
            self.log_dict({f"{prefix}loss": loss, f"{prefix}accuracy": accuracy}, prog_bar=True, on_epoch=True)
            return loss

        def training_step(self, batch, _):
            return self._step(batch, "")

        def validation_step(self, batch, _):
            self._step(batch, "val_")

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=LR, momentum=MOMENTUM)

    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Lit(), *loaders(data, batch_size))


def fastai(model: nn.Module, data: Data, epochs: int, batch_size: int) -> None:
    """Its Learner with progress bar, table and ShowGraphCallback."""
    from fastai.callback.progress import ShowGraphCallback
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.metrics import accuracy
    from fastai.optimizer import SGD

    learner = Learner(
        DataLoaders(*loaders(data, batch_size)),
        model,
        loss_func=nn.CrossEntropyLoss(),
        opt_func=SGD,
        metrics=accuracy,
        cbs=ShowGraphCallback(),
    )
    learner.fit(epochs, LR)


def skorch(model: nn.Module, data: Data, epochs: int, batch_size: int) -> None:
    """Its classifier with the table it prints."""
    from skorch import NeuralNetClassifier
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    net = NeuralNetClassifier(
        model,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=MOMENTUM,
        lr=LR,
        max_epochs=epochs,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(data.valid.x, data.valid.y)),
    )
    net.fit(data.train.x, data.train.y)


LIVE, SILENT, LOADER = "convlab, everything live", "convlab, no display", "bare loop, DataLoader"
CONTENDERS: dict[str, Contender] = {
    LIVE: convlab_live,
    SILENT: convlab_silent,
    LOADER: bare_loader,
    "bare loop, indexed tensors": bare_indexed,
    "skorch, printed table": skorch,
    "Lightning, progress bar": lightning,
    "fastai, ShowGraph": fastai,
    "livelossplot, per epoch": livelossplot,
}
QUICK = (LIVE, SILENT, LOADER, "bare loop, indexed tensors")
"""Those that are timed over many epochs."""


def warm_up() -> list[str]:
    """Let every contender load what it loads once; the names of those that are installed."""
    names = [name for name in CONTENDERS if available(name)]
    for name in names:
        with contextlib.redirect_stdout(io.StringIO()):
            seconds_per_epoch(name, 2, 128)
    return names
