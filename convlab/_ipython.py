"""``%load_ext convlab`` and the ``%convlab`` magic; nothing heavier than IPython is loaded before the magic is used."""

import shlex
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from convlab.panels.lab import Lab

_USAGE = """%convlab                          the bench on a small network and real digits, offline
%convlab MODEL                    the bench on a model of yours, and digits
%convlab MODEL --data DATA        ... and data: a built-in name (digits, shapes) or a variable,
                                  such as (X, y) or (train_set, valid_set)"""

MAGIC = "convlab"


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """Register ``%convlab``."""

    def convlab(line: str) -> "Lab":
        return _open(shell, line)

    convlab.__doc__ = f"Open the convlab bench.\n\n{_USAGE}\n\nThe same from Python: convlab.Lab(model, data)."
    shell.magics_manager.register_function(convlab, "line", MAGIC)


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """Take ``%convlab`` away again; benches that are open stay."""
    shell.magics_manager.magics["line"].pop(MAGIC, None)


def _open(shell: "InteractiveShell", line: str) -> "Lab":
    model_name, data_text = _split(line)
    model = _variable(shell, model_name, "MODEL", "net") if model_name else None
    data = _data(shell, data_text) if data_text else "digits"
    from convlab.panels.lab import Lab

    try:
        return Lab(model, data)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def _split(line: str) -> tuple[str, str]:
    before, option, data = line.partition("--data")
    if data.startswith("="):
        data = data[1:]
    words = shlex.split(before)
    unknown = next((word for word in words if word.startswith("-")), None)
    if unknown:
        raise UsageError(f"%convlab has no option {unknown}; it has --data.\n{_USAGE}")
    if len(words) > 1:
        raise UsageError(f"%convlab takes one model, got {' '.join(words)!r}; to give data too, put --data before it.")
    if option and not data.strip():
        raise UsageError(f"--data needs a name or a variable, such as --data digits.\n{_USAGE}")
    return words[0] if words else "", data.strip()


def _variable(shell: "InteractiveShell", text: str, what: str, example: str) -> Any:
    try:
        return shell.ev(text)
    except Exception as error:
        raise UsageError(
            f"{what} {text!r} is nothing that this notebook knows ({type(error).__name__}: {error}); "
            f"make it first, for example: {example} = ..."
        ) from error


def _data(shell: "InteractiveShell", text: str) -> Any:
    name = text.strip("\"'")
    # Not a variable, but a word: a built-in name; the data room knows which there are and says so.
    if name not in shell.user_ns and name.partition(":")[0].isidentifier():
        return name
    return _variable(shell, text, "DATA", "data")
