"""A schedule as the plain PyTorch that a person would write: the scheduler, and where in the loop its step belongs."""

from typing import Final

from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec

_WIDTH: Final = 88


def schedule_code(spec: ScheduleSpec | None, train: TrainSpec | None = None) -> str:
    """A training loop under the schedule, to be pasted into a script.

    It takes for granted ``model``, ``criterion``, ``train_loader`` and, for ReduceLROnPlateau, ``valid_loader``.

    Args:
        spec: the schedule; None for an lr that stays.
        train: optimizer, lr and epochs; `TrainSpec()` if left out.

    Example:
        >>> print(schedule_code(ScheduleSpec("StepLR", step_size=3, cadence="epoch"), TrainSpec(lr=0.1, epochs=9)))
        import torch
        <BLANKLINE>
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3)
        <BLANKLINE>
        for epoch in range(9):
            for inputs, targets in train_loader:
                optimizer.zero_grad()
                loss = criterion(model(inputs), targets)
                loss.backward()
                optimizer.step()
            scheduler.step()  # after each epoch
        <BLANKLINE>
    """
    train = train or TrainSpec()
    lines = ["import torch", "", f"optimizer = {_optimizer(train)}"]
    if spec is not None:
        lines += _scheduler(spec)
    lines += ["", f"for epoch in range({train.epochs}):"]
    each_epoch = spec is not None and spec.cadence == "epoch"
    if each_epoch and _is_plateau(spec):
        lines += ["    model.train()"]
    lines += [
        "    for inputs, targets in train_loader:",
        "        optimizer.zero_grad()",
        "        loss = criterion(model(inputs), targets)",
        "        loss.backward()",
        "        optimizer.step()",
    ]
    if spec is not None and not each_epoch:
        metric = "loss.item()" if _is_plateau(spec) else ""
        lines += [f"        scheduler.step({metric})  # after each optimizer step"]
    elif spec is not None:
        lines += _after_epoch(spec)
    code = "\n".join(lines) + "\n"
    return f"import math\n\n{code}" if "math." in code else code


def _is_plateau(spec: ScheduleSpec | None) -> bool:
    return spec is not None and spec.scheduler == "ReduceLROnPlateau"


def _after_epoch(spec: ScheduleSpec) -> list[str]:
    if not _is_plateau(spec):
        return ["    scheduler.step()  # after each epoch"]
    if spec.arguments.get("mode") == "max":
        name, batch = "accuracy", "(model(x).argmax(1) == y).float()"
    else:
        name, batch = "loss", "criterion(model(x), y)"
    return [
        "    model.eval()",
        "    with torch.no_grad():",
        f"        scores = [{batch}.mean() for x, y in valid_loader]",
        f"    valid_{name} = torch.stack(scores).mean()",
        f"    scheduler.step(valid_{name})  # after each epoch",
    ]


def _optimizer(train: TrainSpec) -> str:
    cls = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}[train.optimizer]
    arguments = [f"lr={train.lr!r}"]
    if train.optimizer in ("sgd", "rmsprop"):
        arguments += [f"momentum={train.momentum!r}"]
    elif train.betas != (0.9, 0.999):
        arguments += [f"betas={train.betas!r}"]
    # AdamW's own default is not 0.
    if train.weight_decay or train.optimizer == "adamw":
        arguments += [f"weight_decay={train.weight_decay!r}"]
    return f"torch.optim.{cls}(model.parameters(), {', '.join(arguments)})"


def _scheduler(spec: ScheduleSpec) -> list[str]:
    """The lines that make the scheduler, the parts of a compound one each on its own."""
    parts = spec.arguments.get("schedulers")
    if not parts:
        return _wrapped(f"scheduler = {spec.code()}")
    made = "schedulers" if spec.scheduler == "ChainedScheduler" else "optimizer, schedulers"
    if "milestones" in spec.arguments:
        made += f", milestones={list(spec.arguments['milestones'])}"
    lines = ["schedulers = [", *(f"    {part.code()}," for part in parts), "]"]
    return [*lines, f"scheduler = torch.optim.lr_scheduler.{spec.scheduler}({made})"]


def _wrapped(line: str) -> list[str]:
    """A call with one argument a line where it is too long for one."""
    if len(line) <= _WIDTH:
        return [line]
    head, _, rest = line.partition("(")
    arguments, depth, start = [], 0, 0
    for at, letter in enumerate(rest):
        depth += (letter in "([") - (letter in ")]")
        if depth < 0 or (letter == "," and not depth):
            arguments.append(rest[start:at].strip())
            start = at + 1
    return [f"{head}(", *(f"    {argument}," for argument in arguments), ")"]
