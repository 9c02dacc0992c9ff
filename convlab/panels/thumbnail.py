"""A sample as a small picture in HTML."""

import base64
import struct
import zlib

import torch
from torch import Tensor


def stretched(x: Tensor) -> Tensor:
    """Values stretched to 0..1, on the CPU; what is not finite is 0."""
    x = x.detach().float().cpu().nan_to_num(0.0, 0.0, 0.0)
    low, high = x.min(), x.max()
    return (x - low) / (high - low).clamp_min(1e-12)


def png(image: Tensor) -> str:
    """A sample, (C, H, W), as the address of a picture: grey for one channel, else its first three as colours.

    Example:
        >>> png(torch.eye(4)[None]).startswith("data:image/png;base64,")
        True
    """
    x = stretched(image)
    x = x[:3] if len(x) >= 3 else x[:1]
    rows = (x.permute(1, 2, 0) * 255).round().to(torch.uint8).flatten(1)
    # Before each row the number of its filter: none.
    plain = torch.cat([torch.zeros(len(rows), 1, dtype=torch.uint8), rows], 1).numpy().tobytes()
    header = struct.pack(">IIBBBBB", x.shape[2], x.shape[1], 8, 2 if len(x) == 3 else 0, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(plain)), _chunk(b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode("ascii")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
