"""Where a widget finds its bundled JavaScript and CSS."""

from pathlib import Path

_FRONTEND = Path(__file__).parent


def asset(name: str) -> Path:
    """Path of a bundled file, such as ``"chart.js"``.

    Raises:
        FileNotFoundError: the bundle was never made, which happens when convlab is imported from a bare checkout.

    Example:
        >>> asset("chart.js").suffix
        '.js'
    """
    path = _FRONTEND / "static" / name
    if not path.is_file():
        hint = " (or, after editing a source: python hatch_build.py)" if (_FRONTEND / "src").is_dir() else ""
        raise FileNotFoundError(f"convlab's front end lacks {name}: reinstall it with `pip install .`{hint}")
    return path
