"""Conversion of users' values to arrays and back, without PyTorch.

The modalities use these functions, and so does `polymodal.onnx.Predictor`, which runs without PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.modalities.dates import read_date, write_date
from polymodal.modalities.pixels import array_image, open_image, show_pixels
from polymodal.modalities.spelling import Spelling, spell
from polymodal.modalities.tokens import END, LETTER, PADDING, SPECIAL, join_words
from polymodal.runtime.formatting import value_repr

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["MODES", "find_class", "read_pixels", "write_pixels", "write_tokens"]

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Colour modes of PIL by the number of channels."""


def choose_mode(channels: int) -> Any:
    """Returns PIL's colour mode for a number of channels.

    Raises:
        ValueError: There is none.
    """
    if channels not in MODES:
        raise ValueError(
            f"images of {channels} channels cannot be read or written: channels must be 1, 3 or 4 "
            "for that; pass tensors instead"
        )
    return MODES[channels]


def read_pixels(
    raw: PIL.Image.Image | np.ndarray | str | Path | bytes, channels: int, height: int, width: int
) -> np.ndarray:
    """Reads an image and resizes it if necessary; see `polymodal.modalities.Image.read`.

    Returns:
        `(channels, height, width)` uint8.
    """
    mode = choose_mode(channels)

    def resize(image: PIL.Image.Image) -> np.ndarray:
        pixels = np.array(show_pixels(image, mode).resize((width, height)))
        return np.ascontiguousarray(pixels.reshape(height, width, -1).transpose(2, 0, 1))

    if isinstance(raw, str | Path | bytes):
        with open_image(raw) as image:
            return resize(image)
    return resize(array_image(raw) if isinstance(raw, np.ndarray) else raw)


def write_pixels(value: np.ndarray) -> PIL.Image.Image:
    """Converts an image `(channels, height, width)`, uint8 or floats in [0, 1], to a PIL image.

    Example:
        >>> write_pixels(np.ones((3, 2, 5), np.float32)).getpixel((0, 0))
        (255, 255, 255)
    """
    import PIL.Image

    mode = choose_mode(len(value))
    if value.dtype != np.uint8:
        value = (value.clip(0, 1) * 255).round().astype(np.uint8)
    value = value.transpose(1, 2, 0)
    return PIL.Image.fromarray(value.squeeze(-1) if mode == "L" else value, mode)


def find_class(raw: str | int, names: Sequence[str] | None, classes: int) -> int:
    """Returns the index of a class, given its name or its index.

    Raises:
        ValueError: The class does not exist.

    Example:
        >>> find_class("dog", ("cat", "dog"), 2), find_class(0, None, 2)
        (1, 0)
    """
    if names is not None and str(raw) in names:
        return names.index(str(raw))
    if isinstance(raw, str) or not 0 <= raw < classes:
        known = f"0..{classes - 1}" if names is None else ", ".join(names)
        raise ValueError(f"a class must be one of {known}; got {value_repr(raw)}")
    return int(raw)


def write_tokens(
    tokens: Iterable[int], vocabulary: tuple[str, ...], spelling: Spelling | None = None, dates: str | None = None
) -> str:
    """Converts tokens to a text, without end and padding tokens; see `polymodal.modalities.Text.write`.

    Arguments:
        tokens: The tokens.
        vocabulary: Words, in the order of their tokens.
        spelling: Spelling of the training texts, if it is known.
        dates: Format of a column of dates.

    Example:
        >>> write_tokens([3, 2, 1, 0], ("a", "bird"))
        'a [UNK]'
    """
    tokens = [token for token in tokens if token not in (END, PADDING)]
    known = SPECIAL + vocabulary
    if spelling is None:
        return join_words([known[token] for token in tokens])
    written = SPECIAL + spelling.words
    text = spell(((known[token], written[token]) for token in tokens), spelling, LETTER)
    date = read_date(dates, text) if dates else None
    return text if date is None or dates is None else write_date(dates, date)
