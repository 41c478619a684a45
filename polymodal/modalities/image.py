"""Pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.modalities.base import check_counts, check_unit
from polymodal.modalities.column import Column, read_files
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import NUMERIC, Choice
from polymodal.networks import picture_decoder, picture_encoder, picture_widths

if TYPE_CHECKING:
    import pandas as pd
    import PIL.Image

__all__ = ["Image", "png"]

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Image(Costed):
    """A picture: uint8 in tables, `(channels, height, width)` in [0, 1] for networks.

    Arguments:
        channels: 1 (grey), 3 (RGB) or any other number of planes.
        height: In pixels.
        width: In pixels.
        widths: Channels of the convolutions, each of which halves both sides; by default as many as bring the
            longer side to 4 pixels: 32-64-128 for 28x28, 32-64-128-256 for 64x64, as in the paper.
        cost: "gaussian" or "laplace", of scale 1 or as in "laplace(0.75)"; "bernoulli"; or "l2" (the paper's).

    Example:
        >>> picture = Image(3, 17, 40)
        >>> picture.decoder(8)(picture.encoder(8)(torch.rand(2, 3, 17, 40))).shape
        torch.Size([2, 3, 17, 40])
    """

    channels: int
    height: int
    width: int
    widths: tuple[int, ...] | None = None
    cost: Choice = Choice(NUMERIC, "gaussian")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(channels=self.channels, height=self.height, width=self.width)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(channels, height, width)`."""
        return self.channels, self.height, self.width

    @property
    def metric(self) -> str:
        """Structural similarity."""
        return "ssim"

    @property
    def dtype(self) -> torch.dtype:
        """uint8."""
        return torch.uint8

    def prepare(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Bytes to [0, 1]; floats are taken to be in [0, 1] already."""
        return x.to(dtype) / 255 if x.dtype == torch.uint8 else x.to(dtype)

    def check(self, x: Tensor) -> None:
        """Refuse anything but bytes, and floats in [0, 1].

        Raises:
            ValueError: What came instead.
        """
        super().check(x)
        if x.is_floating_point():
            check_unit(x)
        elif x.dtype != torch.uint8:
            raise ValueError(f"pictures must be uint8, or floats in [0, 1]; got {x.dtype}; use x.to(torch.uint8)")

    def read(self, raw: PIL.Image.Image | np.ndarray | str | Path) -> Tensor:
        """A PIL picture, a file, or a uint8 array `(height, width[, channels])`; resized where it must be.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: PIL knows no colour mode of so many channels.
        """
        import PIL.Image

        if isinstance(raw, str | Path):
            with PIL.Image.open(raw) as file:
                return self.read(file.copy())
        picture = PIL.Image.fromarray(_plane(raw)) if isinstance(raw, np.ndarray) else raw
        if picture.has_transparency_data and self.channels < 4:
            picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        picture = picture.convert(self._mode).resize((self.width, self.height))
        return torch.from_numpy(np.array(picture)).view(self.height, self.width, -1).permute(2, 0, 1).contiguous()

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """Pictures, their files' names or bytes. A file that is not there is not observed, nor one that is damaged."""
        import PIL.Image

        damaged = (OSError, SyntaxError, ValueError, TypeError, PIL.Image.DecompressionBombError)
        return read_files(cells[0], self.blank, lambda cell: self.read(_opened(cell, root)), damaged)

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """The pictures, as the bytes of PNG files."""
        return [[png(self.write(value)) for value in values]]

    def write(self, value: Tensor) -> PIL.Image.Image:
        """Values in [0, 1], or bytes, as a PIL picture."""
        import PIL.Image

        if value.dtype != torch.uint8:
            value = (value.clamp(0, 1) * 255).round().to(torch.uint8)
        return PIL.Image.fromarray(value.permute(1, 2, 0).squeeze(-1).cpu().numpy(), self._mode)

    def show(self, value: Tensor) -> PIL.Image.Image:
        """A picture; of a number of channels that is no colour mode, the mean as grey."""
        return self.write(value) if self.channels in MODES else Image(1, self.height, self.width).write(_grey(value))

    def encoder(self, features: int) -> nn.Module:
        """Convolutions, `(N, *shape) -> (N, features)`."""
        return picture_encoder(self.shape, self._widths, features)

    def decoder(self, latent_dim: int) -> nn.Module:
        """Transposed convolutions; ends in a sigmoid, in logits under "bernoulli"."""
        network = picture_decoder(latent_dim, self.shape, self._widths)
        return network if self.cost == "bernoulli" else network.append(nn.Sigmoid())

    @property
    def _widths(self) -> tuple[int, ...]:
        return self.widths or picture_widths(self.height, self.width)

    @property
    def _mode(self) -> Any:
        if self.channels not in MODES:
            raise ValueError(
                f"pictures of {self.channels} channels cannot be read or written: channels must be 1, 3 or 4 "
                "for that; pass tensors instead"
            )
        return MODES[self.channels]


def _opened(cell: Any, root: Path) -> Any:
    """A cell as `Image.read` takes it: names of files from the root on, bytes and what holds them as pictures.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: It is nothing of this kind.
    """
    import PIL.Image

    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
        if cell is None:
            raise FileNotFoundError("a picture must have bytes, or a file's name; this one has neither")
    if isinstance(cell, bytes):
        with PIL.Image.open(io.BytesIO(cell)) as file:
            return file.copy()
    if isinstance(cell, str | Path):
        return root / cell
    if isinstance(cell, np.ndarray | PIL.Image.Image):
        return cell
    raise TypeError(f"a picture, its bytes or its file's name must stand here; got {type(cell).__name__}")


def png(picture: PIL.Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    picture.save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def _plane(raw: np.ndarray) -> np.ndarray:
    """An array as PIL takes it: a single channel has no axis of its own."""
    if raw.dtype != np.uint8 or raw.ndim not in (2, 3):
        raise ValueError(f"a picture must be uint8 (height, width[, channels]); got {raw.dtype} {raw.shape}")
    return raw[..., 0] if raw.ndim == 3 and raw.shape[-1] == 1 else raw


def _grey(value: Tensor) -> Tensor:
    value = value / 255 if value.dtype == torch.uint8 else value
    return value.mean(0, keepdim=True)
