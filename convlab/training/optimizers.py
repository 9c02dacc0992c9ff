"""From a recipe to a torch optimizer, its settings in flight, and the short way to its fused kernel."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn, optim

from convlab.spec import TrainSpec


def build_optimizer(params: Iterable[nn.Parameter], spec: TrainSpec) -> optim.Optimizer:
    """The optimizer that `spec` names, over `params`: torch's own class, with its fused kernel where it has one."""
    params = list(params)
    lr, decay = spec.lr, spec.weight_decay
    if spec.optimizer == "rmsprop":
        return optim.RMSprop(params, lr=lr, momentum=spec.momentum, weight_decay=decay)
    fused = _can_fuse(params)
    if spec.optimizer == "sgd":
        return optim.SGD(params, lr=lr, momentum=spec.momentum, weight_decay=decay, fused=fused)
    cls = optim.Adam if spec.optimizer == "adam" else optim.AdamW
    return cls(params, lr=lr, betas=spec.betas, weight_decay=decay, fused=fused)


def _can_fuse(params: list[nn.Parameter]) -> bool:
    devices = {param.device.type for param in params}
    return devices <= {"cpu", "cuda"} and all(param.is_floating_point() for param in params)


def warm_up() -> None:
    """Load what torch puts off until the first optimizer: some seconds that nobody wants between a click and a step."""
    optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


# Setting of a TrainSpec -> name of the optimizer's own argument.
_GROUP_NAMES: Final = {"lr": "lr", "momentum": "momentum", "betas": "betas", "weight_decay": "weight_decay"}


def apply_setting(optimizer: optim.Optimizer, name: str, value: object) -> None:
    """Write one setting into every parameter group; a setting that this optimizer does not have is ignored."""
    for group in optimizer.param_groups:
        if (key := _GROUP_NAMES[name]) in group:
            starting = key == "momentum" and not group["momentum"]
            group[key] = value
            if starting:
                # A velocity from before momentum was 0 is stale: torch would add it to the first step.
                for param in group["params"]:
                    optimizer.state.get(param, {}).pop("momentum_buffer", None)


Apply = Callable[[], None]


def fused_step(optimizer: optim.Optimizer) -> Apply:
    """`optimizer.step` without the bookkeeping around its kernel, or `optimizer.step` itself.

    On small nets `Optimizer.step` spends more time collecting its tensors than updating them. Where the optimizer is
    exactly torch's fused SGD, Adam or AdamW, with one group, no hooks, and every parameter with a gradient, its kernel
    is called on lists kept from step to step; the tensors in `optimizer.state` stay the truth. The kernels are private
    to torch: anything unexpected falls back to `optimizer.step`, and a test holds both to the same bits.
    """
    if not _is_plain(optimizer):
        return _WholeStep(optimizer)
    if type(optimizer) is optim.SGD:
        return _FusedSGD(optimizer)
    return _FusedAdam(optimizer)


def _is_plain(optimizer: optim.Optimizer) -> bool:
    kernels = {
        optim.SGD: "_fused_sgd_",
        optim.Adam: "_fused_adam_",
        optim.AdamW: "_fused_adamw_",
    }
    kernel = kernels.get(type(optimizer))
    if kernel is None or not hasattr(torch, kernel) or len(optimizer.param_groups) != 1:
        return False
    group = optimizer.param_groups[0]
    hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    special = ("dampening", "nesterov", "amsgrad", "maximize", "differentiable", "capturable")
    one_device = len({param.device for param in group["params"]}) == 1
    dense = all(param.dtype == torch.float32 and param.device.type == "cpu" for param in group["params"])
    return bool(group["fused"]) and not hooks and not any(group.get(key) for key in special) and one_device and dense


class _WholeStep:
    def __init__(self, optimizer: optim.Optimizer) -> None:
        self.optimizer = optimizer

    def __call__(self) -> None:
        self.optimizer.step()


class _Fused:
    """Shared by the kernels below: the parameter list, and the state tensors gathered from the optimizer."""

    keys: tuple[str, ...] = ()

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.group: dict[str, Any] = optimizer.param_groups[0]
        self.params: list[Tensor] = []
        self.state: tuple[list[Tensor], ...] = ()

    def gather(self) -> bool:
        """Collect parameters and state tensors; False while the optimizer has yet to make its state."""
        self.params = [param for param in self.group["params"] if param.requires_grad]
        states = [self.optimizer.state.get(param, {}) for param in self.params]
        if not all(state.get(key) is not None for state in states for key in self.keys):
            return False
        self.state = tuple([state[key] for state in states] for key in self.keys)
        return True

    def grads(self) -> list[Tensor]:
        """The gradients, one for each parameter; empty where the lists no longer describe gradients and state."""
        grads = [param.grad for param in self.params if param.grad is not None]
        if not grads or len(grads) < len(self.params):
            return []
        first = self.optimizer.state.get(self.params[0], {})
        kept = all(first.get(key) is column[0] for key, column in zip(self.keys, self.state, strict=True))
        return grads if kept else []


class _FusedSGD(_Fused):
    def __call__(self) -> None:
        momentum = self.group["momentum"]
        keys = ("momentum_buffer",) if momentum else ()
        if keys != self.keys:
            self.keys, self.params = keys, []
        if not (grads := self.grads()):
            self.optimizer.step()
            self.gather()
            return
        buffers = self.state[0] if self.state else []
        torch._fused_sgd_(
            self.params,
            grads,
            buffers,
            weight_decay=self.group["weight_decay"],
            momentum=momentum,
            lr=self.group["lr"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )


class _FusedAdam(_Fused):
    keys = ("exp_avg", "exp_avg_sq", "step")

    def __call__(self) -> None:
        if not (grads := self.grads()):
            self.optimizer.step()
            self.gather()
            return
        averages, squares, steps = self.state
        beta1, beta2 = self.group["betas"]
        torch._foreach_add_(steps, 1)
        kernel = torch._fused_adam_ if type(self.optimizer) is optim.Adam else torch._fused_adamw_
        kernel(
            self.params,
            grads,
            averages,
            squares,
            [],
            steps,
            lr=self.group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=self.group["weight_decay"],
            eps=self.group["eps"],
            amsgrad=False,
            maximize=False,
        )
