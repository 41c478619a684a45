"""Conversion between JSON values of requests and a table's tensors, by the kind of a modality.

| kind | value in JSON |
|---|---|
| image | base64 of a PNG, JPEG, WebP, GIF or BMP file; predictions are PNG |
| label | name of the class, or its number if classes have no names |
| vector | a number, or a list of numbers; dates as ISO text |
| text | a text |
| audio | base64 of an audio file, or a spectrogram as a list of frames; predictions are spectrograms |
| other | nested lists of numbers of the modality's shape |

`null` stands for a missing value, and in a partly observed vector for a missing element.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from polymodal.io.untrusted import UNREADABLE
from polymodal.modalities import Audio, Image, Label, Modality, Text, Vector
from polymodal.modalities.cell_texts import DATES
from polymodal.runtime.formatting import brief, value_repr

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["Codec", "make_codec"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats of image files that requests may contain. Other decoders are not exposed to the network."""
PREFIX = re.compile(r"data:[\w.+/-]{0,100};base64,")
MOST_LETTERS = 100_000
"""Most characters of a text."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Codec:
    """Reads and writes the values of one modality.

    Arguments:
        modality: The modality.
        pixels: Most pixels of an image.
    """

    modality: Modality
    pixels: int
    kind: ClassVar[str] = "other"

    def read(self, value: Any) -> Tensor | None:
        """Converts a JSON value to a table's tensor, `(*shape)`; None if it is missing.

        Raises:
            ValueError: The value does not suit the modality.
        """
        if value is None:
            return None
        tensor = self._read(value)
        self.modality.check(tensor[None])
        return tensor

    def write(self, value: Tensor) -> Any:
        """Converts a predicted value, `(*shape)`, to a JSON value."""
        return value.tolist()

    def describe(self) -> dict[str, Any]:
        """Returns what a program needs to know about the modality, as JSON."""
        return {"type": type(self.modality).__name__, "shape": list(self.modality.shape), "kind": self.kind}

    def make_json_schema(self) -> dict[str, Any]:
        """Returns the JSON schema of a value."""
        return {"type": "array", "description": f"Nested lists of shape {list(self.modality.shape)}."}

    def describe_distribution(self, distribution: Distribution) -> list[dict[str, Any]]:
        """Returns the certainty of N predictions from their distribution, batch shape `(N,)`: nothing by default."""
        return [{} for _ in range(distribution.batch_shape[0])]

    def measure_spread(self, samples: Tensor) -> Any:
        """Returns the spread of S samples `(S, *shape)` in users' units, as JSON; None if the values have none."""
        return None

    def _read(self, value: Any) -> Tensor:
        numbers = _read_numbers(value, self.modality.shape)
        if self.modality.dtype.is_floating_point:
            return numbers.to(self.modality.dtype)
        if (numbers != numbers.round()).any() or (numbers.abs() > 2**53).any():
            raise ValueError("the numbers must be integers")
        if self.modality.dtype == torch.uint8 and ((numbers < 0) | (numbers > 255)).any():
            raise ValueError("the numbers must be in 0..255")
        return numbers.to(self.modality.dtype)


class ImageCodec(Codec):
    """Images as files in base64."""

    kind = "image"
    modality: Image

    def _read(self, value: Any) -> Tensor:
        import PIL.Image

        if not isinstance(value, str):
            raise ValueError(f"an image must be a text, the base64 of a PNG or JPEG file; got {_show(value)}")
        data = decode_base64(value)
        try:
            with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if (count := image.width * image.height) > self.pixels:
                    size = f"{image.width} x {image.height}"
                    raise ValueError(f"an image must have at most {self.pixels:,} pixels; got {size} = {count:,}")
                return self.modality.read(image)
        except PIL.UnidentifiedImageError:
            raise ValueError(
                f"an image must be the base64 of a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file; its format is "
                f"unknown ({len(data)} bytes)"
            ) from None
        except (*UNREADABLE, AssertionError, PIL.Image.DecompressionBombError) as error:
            if str(error).startswith("an image must"):
                raise
            raise ValueError(f"an image must be a file that can be read: {brief(error, 100)}") from error

    def write(self, value: Tensor) -> str:
        self.modality.write(value).save(file := io.BytesIO(), "PNG", compress_level=1)
        return base64.b64encode(file.getbuffer()).decode()

    def describe(self) -> dict[str, Any]:
        channels, height, width = self.modality.shape
        return {**super().describe(), "channels": channels, "height": height, "width": width}

    def make_json_schema(self) -> dict[str, Any]:
        _, height, width = self.modality.shape
        return {
            "type": "string",
            "contentEncoding": "base64",
            "description": f"PNG or JPEG in base64, resized to {width} x {height}.",
        }

    def measure_spread(self, samples: Tensor) -> float:
        return float(samples.std(0, correction=0).mean())


class LabelCodec(Codec):
    """Classes by name."""

    kind = "label"
    modality: Label

    @cached_property
    def classes(self) -> list[str | int]:
        """The classes, as JSON."""
        return [self.modality.write(torch.tensor(place)) for place in range(self.modality.classes)]

    def _read(self, value: Any) -> Tensor:
        if not isinstance(value, str | int | float):
            raise ValueError(f"a class must be a text or a number; got {_show(value)}")
        if self.modality.names is None:
            if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
                raise ValueError(f"a class must be one of 0..{self.modality.classes - 1}; got {_show(value)}")
            value = int(value) if not isinstance(value, str) else value
            if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
                value = int(value)
        elif isinstance(value, float) and value.is_integer() and str(value) not in self.modality.names:
            value = str(int(value))
        elif not isinstance(value, str):
            value = str(value)
        return self.modality.read(value)

    def write(self, value: Tensor) -> str | int:
        return self.classes[int(value)]

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "classes": self.classes}

    def make_json_schema(self) -> dict[str, Any]:
        return {"enum": self.classes, "description": "Name of a class."}

    def describe_distribution(self, distribution: Distribution) -> list[dict[str, Any]]:
        values = torch.arange(self.modality.classes)[:, None].expand(-1, distribution.batch_shape[0])
        device = distribution.mode.device
        probabilities = distribution.log_prob(values.to(device)).exp().T.tolist()
        return [
            {"probabilities": dict(zip(map(str, self.classes), (round(p, 6) for p in row), strict=True))}
            for row in probabilities
        ]


class VectorCodec(Codec):
    """Numbers in users' units."""

    kind = "vector"
    modality: Vector

    @cached_property
    def dates(self) -> list[bool]:
        """Whether each number is a date, in days since 1970."""
        formats = self.modality.formats or ("",) * self.modality.size
        return (
            [form == DATES for form in formats] if len(formats) == self.modality.size else [False] * self.modality.size
        )

    def _read(self, value: Any) -> Tensor:
        size = self.modality.size
        values = value if isinstance(value, list) else [value]
        if len(values) != size or (size > 1 and not isinstance(value, list)):
            what = "a number" if size == 1 else f"a list of {size} numbers"
            raise ValueError(f"the value must be {what}; got {_show(value)}")
        if not self.modality.partial and None in values:
            raise ValueError("no element may be null, because the vector is observed as a whole; leave the vector out")
        numbers = [
            math.nan if one is None else _read_date(one) if is_date else _read_number(one)
            for one, is_date in zip(values, self.dates, strict=True)
        ]
        return self.modality.read(torch.tensor(numbers, dtype=torch.float64))

    def read(self, value: Any) -> Tensor | None:
        if isinstance(value, list) and value and all(one is None for one in value):
            return None
        return super().read(value)

    def write(self, value: Tensor) -> Any:
        numbers = self.modality.write(value).tolist()
        cells = [_write_date(n) if is_date else n for n, is_date in zip(numbers, self.dates, strict=True)]
        return cells[0] if self.modality.size == 1 else cells

    def describe(self) -> dict[str, Any]:
        modality = self.modality
        ranges = modality.limits and [
            [_write_date(end) if is_date else end for end in pair]
            for pair, is_date in zip(modality.limits, self.dates, strict=True)
        ]
        return {
            **super().describe(),
            "size": modality.size,
            "partial": modality.partial,
            "columns": list(modality.names or ()) or None,
            "ranges": ranges or None,
            "dates": self.dates,
        }

    def make_json_schema(self) -> dict[str, Any]:
        one = {"type": ["number", "null"] if self.modality.partial else "number"}
        if any(self.dates):
            one = {"type": ["number", "string"]}
        if self.modality.size == 1:
            return one
        return {"type": "array", "items": one, "minItems": self.modality.size, "maxItems": self.modality.size}

    def measure_spread(self, samples: Tensor) -> list[float]:
        return self.modality.write(samples).std(0, correction=0).tolist()


class TextCodec(Codec):
    """Texts."""

    kind = "text"
    modality: Text

    def _read(self, value: Any) -> Tensor:
        if not isinstance(value, str):
            raise ValueError(f"a text must be a text; got {_show(value)}")
        if len(value) > MOST_LETTERS:
            raise ValueError(f"a text must have at most {MOST_LETTERS:,} characters; got {len(value):,}")
        return self.modality.read(value)

    def write(self, value: Tensor) -> str:
        return self.modality.write(value)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "length": self.modality.length, "words": len(self.modality.vocabulary)}

    def make_json_schema(self) -> dict[str, Any]:
        return {"type": "string", "description": f"Text; its first {self.modality.length - 1} words or letters count."}


class AudioCodec(Codec):
    """Audio files in base64, or spectrograms as lists of frames."""

    kind = "audio"
    modality: Audio

    def _read(self, value: Any) -> Tensor:
        if isinstance(value, str):
            try:
                return self.modality.read(decode_base64(value))
            except ImportError as error:
                raise ValueError(f"{error}; or send a spectrogram") from error
        shape = self.modality.shape[1:]
        return self.modality.read(_read_numbers(value, shape).float())

    def write(self, value: Tensor) -> Any:
        return [[round(number, 4) for number in frame] for frame in value[0].tolist()]

    def describe(self) -> dict[str, Any]:
        modality = self.modality
        seconds = modality.frames * 256 / modality.rate
        sizes = {"frames": modality.frames, "mels": modality.mels, "rate": modality.rate, "seconds": seconds}
        return {**super().describe(), **sizes}

    def make_json_schema(self) -> dict[str, Any]:
        _, frames, mels = self.modality.shape
        row = {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "minItems": mels,
            "maxItems": mels,
        }
        return {
            "description": f"Audio file in base64, or a spectrogram of {frames} frames of {mels} numbers in [0, 1].",
            "anyOf": [
                {"type": "string", "contentEncoding": "base64"},
                {"type": "array", "items": row, "minItems": frames, "maxItems": frames},
            ],
        }

    def measure_spread(self, samples: Tensor) -> float:
        return float(samples.std(0, correction=0).mean())


CODECS: Mapping[type[Modality], type[Codec]] = {
    Image: ImageCodec,
    Label: LabelCodec,
    Vector: VectorCodec,
    Text: TextCodec,
    Audio: AudioCodec,
}
"""Codecs by type of modality; all other types use `Codec`."""


def make_codec(modality: Modality, pixels: int) -> Codec:
    """Returns the codec of a modality.

    Arguments:
        modality: The modality.
        pixels: Most pixels of an image in a request.
    """
    if isinstance(modality, Image) and modality.channels not in (1, 3, 4):  # no image file has such channels
        return Codec(modality, pixels)
    for kind in type(modality).__mro__:
        if kind in CODECS:
            return CODECS[kind](modality, pixels)
    return Codec(modality, pixels)


def decode_base64(text: str) -> bytes:
    """Decodes base64 with or without the prefix of a data URL.

    Raises:
        ValueError: The text is not base64.
    """
    start = match.end() if (match := PREFIX.match(text[:200])) else 0
    try:
        return base64.b64decode(text[start:] if start else text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a file must be sent as base64; got {brief(repr(text), 60)}") from None


def _read_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a number must be a number; got {_show(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("a number must be finite; write null for a missing value")
    return number


def _read_date(value: Any) -> float:
    """Reads an ISO date as days since 1970; a number is taken as such days."""
    if not isinstance(value, str):
        return _read_number(value)
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"a date must be an ISO date such as 2026-01-31; got {_show(value)}") from None
    return (date.replace(tzinfo=UTC) - EPOCH) / timedelta(days=1)


def _write_date(days: float) -> str | None:
    """Writes days since 1970 as an ISO date, with the time if it is not midnight."""
    try:
        date = EPOCH + timedelta(seconds=round(days * 86_400))
    except (OverflowError, ValueError):
        return None
    return date.replace(tzinfo=None).isoformat().removesuffix("T00:00:00")


def _read_numbers(value: Any, shape: tuple[int, ...]) -> Tensor:
    """Reads nested lists of finite numbers of this shape, float64.

    Raises:
        ValueError: The lists have another shape, or an element is not a finite number.
    """
    numbers: list[float] = []

    def collect(part: Any, sizes: tuple[int, ...]) -> None:
        if not sizes:
            numbers.append(_read_number(part))
            return
        if not isinstance(part, list) or len(part) != sizes[0]:
            found = f"a list of {len(part)}" if isinstance(part, list) else _show(part)
            raise ValueError(f"the value must be nested lists of shape {list(shape)}; got {found}")
        for one in part:
            collect(one, sizes[1:])

    collect(value, shape)
    return torch.tensor(numbers, dtype=torch.float64).reshape(shape)


def _show(value: Any) -> str:
    """Returns a short description of a JSON value for a message."""
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else "an object"
    return "null" if value is None else brief(value_repr(value), 60)
