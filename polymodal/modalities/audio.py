"""Audio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.modalities.base import check_counts
from polymodal.modalities.cells import Column, read_files
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import NUMERIC
from polymodal.modalities.profile import Candidate, Profile, ends_as, mostly
from polymodal.modalities.sound_files import HOP, read_wave
from polymodal.modalities.spectrograms import spectrograms
from polymodal.modalities.value_checks import check_unit
from polymodal.networks import spectrogram_decoder, spectrogram_encoder

if TYPE_CHECKING:
    import pandas as pd
    import PIL.Image

__all__ = ["Audio"]

AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Audio(Costed):
    """A mel spectrogram in [0, 1], float, `(1, frames, mels)`.

    Audio files are converted to spectrograms of their beginning, with one frame per 256 samples. At the default rate,
    32 frames are about one second.

    Arguments:
        frames: Number of time frames.
        mels: Number of mel frequency bands.
        widths: Numbers of channels of the convolutional layers. The first layer spans all mel bands; each further one
            halves the number of frames.
        cost: Reconstruction cost: "gaussian" or "laplace", with scale 1 or another one as in "laplace(0.75)",
            "bernoulli", or "l2" (used in the paper).
        rate: Sampling rate to which audio files are resampled, in samples per second.

    Example:
        >>> sound = Audio(32, 128)
        >>> sound.decoder(8)(sound.encoder(8)(torch.rand(2, 1, 32, 128))).shape
        torch.Size([2, 1, 32, 128])
    """

    frames: int
    mels: int
    widths: tuple[int, ...] = (32, 64, 128)
    cost: str = "gaussian"
    rate: int = 8000

    costs = NUMERIC
    metric = "rmse"
    """The root mean squared error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(frames=self.frames, mels=self.mels, rate=self.rate)

    @classmethod
    def suitability(cls, profile: Profile) -> float:
        """Returns 1 for names of audio files, 0 for all others."""
        return float(profile.kind == "text" and mostly(profile.first, ends_as(AUDIO_ENDINGS)))

    @classmethod
    def candidate(cls, profile: Profile) -> Candidate:
        """Returns audio of about one second."""
        longer = f"only the first second is used: for 3 seconds write {profile.otherwise('audio:96x128')}"
        return Candidate(cls(32, 128), f"audio files in {profile.there}", longer)

    @property
    def description(self) -> str:
        """The type, with the numbers of frames and bands."""
        return f"audio {self.frames}x{self.mels}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(1, frames, mels)`."""
        return 1, self.frames, self.mels

    @property
    def core(self) -> Audio:
        """The modality with the default sampling rate, which affects only how files are read."""
        return replace(self, rate=8000)

    @property
    def representation(self) -> dict[str, Any]:
        """The sampling rate of the audio from which spectrograms are computed."""
        return {"rate": self.rate}

    def check(self, x: Tensor) -> None:
        """Checks that values are in [0, 1].

        Raises:
            ValueError: A value is not. The message names the first one.
        """
        super().check(x)
        check_unit(x)

    def read(self, raw: np.ndarray | Tensor | str | Path | bytes) -> Tensor:
        """Reads a spectrogram or an audio file.

        Arguments:
            raw: Spectrogram `(frames, mels)` or `(1, frames, mels)` in [0, 1], or name or bytes of an audio file.

        Raises:
            FileNotFoundError: The file does not exist.
            ImportError: soundfile, which is needed to read audio files, is not installed.
            ValueError: The shape is wrong, the file is not a readable audio file or is empty, or a number is not
                finite.
        """
        if isinstance(raw, str | Path | bytes):
            return self._compute_spectrogram(raw)
        value = torch.as_tensor(raw, dtype=torch.float32)
        if not value.isfinite().all():
            raise ValueError(f"a spectrogram must be finite; got {float(value[~value.isfinite()][0])}")
        if tuple(value.shape[-2:]) != self.shape[1:] or value.numel() != self.frames * self.mels:
            raise ValueError(f"a spectrogram must be {self.shape}; got {tuple(value.shape)}")
        return value.reshape(self.shape)

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """Reads spectrograms or audio files. Files that do not exist or are damaged become missing values."""

        def read(cell: Any) -> Tensor:
            if isinstance(cell, Mapping):
                cell = cell.get("bytes") or cell.get("path")
                if cell is None:
                    raise FileNotFoundError("audio must have bytes, or a file's name; this one has neither")
            if isinstance(cell, bytearray | memoryview):
                cell = bytes(cell)
            return self.read(
                root / cell if isinstance(cell, str | Path) else np.stack(cell) if _is_nested(cell) else cell
            )

        return read_files(cells[0], self.blank, read, (OSError, ValueError, TypeError))

    def write(self, value: Tensor) -> np.ndarray:
        """Converts a value to a spectrogram `(frames, mels)`, float32."""
        return value[0].detach().cpu().float().numpy()

    def show(self, value: Tensor) -> PIL.Image.Image:
        """Converts a value to an image: time from left to right, low frequencies at the bottom, bright is loud."""
        import PIL.Image
        from matplotlib import colormaps

        return PIL.Image.fromarray(colormaps["magma"](self.write(value).T[::-1].clip(0, 1), bytes=True)).convert("RGB")

    def encoder(self, features: int) -> nn.Module:
        """Creates a convolutional encoder, `(N, *shape) -> (N, features)`."""
        return spectrogram_encoder(self.shape, self.widths, features)

    def decoder(self, latent_dim: int) -> nn.Module:
        """Creates a transposed convolutional decoder. It ends in a sigmoid, or in logits for "bernoulli"."""
        network = spectrogram_decoder(latent_dim, self.shape, self.widths)
        return network if self.cost == "bernoulli" else network.append(nn.Sigmoid())

    def _compute_spectrogram(self, file: str | Path | bytes) -> Tensor:
        """Computes the spectrogram of the beginning of an audio file; short audio is padded with silence."""
        wave = torch.from_numpy(read_wave(file, self.frames * HOP, self.rate))
        return spectrograms(wave[None], self.rate, hop=HOP, bands=self.mels)[0]


def _is_nested(cell: Any) -> bool:
    """Checks whether a cell is a list of rows, as read from Parquet files."""
    return isinstance(cell, list) or (isinstance(cell, np.ndarray) and cell.dtype == object)
