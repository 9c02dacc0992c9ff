"""A script as a file, and beside it the weights that it loads."""

import filecmp
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

WEIGHTS: Final = "weights.pt"
"""What a script loads where no seed tells its weights."""


def needs_weights(code: str) -> bool:
    """Whether a script loads the weights that it begins with.

    Example:
        >>> needs_weights('model.load_state_dict(torch.load("weights.pt", weights_only=True))')
        True
    """
    return f'torch.load("{WEIGHTS}"' in code or f"torch.load('{WEIGHTS}'" in code


def save_script(
    code: str, path: str | Path = "train.py", *, weights: Callable[[Path], object], overwrite: bool = False
) -> tuple[Path, ...]:
    """Write a script, and weights.pt beside it where the script loads that.

    Files that hold the same already are left; each other is written whole or not at all.

    Args:
        code: what `script` or `script_for` made.
        path: of the script.
        weights: called with a path, writes the weights there: ``lambda path: save_start(run, path)``.
        overwrite: whether files that hold something else may go.

    Returns:
        The files.

    Raises:
        ValueError: `path` does not end in .py.
        FileExistsError: a file holds something else.
        OSError: the folder cannot be written to.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> [file.name for file in save_script("x = 1", folder / "train.py", weights=print)]
        ['train.py']
    """
    target = Path(path)
    if target.suffix != ".py":
        raise ValueError(f"path must be the name of a script, got {str(path)!r}; try path='train.py'.")
    # In the same folder, so that a finished file takes its place in one move.
    with tempfile.TemporaryDirectory(prefix=".convlab-", dir=target.parent) as folder:
        made = {target: Path(folder) / target.name}
        made[target].write_text(code, "utf-8")
        if needs_weights(code):
            made[target.with_name(WEIGHTS)] = Path(folder) / WEIGHTS
            weights(Path(folder) / WEIGHTS)
        others = [file.name for file, new in made.items() if file.exists() and not _same(file, new)]
        if others and not overwrite:
            raise FileExistsError(
                f"{' and '.join(others)} in {target.parent.resolve()} would be overwritten; "
                "take another name, or pass overwrite=True."
            )
        for file, new in made.items():
            new.replace(file)
    return tuple(made)


def _same(file: Path, new: Path) -> bool:
    return file.is_file() and filecmp.cmp(file, new, shallow=False)
