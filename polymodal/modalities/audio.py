"""Sounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.modalities.base import check_counts, check_unit
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import NUMERIC, Choice
from polymodal.networks import spectrogram_decoder, spectrogram_encoder

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["Audio"]


@dataclass(frozen=True)
class Audio(Costed):
    """A spectrogram in [0, 1]: float, `(1, frames, mels)`.

    Arguments:
        frames: Steps in time.
        mels: Bands of frequency.
        widths: Channels of the convolutions: the first over all mels, each further one halves time.
        cost: "gaussian" or "laplace", of scale 1 or as in "laplace(0.75)"; "bernoulli"; or "l2" (the paper's).

    Example:
        >>> sound = Audio(32, 128)
        >>> sound.decoder(8)(sound.encoder(8)(torch.rand(2, 1, 32, 128))).shape
        torch.Size([2, 1, 32, 128])
    """

    frames: int
    mels: int
    widths: tuple[int, ...] = (32, 64, 128)
    cost: Choice = Choice(NUMERIC, "gaussian")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(frames=self.frames, mels=self.mels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(1, frames, mels)`."""
        return 1, self.frames, self.mels

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

    def read(self, raw: np.ndarray | Tensor) -> Tensor:
        """A spectrogram `(frames, mels)` or `(1, frames, mels)`, in [0, 1].

        Raises:
            ValueError: It has another shape.
        """
        value = torch.as_tensor(raw, dtype=torch.float32)
        if tuple(value.shape[-2:]) != self.shape[1:] or value.numel() != self.frames * self.mels:
            raise ValueError(f"a spectrogram must be {self.shape}; got {tuple(value.shape)}")
        return value.reshape(self.shape)

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
