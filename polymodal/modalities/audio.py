"""Sounds."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.modalities.base import check_counts, check_unit
from polymodal.modalities.cells import Column, read_files
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import NUMERIC, Choice
from polymodal.modalities.spectrograms import spectrograms
from polymodal.networks import spectrogram_decoder, spectrogram_encoder
from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_file

if TYPE_CHECKING:
    import pandas as pd
    import PIL.Image

__all__ = ["Audio"]

HOP = 256
"""Samples from one frame of a sound file's spectrogram to the next."""
FASTEST = 1_000_000
"""Samples per second that are read."""
FILTER = 24
"""Samples, at the lower of two rates, that a change between them looks ahead, at least: scipy's filter has 10."""
CANCELLED = 0.01
"""The share of the loudest channel below which the mean of channels is what their rounding leaves."""
BROKEN = (OSError, ValueError, TypeError, RuntimeError, MemoryError, ArithmeticError, AssertionError)
"""What soundfile raises of files that are damaged, or something else."""


@dataclass(frozen=True)
class Audio(Costed):
    """A spectrogram in [0, 1]: float, `(1, frames, mels)`.

    Sound files are read as those of the beginning of the sound, a frame for every 256 samples: 32 frames are a second.

    Arguments:
        frames: Steps in time.
        mels: Bands of frequency.
        widths: Channels of the convolutions: the first over all mels, each further one halves time.
        cost: "gaussian" or "laplace", of scale 1 or as in "laplace(0.75)"; "bernoulli"; or "l2" (the paper's).
        rate: Samples per second that sound files are brought to.

    Example:
        >>> sound = Audio(32, 128)
        >>> sound.decoder(8)(sound.encoder(8)(torch.rand(2, 1, 32, 128))).shape
        torch.Size([2, 1, 32, 128])
    """

    frames: int
    mels: int
    widths: tuple[int, ...] = (32, 64, 128)
    cost: Choice = Choice(NUMERIC, "gaussian")
    rate: int = 8000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(frames=self.frames, mels=self.mels, rate=self.rate)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(1, frames, mels)`."""
        return 1, self.frames, self.mels

    @property
    def core(self) -> Audio:
        """Without what files are read with."""
        return replace(self, rate=8000)

    @property
    def representation(self) -> dict[str, Any]:
        """Samples per second of the sounds that spectrograms are of."""
        return {"rate": self.rate}

    @property
    def metric(self) -> str:
        """The root of the mean squared error."""
        return "rmse"

    def check(self, x: Tensor) -> None:
        """Refuse values outside of [0, 1].

        Raises:
            ValueError: Names the first such value.
        """
        super().check(x)
        check_unit(x)

    def read(self, raw: np.ndarray | Tensor | str | Path | bytes) -> Tensor:
        """A spectrogram `(frames, mels)` or `(1, frames, mels)` in [0, 1], or a sound file, its name or its bytes.

        Raises:
            FileNotFoundError: There is no such file.
            ImportError: Sound files are read by soundfile, which is not installed.
            ValueError: It has another shape, is no sound file, or holds no sound or numbers that are not finite.
        """
        if isinstance(raw, str | Path | bytes):
            return self._heard(raw)
        value = torch.as_tensor(raw, dtype=torch.float32)
        if not value.isfinite().all():
            raise ValueError(f"a spectrogram must be finite; got {float(value[~value.isfinite()][0])}")
        if tuple(value.shape[-2:]) != self.shape[1:] or value.numel() != self.frames * self.mels:
            raise ValueError(f"a spectrogram must be {self.shape}; got {tuple(value.shape)}")
        return value.reshape(self.shape)

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """Spectrograms, or sound files. A file that is not there is not observed, nor one that is damaged."""

        def read(cell: Any) -> Tensor:
            if isinstance(cell, Mapping):
                cell = cell.get("bytes") or cell.get("path")
                if cell is None:
                    raise FileNotFoundError("a sound must have bytes, or a file's name; this one has neither")
            if isinstance(cell, bytearray | memoryview):
                cell = bytes(cell)
            return self.read(root / cell if isinstance(cell, str | Path) else np.stack(cell) if _nested(cell) else cell)

        return read_files(cells[0], self.blank, read, (OSError, ValueError, TypeError))

    def write(self, value: Tensor) -> np.ndarray:
        """A spectrogram `(frames, mels)`, float32."""
        return value[0].detach().cpu().float().numpy()

    def show(self, value: Tensor) -> PIL.Image.Image:
        """A picture: time to the right, low frequencies below, bright is loud."""
        import PIL.Image
        from matplotlib import colormaps

        return PIL.Image.fromarray(colormaps["magma"](self.write(value).T[::-1].clip(0, 1), bytes=True)).convert("RGB")

    def encoder(self, features: int) -> nn.Module:
        """Convolutions, `(N, *shape) -> (N, features)`."""
        return spectrogram_encoder(self.shape, self.widths, features)

    def decoder(self, latent_dim: int) -> nn.Module:
        """Transposed convolutions; ends in a sigmoid, in logits under "bernoulli"."""
        network = spectrogram_decoder(latent_dim, self.shape, self.widths)
        return network if self.cost == "bernoulli" else network.append(nn.Sigmoid())

    def _heard(self, file: str | Path | bytes) -> Tensor:
        """The spectrogram of a sound's beginning, silence behind a short one."""
        from scipy.signal import resample_poly

        sound, rate = _opened(file, self.frames * HOP, self.rate)
        wave = torch.from_numpy(resample_poly(_leveled(sound), self.rate, rate).astype(np.float32))
        wave = F.pad(wave[: self.frames * HOP], (0, max(0, self.frames * HOP - len(wave))))
        return spectrograms(wave[None], self.rate, hop=HOP, bands=self.mels)[0]


def _opened(file: str | Path | bytes, size: int, rate: int) -> tuple[np.ndarray, int]:
    """A sound's samples `(T,)`, and how many there are per second: so many that `size` are left at another rate.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: soundfile is not installed.
        ValueError: It is no sound file, it holds no sound, or a sample that is not finite.
    """
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("sound files are read by soundfile; pip install 'polymodal[audio]'") from error
    if not isinstance(file, bytes):
        check_file(file)
    try:
        with soundfile.SoundFile(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
            own = opened.samplerate
            if not 1 <= own <= FASTEST:
                raise ValueError(f"the samples per second must be in 1..{FASTEST}; got {own}")
            reach = FILTER * max(1, ceil(own / rate))  # of the filter that changes the rate, behind the last sample
            samples = opened.read(ceil(size * own / rate) + reach, always_2d=True)
    except (soundfile.SoundFileError, *BROKEN) as error:
        why = brief(getattr(error, "error_string", error), 100)
        where = "" if isinstance(file, bytes) else f"; {brief(file)}"
        raise ValueError(f"this is no sound file that can be read: {why}{where}") from error
    if not samples.size:
        raise ValueError("a sound must have samples; this one has none")
    if not np.isfinite(samples).all():
        raise ValueError(f"the samples of a sound must be finite; got {samples[~np.isfinite(samples)][0]}")
    return _mono(samples), own


def _mono(samples: np.ndarray) -> np.ndarray:
    """The mean of channels `(T, C)`; of channels that cancel each other in it, the loudest."""
    mean = samples.mean(1)
    loudest = np.abs(samples).max(0)
    return samples[:, loudest.argmax()] if np.abs(mean).max() < CANCELLED * loudest.max() else mean


def _leveled(sound: np.ndarray) -> np.ndarray:
    """A sound times a power of two, so that it is about 1 at its loudest: floats may have any scale.

    A spectrogram is relative to its loudest place, and so stays the same to the bit.
    """
    return np.ldexp(sound, -int(np.frexp(np.abs(sound).max())[1]))


def _nested(cell: Any) -> bool:
    """Whether it is a list of rows, as Parquet gives them back."""
    return isinstance(cell, list) or (isinstance(cell, np.ndarray) and cell.dtype == object)
