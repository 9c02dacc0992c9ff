"""A person's own picture file as an input of their model."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from convlab.panels.messages import Messages


def read_picture(content: bytes, name: str, like: Tensor) -> Tensor:
    """The picture in the bytes of a PNG or JPEG file, of the size, channels and range of values of ``like``.

    Args:
        content: the file.
        name: what to call it in an error.
        like: inputs of the model, (N, C, H, W); the picture's black and white become their smallest and largest value.

    Returns:
        (1, C, H, W): grey for one channel, red, green and blue for three, grey in each for any other number.

    Raises:
        ValueError: Pillow is not installed or cannot read the file.
    """
    try:
        from PIL import Image
    except ImportError:
        raise ValueError(
            "a picture file needs Pillow; `pip install pillow`, or set panel.images to a tensor."
        ) from None
    channels, height, width = like.shape[1:]
    try:
        with Image.open(io.BytesIO(content)) as opened:
            picture = opened.convert("RGB" if channels == 3 else "L").resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is no picture that can be read ({error}); a PNG or JPEG file would work.") from None
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(height, width, -1).permute(2, 0, 1)
    low, high = like.amin(), like.amax()
    if high <= low:
        low, high = torch.zeros(()), torch.ones(())
    scaled = pixels.to(like.dtype) / 255 * (high - low) + low
    return scaled.expand(channels, -1, -1)[None].contiguous()


def uploaded(files: Sequence[Mapping[str, Any]], like: Tensor, messages: Messages) -> Tensor | None:
    """The latest of the files of a `FileUpload` by `read_picture`; None where there is none, or `messages` says why."""
    if not files:
        return None
    try:
        return read_picture(bytes(files[-1]["content"]), files[-1]["name"], like)
    except ValueError as error:
        messages.error(str(error))
        return None
