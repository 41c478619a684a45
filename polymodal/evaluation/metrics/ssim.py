"""Structural similarity (SSIM), in two variants that the literature does not distinguish by name.

For images x and y, it is the mean over pixels and channels of

    (2 mu_x mu_y + C1) (2 sigma_xy + C2) / ((mu_x^2 + mu_y^2 + C1) (sigma_x^2 + sigma_y^2 + C2)),

with mu, sigma^2 and sigma_xy the weighted means, variances and covariance in a window around a pixel,
`C1 = (0.01 R)^2`, `C2 = (0.03 R)^2` and R the range of the values (Wang et al., 2004, Eq. 13). This formula is
`structural_similarity`. The rest computes the moments of many windows from matrix products, once per image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from polymodal.evaluation.metrics.base import Metric, RowComparison, TermFunction, count_rows_per_chunk
from polymodal.networks.cpu.linear import inner
from polymodal.runtime import distributed
from polymodal.runtime.threads import map_in_threads

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["SSIM", "PaperSSIM"]


class SSIM(Metric):
    """The standard structural similarity: 11x11 Gaussian window, sigma 1.5, values in [0, 1].

    The mean is over the pixels whose window is inside the image, the channels and the images, as in scikit-image.
    torchmetrics includes reflected borders, so its scores differ. For an image smaller than the window, the largest odd
    window that fits is used, and `note` reports this. Computations use the precision of the images, at least float32;
    the score of an image in float32 equals that in float64 to about 1e-6.

    Example:
        >>> ssim, image = SSIM(), torch.rand(2, 3, 16, 16)
        >>> ssim.update(torch.distributions.Normal(image, 1.0), image)
        >>> round(ssim.compute(), 5), ssim.note
        (1.0, '')

    Source: Wang et al. (2004), Eq. 13.
    """

    better = "higher"
    kind = "numbers"
    axes = 3
    size: ClassVar[int] = 11
    constants: ClassVar[tuple[float, float]] = (0.01**2, 0.03**2)
    sample: ClassVar[bool] = False
    """Whether covariances are normalised by n - 1 instead of n, for uniform windows of n pixels."""

    def __init__(self, streams: int = 1) -> None:
        super().__init__(streams)
        self.used = self.size

    def compare(self, distribution: Distribution, target: Tensor, indices: Tensor) -> RowComparison:
        """Computes the similarity of each pair of images `(C, H, W)`, see `Metric`."""
        windows, made = self._windows(distribution.mean, target), distribution.mean
        often = indices[indices >= 0].bincount(minlength=len(made)) > 1  # predictions that several rows share
        place = often.cumsum(0) - 1
        parts = (
            map_in_threads(windows.moments, made[often].split(count_rows_per_chunk(made)), target.device)
            if often.any()
            else []
        )
        shared = [torch.cat(numbers, 1) for numbers in zip(*parts, strict=True)]

        def compare_rows(rows: slice) -> TermFunction:
            y = windows.moments(target[rows])

            def similarity(chosen: Tensor) -> Tensor:
                if often[chosen].all():
                    x = Moments(*(numbers.index_select(1, place[chosen]) for numbers in shared))
                else:
                    x = windows.moments(made[chosen])
                sigma_xy = windows.covariance(x, y)
                scores = structural_similarity(x.mu, y.mu, x.sigma2, y.sigma2, sigma_xy, *self.constants)
                return scores.flatten(2).mean(2).mean(0)

            return lambda indices: torch.stack([similarity(chosen) for chosen in indices])[..., None]

        return compare_rows

    def _windows(self, made: Tensor, target: Tensor) -> Windows:
        """Returns the windows of the target's images, and keeps their size in `used`."""
        height, width = target.shape[-2:]
        self.used = min(self.size, min(height, width) - 1 + min(height, width) % 2)
        dtype, n = torch.promote_types(made.dtype, torch.float32), self.used**2
        down, across = (
            make_band_matrix(self.window(self.used), side).to(target.device, dtype) for side in (height, width)
        )
        return Windows(down, across, n / max(n - 1, 1) if self.sample else 1.0)

    def merge(self) -> None:
        """See `Metric`. The smallest window of all processes is kept; without images, a process has the full window."""
        super().merge()
        self.used = -distributed.all_reduce_max(-self.used)[0]

    def score(self, sums: list[float], rows: int) -> float:
        """Returns the mean similarity, at most 1."""
        return sums[0] / rows

    @property
    def note(self) -> str:
        """A remark if a smaller window was used, or an empty string."""
        return "" if self.used == self.size else f"window {self.used}x{self.used} in place of {self.size}x{self.size}"

    @staticmethod
    def window(size: int) -> Tensor:
        """Returns the one-dimensional weights of the window, `(size,)` float64, which sum to 1."""
        weights = torch.exp(-(torch.arange(size).double() - size // 2).square() / (2 * 1.5**2))
        return weights / weights.sum()


class PaperSSIM(SSIM):
    """The structural similarity reported in the MAC-WAE paper; it scores higher than the standard one.

    It uses uniform 7x7 windows, sample covariances (x 49/48), and constants for a range of 2, the default of
    scikit-image before 0.20 for floats. Only this variant is comparable with the paper's scores.

    Source: MAC-WAE, supplementary table 4, as computed by its authors' metric library.
    """

    size = 7
    constants = ((0.01 * 2) ** 2, (0.03 * 2) ** 2)
    sample = True

    @staticmethod
    def window(size: int) -> Tensor:
        """Returns the one-dimensional weights of the window, `(size,)` float64, which sum to 1."""
        return torch.full((size,), 1 / size, dtype=torch.float64)


def structural_similarity(
    mu_x: Tensor,
    mu_y: Tensor,
    sigma_x2: Tensor,
    sigma_y2: Tensor,
    sigma_xy: Tensor,
    C1: float,  # noqa: N803 (the paper's names)
    C2: float,  # noqa: N803
) -> Tensor:
    """Computes the structural similarity of each window, from means, variances and covariances of the same shape.

    Example:
        >>> mu, sigma2 = torch.tensor([0.5]), torch.tensor([0.04])
        >>> structural_similarity(mu, mu, sigma2, sigma2, -sigma2, 0.0001, 0.0009)
        tensor([-0.9778])

    Source: Wang et al. (2004), Eq. 13.
    """
    numerator = (2 * mu_x * mu_y + C1) * (2 * sigma_xy + C2)
    denominator = (mu_x.square() + mu_y.square() + C1) * (sigma_x2 + sigma_y2 + C2)
    return numerator / denominator


class Moments(NamedTuple):
    """Means and variances of the windows of N images, `(H', N, C, W')` each."""

    centred: Tensor
    """Images minus their mean per channel, `(H, N, C, W)`; smaller numbers have more accurate covariances."""
    centred_mu: Tensor
    mu: Tensor
    sigma2: Tensor


class Windows(NamedTuple):
    """The windows around each pixel whose window is inside the image.

    Images are `(H, N, C, W)`, so that a weighted mean is two matrix products for all of them.
    """

    down: Tensor
    """Weights along the height, `(H', H)`."""
    across: Tensor
    """Weights along the width, `(W', W)`."""
    scale: float
    """Factor of variances and covariances: n / (n - 1) for those of a sample of n pixels, otherwise 1."""

    def smooth(self, images: Tensor) -> Tensor:
        """Returns the weighted means `(H', N, C, W')` of images `(H, N, C, W)`."""
        height, n, channels, _ = images.shape
        wide = inner(images.flatten(0, 2), self.across).view(height, -1)
        return inner(self.down, wide.mT).view(-1, n, channels, len(self.across))

    def moments(self, images: Tensor) -> Moments:
        """Computes the moments of images `(N, C, H, W)`."""
        images = images.to(self.down.dtype).permute(2, 0, 1, 3).contiguous()
        middle = images.mean((0, 3), keepdim=True)
        centred = images - middle
        centred_mu = self.smooth(centred)
        sigma2 = self.smooth(centred.square()).sub_(centred_mu.square()).mul_(self.scale)
        return Moments(centred, centred_mu, centred_mu + middle, sigma2)

    def covariance(self, x: Moments, y: Moments) -> Tensor:
        """Computes the covariances of images, `(H', N, C, W')`, which do not change where images are centred."""
        return self.smooth(x.centred * y.centred).addcmul_(x.centred_mu, y.centred_mu, value=-1).mul_(self.scale)


def make_band_matrix(weights: Tensor, side: int) -> Tensor:
    """Returns the matrix of weighted means over consecutive pixels of a side, `(side - size + 1, side)`.

    Example:
        >>> make_band_matrix(torch.tensor([1.0, 2.0]), 3)
        tensor([[1., 2., 0.],
                [0., 1., 2.]])
    """
    matrix = weights.new_zeros(side - len(weights) + 1, side)
    for i, row in enumerate(matrix):
        row[i : i + len(weights)] = weights
    return matrix
