"""One file that holds tensors and a record: safetensors with JSON in its header, written whole or not at all.

A SHA-256 over the whole file stands in its header, so that a damaged file is told from a whole one; safetensors itself
takes most flipped bits for weights. Nothing in a file is ever unpickled, imported or called.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

FORMAT: Final = "convlab run"
VERSION: Final = 1

MOST_HEADER: Final = 2**23
"""Bytes of names, shapes and record: half an hour of a hand that drags. Values of JSON take up to 25 times as much."""

MOST_TENSORS: Final = 2**16

_BLOCK: Final = 2**22
_FIELD: Final = b'"sha256":"'
_BLANK: Final = b"0" * 64
_being_written: Final[set[Path]] = set()


class CheckpointError(ValueError):
    """A file that holds no run that could be loaded; the message says what is wrong with it."""


def write(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    record: Mapping[str, Any],
    *,
    before: Path | None = None,
    is_new: bool = False,
) -> None:
    """Write the file: to a temporary one beside it, to the disk, and into its place; it is the old or the new one.

    Args:
        path: the file.
        tensors: by name.
        record: plain values.
        before: where the old one goes.
        is_new: there must be no old one, and there may be somebody else who is about to write one.

    Raises:
        OSError: it cannot be written, such as FileExistsError; what was there before is there still.
        ValueError: the record is longer than `read` would take.
    """
    path = Path(path)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"convlab": json.dumps(record), "sha256": _BLANK.decode()}
    data = bytearray(safetensors.torch.save(whole, header))
    at = data.index(_FIELD + _BLANK) + len(_FIELD)
    if int.from_bytes(data[:8], "little") > MOST_HEADER:
        raise ValueError(f"what is to be kept beside the weights takes more than {MOST_HEADER / 2**20:.0f} MiB")
    data[at : at + len(_BLANK)] = hashlib.sha256(data).hexdigest().encode()
    # Not by the process's number alone: in a container each kernel may have the same.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    _being_written.add(temporary)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _put_where_none_is(temporary, path)
        else:
            if before is not None and path.exists():
                path.replace(before)
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        _being_written.discard(temporary)
    _sync_directory(path.parent)


def _put_where_none_is(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)


def _sync_directory(directory: Path) -> None:
    """So that the new name outlives a loss of power, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def clear_temporaries(path: str | Path) -> None:
    """Remove what an earlier process was killed in the middle of writing for `path`."""
    path = Path(path)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if stale not in _being_written:
            with contextlib.suppress(OSError):
                stale.unlink()


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the record of a file.

    Raises:
        CheckpointError: it is damaged, of another kind, or of a newer version.
        OSError: it cannot be read.
    """
    path = Path(path)
    _check_sum(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {})["convlab"]
            names = file.keys()
            if len(names) > MOST_TENSORS:
                raise ValueError(f"there are {len(names):,} of them")
            tensors = {name: file.get_tensor(name).clone() for name in names}
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} is no whole file of tensors: {error}.") from None
    return tensors, _record(path, text)


def read_record(path: str | Path) -> dict[str, Any]:
    """The record alone, for a list of files.

    Raises:
        CheckpointError, OSError: as `read`.
    """
    path = Path(path)
    _check_sum(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {})["convlab"]
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path.name} is no whole file of tensors: {error}.") from None
    return _record(path, text)


def _record(path: Path, text: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the record of {path.name} cannot be read: {error}.") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} holds no run of convlab.")
    version = record.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(f"{path.name} tells no version of its format.")
    if version > VERSION:
        raise CheckpointError(
            f"{path.name} was written by convlab {str(record.get('written_by'))[:20]}, whose files this one cannot "
            "read; upgrade it: pip install -U convlab."
        )
    return record


def _check_sum(path: Path) -> None:
    """Refuse a file whose content is not what was written."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MOST_HEADER):
            raise CheckpointError(f"{path.name} is cut off, or no run of convlab.")
        header = file.read(length)
        at = header.find(_FIELD) + len(_FIELD)
        found = header[at : at + len(_BLANK)]
        if at < len(_FIELD) or header[at + len(_BLANK) : at + len(_BLANK) + 1] != b'"':
            raise CheckpointError(f"{path.name} is no run of convlab: it holds no checksum.")
        digest = hashlib.sha256(length.to_bytes(8, "little") + header[:at] + _BLANK + header[at + len(_BLANK) :])
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest().encode() != found:
        raise CheckpointError(f"{path.name} is damaged: its checksum is not that of its content.")


def to_plain(value: Any) -> Any:
    """Nested tuples, lists, dicts and arrays of numbers as what JSON holds; `from_plain` makes them again."""
    if isinstance(value, tuple):
        return {"tuple": [to_plain(one) for one in value]}
    if isinstance(value, list):
        return [to_plain(one) for one in value]
    if isinstance(value, dict):
        return {"dict": {str(key): to_plain(one) for key, one in value.items()}}
    if isinstance(value, Tensor):
        return {"tensor": [str(value.dtype).removeprefix("torch."), value.tolist()]}
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return {"array": [str(value.dtype), value.tolist()]} if value.ndim else value.tolist()
    return value


def from_plain(value: Any) -> Any:
    """What `to_plain` was given."""
    import numpy as np

    if isinstance(value, list):
        return [from_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tuple":
        return tuple(from_plain(one) for one in inner)
    if kind == "dict":
        return {key: from_plain(one) for key, one in inner.items()}
    dtype, numbers = inner
    if kind == "tensor":
        return torch.tensor(numbers, dtype={"uint8": torch.uint8}[dtype])
    return np.array(numbers, dtype={"uint32": np.uint32, "uint64": np.uint64, "int64": np.int64}[dtype])
