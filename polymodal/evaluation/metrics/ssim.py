"""Structural similarity, in the two variants that the literature calls by one name."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal import parallel
from polymodal.evaluation.metrics.base import Metric

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["SSIM", "PaperSSIM", "similarity"]


class SSIM(Metric):
    """The standard structural similarity: 11x11 Gaussian window, sigma 1.5, values in [0, 1].

    The mean is over the pixels whose window fits, the channels and the pictures, as in scikit-image (torchmetrics
    takes reflected borders in, and so scores otherwise). A picture smaller than the window is compared under
    the largest odd window that fits, and `note` says so.

    Example:
        >>> ssim, picture = SSIM(), torch.rand(2, 3, 16, 16)
        >>> ssim.update(torch.distributions.Normal(picture, 1.0), picture)
        >>> round(ssim.compute(), 6), ssim.note
        (1.0, '')

    Source: Wang et al. (2004).
    """

    better = "higher"
    size: ClassVar[int] = 11
    constants: ClassVar[tuple[float, float]] = (0.01**2, 0.03**2)
    sample: ClassVar[bool] = False

    def __init__(self) -> None:
        self.total, self.rows, self.used = 0.0, 0, self.size

    def update(self, distribution: Distribution, target: Tensor) -> None:
        """Takes N pictures, see `Metric`."""
        shortest = min(target.shape[-2:])
        self.used = min(self.size, shortest - 1 + shortest % 2)
        window = self.window(self.used).to(target.device)
        scores = similarity(distribution.mean, target, window, self.constants, sample=self.sample)
        self.total += float(scores.sum())
        self.rows += len(target)

    def merge(self) -> None:
        """See `Metric`."""
        self.total, rows = parallel.totals(self.total, self.rows)
        self.rows, self.used = int(rows), -parallel.agreed(-self.used)[0]  # the full window, where it saw nothing

    def compute(self) -> float:
        """At most 1."""
        return self.total / self.rows if self.rows else float("nan")

    @property
    def note(self) -> str:
        """Says where a smaller window had to do."""
        return "" if self.used == self.size else f"window {self.used}x{self.used} in place of {self.size}x{self.size}"

    @staticmethod
    def window(size: int) -> Tensor:
        """The weights of a window's side, `(size,)` float64, of sum 1."""
        weights = torch.exp(-(torch.arange(size).double() - size // 2).square() / (2 * 1.5**2))
        return weights / weights.sum()


class PaperSSIM(SSIM):
    """The structural similarity that the paper's table holds; it scores higher than the standard one.

    Uniform 7x7 windows, sample covariances (x 49/48), and constants for a range of 2, which scikit-image
    before 0.20 took for floats when none was given. Only this one compares with the paper's numbers.

    Source: MAC-WAE, supplementary table 4, as its authors' metric library computed it.
    """

    size = 7
    constants = ((0.01 * 2) ** 2, (0.03 * 2) ** 2)
    sample = True

    @staticmethod
    def window(size: int) -> Tensor:
        """The weights of a window's side, `(size,)` float64, of sum 1."""
        return torch.full((size,), 1 / size, dtype=torch.float64)


def similarity(a: Tensor, b: Tensor, window: Tensor, constants: tuple[float, float], *, sample: bool = False) -> Tensor:
    """The mean structural similarity of pictures.

    Arguments:
        a: `(N, C, H, W)`.
        b: The same shape.
        window: Weights of a window's side, `(size,)`, of sum 1; the window is their outer product.
        constants: C1 and C2.
        sample: Covariances over n - 1 in place of n, for a uniform window.

    Returns:
        `(N,)` float64, means over channels and over the pixels whose window fits.

    Source: Wang et al. (2004), Eq. 13.
    """
    n = len(window) ** 2
    x, y = a.double().flatten(0, 1)[:, None], b.double().flatten(0, 1)[:, None]
    moments = torch.cat([x, y, x * x, y * y, x * y], dim=1)
    kernel = window.expand(5, 1, -1)
    moments = F.conv2d(F.conv2d(moments, kernel[..., None], groups=5), kernel[:, :, None], groups=5)
    mx, my, xx, yy, xy = moments.unbind(1)
    scale = n / max(n - 1, 1) if sample else 1.0
    vx, vy, vxy = (scale * v for v in (xx - mx * mx, yy - my * my, xy - mx * my))
    c1, c2 = constants
    scores = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return scores.mean((-2, -1)).unflatten(0, a.shape[:2]).mean(-1)
