"""Where a layer stands in a model, as Python: ``model.block1[2].conv``."""

from keyword import iskeyword

from torch import nn


def place(path: str, is_odd: bool = False) -> str:
    """An expression for the module of that path; `is_odd` as `oddly_numbered` says of the model.

    Example:
        >>> place("block1.2.conv")
        'model.block1[2].conv'
    """
    text = "model"
    for name in path.split(".") if path else ():
        if is_name(name):
            text += f".{name}"
        elif name.isdecimal() and not is_odd:
            text += f"[{name}]"
        else:
            return f'model.get_submodule("{path}")'
    return text


def assigned(path: str, is_odd: bool = False) -> tuple[str, str]:
    """What stands before and behind a new layer where it is put into that place.

    Example:
        >>> assigned("block1.2")
        ('model.block1[2] = ', '')
    """
    where = place(path, is_odd)
    if not where.endswith(")"):
        return f"{where} = ", ""
    parent, _, name = path.rpartition(".")
    return f'setattr({place(parent, is_odd)}, "{name}", ', ")"


def is_name(name: str) -> bool:
    """Whether it can stand behind a dot."""
    return name.isidentifier() and not iskeyword(name)


def oddly_numbered(model: nn.Module) -> bool:
    """Whether some layers bear numbers that are not their indices."""
    return any(_is_odd(module) for module in model.modules())


def _is_odd(module: nn.Module) -> bool:
    names = list(module._modules)
    if not any(name.isdecimal() for name in names):
        return False
    return not isinstance(module, nn.Sequential | nn.ModuleList) or names != [str(i) for i in range(len(names))]
