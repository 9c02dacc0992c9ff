"""A `NetSpec` made into a network, and into the plain PyTorch source of the same network.

Both come from one tree of calls (`plan`), so that the source, run after ``torch.manual_seed(seed)``, draws the weights
that `build` draws.
"""

import inspect
from typing import Final

import torch
from torch import nn

from convlab.limits import SpecError
from convlab.models.branches import Concat
from convlab.models.calls import BRANCHES, calls, made, source
from convlab.models.drawing import drawings
from convlab.models.plan import plan
from convlab.models.streams import own_stream
from convlab.models.trace import Trace, trace
from convlab.net_spec import NetSpec

MOST_PARAMS: Final = 2**31


def build(spec: NetSpec, seed: int = 0) -> nn.Module:
    """The network of `spec`: an `nn.Sequential` of named layers, ``conv1``, ``relu1``, ``pool1``, ``fc1``, ...

    Input ``(N, *spec.input_size)``; output ``(N, num_classes)``, or ``(N, num_classes, height, width)`` with a head of
    kind ``"pixels"``. Where the picture's size decides a padding (``"keras_same"`` with a stride), it is that of the
    spec.

    Args:
        spec: what to make.
        seed: decides the weights, whatever was drawn before; the global random numbers are left as they were.

    Raises:
        SpecError: the network would have more than 2**31 parameters.

    Example:
        >>> from convlab.net_spec import Block
        >>> build(NetSpec(blocks=Block.ladder(8), num_classes=3))
        Sequential(
          (conv1): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding=same)
          (relu1): ReLU()
          (pool1): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
          (flatten): Flatten(start_dim=1, end_dim=-1)
          (fc1): Linear(in_features=1568, out_features=3, bias=True)
        )
    """
    _check_params(spec)
    planned = plan(spec)
    with own_stream(seed):
        network: nn.Module = made(planned.network)
        for drawing in drawings(spec.init, planned.weights):
            drawing.draw(network)
    return network


def preview(spec: NetSpec) -> Trace:
    """Shapes, cost and receptive fields of the network of `spec`, of which no weight is made: fast enough for a slider.

    Example:
        >>> preview(NetSpec())["pool2"].output_size
        (1, 32, 7, 7)
    """
    return trace(_without_weights(spec), (1, *spec.input_size))


def code(spec: NetSpec) -> str:
    """Plain PyTorch source that makes the same network as ``model``, without this package.

    Run after ``torch.manual_seed(seed)`` it makes the weights of ``build(spec, seed)``, bit for bit.

    Example:
        >>> from convlab.net_spec import Block
        >>> print(code(NetSpec(blocks=Block.ladder(8))))
        from collections import OrderedDict
        <BLANKLINE>
        from torch import nn
        <BLANKLINE>
        model = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(1, 8, kernel_size=3, padding="same"),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(1568, 10),
            )
        )
        <BLANKLINE>
    """
    planned = plan(spec)
    classes = [BRANCHES[name] for name in sorted(BRANCHES) if calls(planned.network, name)]
    imports = ["from collections import OrderedDict", ""]
    imports += ["import torch"] * (Concat in classes) + [f"from torch import {'Tensor, ' * bool(classes)}nn"]
    head = ["\n".join(imports), *(inspect.getsource(one).rstrip() for one in classes)]
    model = f"model = {source(planned.network, 0, len('model = '))}"
    parts = [model, *(drawing.source() for drawing in drawings(spec.init, planned.weights))]
    return "\n\n\n".join(head) + ("\n\n\n" if classes else "\n\n") + "\n\n".join(parts) + "\n"


def _without_weights(spec: NetSpec) -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = made(plan(spec).network)
    return network


def _check_params(spec: NetSpec) -> None:
    sizes = {name: param.numel() for name, param in _without_weights(spec).named_parameters()}
    if sum(sizes.values()) > MOST_PARAMS:
        largest = max(sizes, key=lambda name: sizes[name]).rpartition(".")[0]
        raise SpecError(
            f"the network would have {sum(sizes.values()):,} parameters, more than {MOST_PARAMS:,}, most of them in "
            f"{largest}; try fewer filters, more pooling or head=Head('avg')."
        )
