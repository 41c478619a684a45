"""Structural similarity (SSIM), in two variants that the literature does not distinguish by name.

For images x and y, it is the mean over pixels and channels of

    (2 m_x m_y + C1) (2 c_xy + C2) / ((m_x^2 + m_y^2 + C1) (v_x + v_y + C2)),

with m, v and c the weighted means, variances and covariance in a window around a pixel, `C1 = (0.01 R)^2`,
`C2 = (0.03 R)^2` and R the range of the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from polymodal.evaluation.metrics.base import Against, Compared, Metric, at_once
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
        >>> ssim, picture = SSIM(), torch.rand(2, 3, 16, 16)
        >>> ssim.update(torch.distributions.Normal(picture, 1.0), picture)
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

    def compare(self, distribution: Distribution, target: Tensor, answers: Tensor) -> Compared:
        """Computes the similarity of each pair of images `(C, H, W)`, see `Metric`."""
        height, width = target.shape[-2:]
        self.used = min(self.size, min(height, width) - 1 + min(height, width) % 2)
        weights, n = self.window(self.used), self.used**2
        scale = n / max(n - 1, 1) if self.sample else 1.0
        made, device = distribution.mean, target.device
        dtype = torch.promote_types(made.dtype, torch.float32)
        smooth = Smooth(*(make_band_matrix(weights, side).to(device, dtype) for side in (height, width)))
        smooth_twice = Smooth(2 * scale * smooth.down, smooth.across)
        c1, c2 = (torch.tensor(c, dtype=dtype, device=device) for c in self.constants)

        def moments(pictures: Tensor) -> Moments:
            return Moments.of(pictures.to(dtype).permute(2, 0, 1, 3).contiguous(), smooth, scale)

        often = answers[answers >= 0].bincount(minlength=len(made)) > 1
        place = often.cumsum(0) - 1
        parts = map_in_threads(moments, made[often].split(at_once(made)), device) if often.any() else []
        known = [torch.cat(numbers, 1) for numbers in zip(*parts, strict=True)]

        def compared(rows: slice) -> Against:
            y = moments(target[rows])
            covariance, luminance = 2 * scale * y.centred_mean, y.mean.square().add_(c1)
            contrast, mean = y.variance.add_(c2), 2 * y.mean

            def similarity(answer: Tensor) -> Tensor:
                if often[answer].all():
                    x = Moments(*(numbers.index_select(1, place[answer]) for numbers in known))
                else:
                    x = moments(made[answer])
                scores = smooth_twice(x.centred.mul_(y.centred))
                scores.addcmul_(x.centred_mean, covariance, value=-1).add_(c2)
                scores.mul_(torch.addcmul(c1, x.mean, mean, out=x.centred_mean))
                spread = torch.addcmul(luminance, x.mean, x.mean, out=x.centred_mean).mul_(x.variance.add_(contrast))
                return scores.div_(spread).flatten(2).mean(2).mean(0)

            return lambda answers: torch.stack([similarity(answer) for answer in answers])[..., None]

        return compared

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


class Smooth(NamedTuple):
    """Weighted mean in the window around each pixel whose window is inside the image, as two matrix products.

    Images are `(H, N, C, W)`, so that each product is a single one for all images.
    """

    down: Tensor
    """Weights along the height, `(H', H)`."""
    across: Tensor
    """Weights along the width, `(W', W)`."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """Returns the weighted means `(H', N, C, W')` of images `(H, N, C, W)`."""
        height, n, channels, _ = pictures.shape
        wide = inner(pictures.flatten(0, 2), self.across).view(height, -1)
        return inner(self.down, wide.mT).view(-1, n, channels, len(self.across))


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


class Moments(NamedTuple):
    """Means and variances of the windows of N images, `(H', N, C, W')` each."""

    centred: Tensor
    """Images minus their mean per channel, `(H, N, C, W)`; smaller numbers have more accurate covariances."""
    centred_mean: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, pictures: Tensor, smooth: Smooth, scale: float) -> Moments:
        """Computes the moments of images `(H, N, C, W)`."""
        middle = pictures.mean((0, 3), keepdim=True)
        centred = pictures - middle
        centred_mean = smooth(centred)
        variance = smooth(centred.square()).sub_(centred_mean.square()).mul_(scale)
        return cls(centred, centred_mean, centred_mean + middle, variance)
