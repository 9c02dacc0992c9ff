"""Train and eval mode of a whole model, with what a person set by hand left as it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def enter_training(model: nn.Module) -> None:
    """Train mode, unless the user set modes by hand: a frozen BatchNorm in eval mode stays as it is."""
    if not model.training:
        model.train()
        for module in model.modules():
            weights = list(module.parameters(recurse=False))
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and weights:
                module.training = any(weight.requires_grad for weight in weights)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; after it every module's own mode: `model.train(mode)` would flip a frozen BatchNorm."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
