"""Images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.modalities.base import check_counts
from polymodal.modalities.cells import Column, read_files
from polymodal.modalities.conversions import MODES, read_pixels, write_pixels
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import NUMERIC
from polymodal.modalities.inspection import IMAGE_ENDINGS, choose_size, inspect_images, is_image
from polymodal.modalities.pixels import image_source
from polymodal.modalities.profile import Candidate, Profile, ends_as, mostly
from polymodal.modalities.value_checks import check_unit
from polymodal.networks import image_decoder, image_encoder, image_widths

if TYPE_CHECKING:
    import pandas as pd
    import PIL.Image

__all__ = ["Image", "png"]


@dataclass(frozen=True)
class Image(Costed):
    """An image, `(channels, height, width)`: uint8 in tables, floats in [0, 1] for networks.

    Arguments:
        channels: Number of channels: 1 (grey), 3 (RGB), 4 (RGBA) or any other number.
        height: Height in pixels.
        width: Width in pixels.
        widths: Numbers of channels of the convolutional layers, each of which halves height and width. By default,
            there are enough layers to reduce the longer side to 4 pixels, as in the paper: 32-64-128 for 28x28,
            32-64-128-256 for 64x64.
        cost: Reconstruction cost: "gaussian" or "laplace", with scale 1 or another one as in "laplace(0.75)",
            "bernoulli", or "l2" (used in the paper).

    Example:
        >>> image = Image(3, 17, 40)
        >>> image.decoder(8)(image.encoder(8)(torch.rand(2, 3, 17, 40))).shape
        torch.Size([2, 3, 17, 40])
    """

    channels: int
    height: int
    width: int
    widths: tuple[int, ...] | None = None
    cost: str = "gaussian"

    costs = NUMERIC
    metric = "ssim"
    """The structural similarity."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(channels=self.channels, height=self.height, width=self.width)

    @classmethod
    def suitability(cls, profile: Profile) -> float:
        """Returns 1 for images, bytes of image files and names of image files, 0 for all others."""
        if profile.kind == "text":
            return float(mostly(profile.first, ends_as(IMAGE_ENDINGS)))
        return float(profile.kind in ("bytes", "object") and mostly(profile.first, is_image))

    @classmethod
    def candidate(cls, profile: Profile) -> Candidate:
        """Returns an image of the size of the first one, or of at most 64 pixels per side if they are larger."""
        try:
            seen = inspect_images(profile)
        except ValueError as error:
            way = f"to use them as images write {profile.otherwise('image:3x64x64')}"
            return Candidate(None, str(error), way)
        image = cls(*choose_size(seen))
        sides = {one.sides for one in seen}
        if sides == {(image.height, image.width)}:
            return Candidate(image, f"images in {profile.there}")
        height, width = seen[0].sides
        first = f"the first of {height}x{width}" if len(sides) > 1 else f"of {height}x{width}"
        doubt = f"for another size write, for example, {profile.otherwise(f'image:{image.channels}x128x128')}"
        return Candidate(image, f"images in {profile.there}, {first}, scaled down", doubt)

    @property
    def description(self) -> str:
        """The type, with channels, height and width."""
        return f"image {self.channels}x{self.height}x{self.width}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(channels, height, width)`."""
        return self.channels, self.height, self.width

    @property
    def dtype(self) -> torch.dtype:
        """uint8."""
        return torch.uint8

    def prepare(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Scales uint8 values to [0, 1]; floats are expected to be in [0, 1] already."""
        return x.to(dtype) / 255 if x.dtype == torch.uint8 else x.to(dtype)

    def check(self, x: Tensor) -> None:
        """Checks that values are uint8, or floats in [0, 1].

        Raises:
            ValueError: They are not.
        """
        super().check(x)
        if x.is_floating_point():
            check_unit(x)
        elif x.dtype != torch.uint8:
            raise ValueError(f"images must be uint8, or floats in [0, 1]; got {x.dtype}; use x.to(torch.uint8)")

    def read(self, raw: PIL.Image.Image | np.ndarray | str | Path | bytes) -> Tensor:
        """Reads an image and resizes it if necessary.

        The EXIF orientation is applied. Transparent images are placed on a white background unless `channels` is 4.
        Pixels of more than 8 bits are scaled as described in `polymodal.modalities.pixels`; uint16 is divided by 257.

        Arguments:
            raw: PIL image, file name, bytes of a file, or array `(height, width[, channels])`.

        Raises:
            FileNotFoundError: The file does not exist.
            ValueError: It is not a readable image, or PIL has no colour mode for this number of channels.

        Example:
            >>> Image(1, 1, 3).read(np.array([[0, 257, 65535]], np.uint16)).tolist()
            [[[0, 1, 255]]]
        """
        return torch.from_numpy(read_pixels(raw, *self.shape))

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """Reads images, file names or bytes of files. Files that do not exist or are damaged become missing values."""
        damaged = (OSError, SyntaxError, ValueError, TypeError)
        return read_files(cells[0], self.blank, lambda cell: self.read(image_source(cell, root)), damaged)

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """Converts images to the bytes of PNG files."""
        return [[png(self.write(value)) for value in values]]

    def write(self, value: Tensor) -> PIL.Image.Image:
        """Converts values in [0, 1] or uint8 to a PIL image."""
        return write_pixels(value.detach().cpu().numpy())

    def quantize(self, values: Tensor) -> Tensor:
        """Rounds values in [0, 1], `(*, *shape)`, to uint8; uint8 stays as it is."""
        return values if values.dtype == torch.uint8 else (values.clamp(0, 1) * 255).round().to(torch.uint8)

    def show(self, value: Tensor) -> PIL.Image.Image:
        """Converts a value to a PIL image. If PIL has no mode for its channels, it is their mean in grey."""
        return self.write(value) if self.channels in MODES else Image(1, self.height, self.width).write(_grey(value))

    def encoder(self, features: int) -> nn.Module:
        """Creates a convolutional encoder, `(N, *shape) -> (N, features)`."""
        return image_encoder(self.shape, self._widths, features)

    def decoder(self, latent_dim: int) -> nn.Module:
        """Creates a transposed convolutional decoder. It ends in a sigmoid, or in logits for "bernoulli"."""
        network = image_decoder(latent_dim, self.shape, self._widths)
        return network if self.cost == "bernoulli" else network.append(nn.Sigmoid())

    @property
    def _widths(self) -> tuple[int, ...]:
        return self.widths or image_widths(self.height, self.width)


def png(image: PIL.Image.Image) -> bytes:
    """Encodes an image as the bytes of a PNG file."""
    image.save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def _grey(value: Tensor) -> Tensor:
    value = value / 255 if value.dtype == torch.uint8 else value
    return value.mean(0, keepdim=True)
