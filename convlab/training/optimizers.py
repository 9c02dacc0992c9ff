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
                for param, state in [(p, optimizer.state[p]) for p in group["params"] if p in optimizer.state]:
                    state.pop("momentum_buffer", None)
                    if type(optimizer) is optim.RMSprop:  # makes it with the rest of its state, and misses it later
                        state["momentum_buffer"] = torch.zeros_like(param)


Apply = Callable[[], None]


def fused_step(optimizer: optim.Optimizer) -> Apply:
    """`optimizer.step` without the bookkeeping around its kernel, or `optimizer.step` itself.

    On small nets `Optimizer.step` spends more time collecting its tensors than updating them. Where the optimizer is
    exactly torch's fused SGD, Adam or AdamW, with one group, no hooks, and every parameter with a gradient, its kernel
    is called on lists kept from step to step; the tensors in `optimizer.state` stay the truth. The kernels are private
    to torch: a step unlike the one before goes through `optimizer.step`, and a test holds both to the same bits.
    """
    if _is_plain(optimizer):
        return _FusedSGD(optimizer) if type(optimizer) is optim.SGD else _FusedAdam(optimizer)
    return optimizer.step


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
    special = ("dampening", "nesterov", "amsgrad", "maximize", "differentiable", "capturable")
    dense = all(param.dtype == torch.float32 and param.device.type == "cpu" for param in group["params"])
    return bool(group["fused"]) and dense and not any(group.get(key) for key in special)


class _Fused:
    """Shared by the kernels below: the parameters, and the state tensors gathered from the optimizer."""

    keys: tuple[str, ...] = ()

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.group: dict[str, Any] = {}
        self.params: list[Tensor] = []
        self.state: tuple[list[Tensor], ...] = ()

    def __call__(self) -> None:
        if grads := self.grads():
            self.kernel(grads)
        else:
            self.prepare()
            self.optimizer.step()
            self.gather()

    def kernel(self, grads: list[Tensor]) -> None:
        """Update the parameters from their gradients, in the order of `params`."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Before a whole step."""

    def gather(self) -> None:
        """After a whole step: the parameters and their state tensors; none where some parameter has no state yet."""
        self.group = self.optimizer.param_groups[0]
        params = self.group["params"]
        states = [self.optimizer.state.get(param, {}) for param in params]
        complete = all(state.get(key) is not None for state in states for key in self.keys)
        self.params = list(params) if complete and _is_plain(self.optimizer) else []
        self.state = tuple([state[key] for state in states] for key in self.keys) if complete else ()

    def grads(self) -> list[Tensor]:
        """The gradients, one for each parameter; empty where this step needs the whole of `optimizer.step`."""
        optimizer, params = self.optimizer, self.params
        if not params or optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            return []
        if len(optimizer.param_groups) != 1 or optimizer.param_groups[0] is not self.group:
            return []
        if self.keys and optimizer.state[params[0]].get(self.keys[0]) is not self.state[0][0]:
            return []
        grads = [param.grad for param in params if param.grad is not None]
        return grads if len(grads) == len(params) else []


class _FusedSGD(_Fused):
    def grads(self) -> list[Tensor]:
        keys = ("momentum_buffer",) if self.optimizer.param_groups[0]["momentum"] else ()
        if keys != self.keys:
            self.keys, self.params = keys, []
        return super().grads()

    def prepare(self) -> None:
        # torch's fused SGD raises where only some parameters have a velocity, as after a branch first took part late.
        params = self.optimizer.param_groups[0]["params"] if self.keys else []
        used = [self.optimizer.state[param] for param in params if param.grad is not None]
        if any(state.get("momentum_buffer") is not None for state in used):
            for param in params:
                if param.grad is not None and self.optimizer.state[param].get("momentum_buffer") is None:
                    self.optimizer.state[param]["momentum_buffer"] = torch.zeros_like(param)

    def kernel(self, grads: list[Tensor]) -> None:
        torch._fused_sgd_(
            self.params,
            grads,
            self.state[0] if self.state else [],
            weight_decay=self.group["weight_decay"],
            momentum=self.group["momentum"],
            lr=self.group["lr"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )


class _FusedAdam(_Fused):
    keys = ("exp_avg", "exp_avg_sq", "step")

    def kernel(self, grads: list[Tensor]) -> None:
        averages, squares, steps = self.state
        beta1, beta2 = self.group["betas"]
        torch._foreach_add_(steps, 1)
        update = torch._fused_adam_ if type(self.optimizer) is optim.Adam else torch._fused_adamw_
        update(
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
