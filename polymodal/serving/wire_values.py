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
import io
import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.io.json_files import UNREADABLE
from polymodal.modalities import Audio, Image, Label, Modality, Text, Vector
from polymodal.modalities.cell_texts import DATES
from polymodal.modalities.sound_files import HOP
from polymodal.runtime.formatting import brief
from polymodal.serving.codec import Codec
from polymodal.serving.json_values import (
    decode_base64,
    read_date,
    read_number,
    read_numbers,
    show_value,
    write_date,
)
from polymodal.serving.png_files import encode_png

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["make_codec"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats of image files that requests may contain. Other decoders are not exposed to the network."""
MOST_LETTERS = 100_000
"""Most characters of a text."""


class ArrayCodec(Codec):
    """Arrays of numbers in [0, 1]."""

    def measure_spread(self, samples: Tensor) -> float:
        return float(samples.std(0, correction=0).mean())


class ImageCodec(ArrayCodec):
    """Images as files in base64."""

    kind = "image"
    modality: Image

    def _read(self, value: Any) -> Tensor:
        import PIL.Image

        if not isinstance(value, str):
            raise ValueError(f"an image must be a text, the base64 of a PNG or JPEG file; got {show_value(value)}")
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

    def round(self, values: Tensor) -> Tensor:
        return self.modality.quantize(values)

    def write(self, value: Tensor) -> str:
        return base64.b64encode(encode_png(self.modality.quantize(value).numpy())).decode()

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


class LabelCodec(Codec):
    """Classes by name."""

    kind = "label"
    modality: Label
    needs_check = False

    @cached_property
    def classes(self) -> list[str | int]:
        """The classes, as JSON."""
        return [self.modality.write(torch.tensor(place)) for place in range(self.modality.classes)]

    @property
    def example(self) -> str | int:
        return self.classes[0]

    def _read(self, value: Any) -> Tensor:
        if not isinstance(value, str | int | float):
            raise ValueError(f"a class must be a text or a number; got {show_value(value)}")
        if self.modality.names is None:
            if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
                raise ValueError(f"a class must be one of 0..{self.modality.classes - 1}; got {show_value(value)}")
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
            raise ValueError(f"the value must be {what}; got {show_value(value)}")
        if not self.modality.partial and None in values:
            raise ValueError("no element may be null, because the vector is observed as a whole; leave the vector out")
        numbers = [
            math.nan if one is None else read_date(one) if is_date else read_number(one)
            for one, is_date in zip(values, self.dates, strict=True)
        ]
        return self.modality.read(torch.tensor(numbers, dtype=torch.float64))

    def read(self, value: Any) -> Tensor | None:
        if isinstance(value, list) and value and all(one is None for one in value):
            return None
        return super().read(value)

    def write(self, value: Tensor) -> Any:
        numbers = self.modality.write(value).tolist()
        cells = [write_date(n) if is_date else n for n, is_date in zip(numbers, self.dates, strict=True)]
        return cells[0] if self.modality.size == 1 else cells

    def describe(self) -> dict[str, Any]:
        modality = self.modality
        ranges = modality.limits and [
            [write_date(end) if is_date else end for end in pair]
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
    needs_check = False

    def _read(self, value: Any) -> Tensor:
        if not isinstance(value, str):
            raise ValueError(f"a text must be a text; got {show_value(value)}")
        if len(value) > MOST_LETTERS:
            raise ValueError(f"a text must have at most {MOST_LETTERS:,} characters; got {len(value):,}")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("a text must be valid Unicode, and has half of a surrogate pair; send it as UTF-8")
        return self.modality.read(value)

    def write(self, value: Tensor) -> str:
        return self.modality.write(value)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "length": self.modality.length, "words": len(self.modality.vocabulary)}

    def make_json_schema(self) -> dict[str, Any]:
        return {"type": "string", "description": f"Text; its first {self.modality.length - 1} words or letters count."}


class AudioCodec(ArrayCodec):
    """Audio files in base64, or spectrograms as lists of frames."""

    kind = "audio"
    modality: Audio

    def _read(self, value: Any) -> Tensor:
        if isinstance(value, str):
            try:
                return self.modality.read(decode_base64(value))
            except ImportError as error:
                raise ValueError(f"{error}; or send a spectrogram") from error
        return self.modality.read(read_numbers(value, self.modality.shape[1:]).float())

    def write(self, value: Tensor) -> Any:
        return [[round(number, 4) for number in frame] for frame in value[0].tolist()]

    def describe(self) -> dict[str, Any]:
        frames, mels, rate = self.modality.frames, self.modality.mels, self.modality.rate
        sizes = {"frames": frames, "mels": mels, "rate": rate, "seconds": frames * HOP / rate}
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
