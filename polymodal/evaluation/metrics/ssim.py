"""Structural similarity, in the two variants that the literature calls by one name."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from polymodal.evaluation.metrics.base import Against, Compared, Metric, at_once
from polymodal.networks.cpu.linear import inner
from polymodal.runtime import distributed
from polymodal.runtime.threads import each

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["SSIM", "PaperSSIM"]


class SSIM(Metric):
    """The standard structural similarity: 11x11 Gaussian window, sigma 1.5, values in [0, 1].

    The mean is over the pixels whose window fits, the channels and the pictures, as in scikit-image (torchmetrics
    takes reflected borders in, and so scores otherwise). A picture smaller than the window is compared under
    the largest odd window that fits, and `note` says so. It is worked out in the pictures' precision, float32 at
    least: a picture's score in float32 is that in float64 to about 1e-6.

    Example:
        >>> ssim, picture = SSIM(), torch.rand(2, 3, 16, 16)
        >>> ssim.update(torch.distributions.Normal(picture, 1.0), picture)
        >>> round(ssim.compute(), 5), ssim.note
        (1.0, '')

    Source: Wang et al. (2004), Eq. 13.
    """

    better = "higher"
    size: ClassVar[int] = 11
    constants: ClassVar[tuple[float, float]] = (0.01**2, 0.03**2)
    sample: ClassVar[bool] = False
    """Covariances over n - 1 in place of n, for a uniform window."""

    def __init__(self, streams: int = 1) -> None:
        super().__init__(streams)
        self.used = self.size

    def compare(self, distribution: Distribution, target: Tensor, answers: Tensor) -> Compared:
        """The similarity of pictures `(C, H, W)`, see `Metric`."""
        height, width = target.shape[-2:]
        self.used = min(self.size, min(height, width) - 1 + min(height, width) % 2)
        weights, n = self.window(self.used), self.used**2
        scale = n / max(n - 1, 1) if self.sample else 1.0
        made, device = distribution.mean, target.device
        dtype = torch.promote_types(made.dtype, torch.float32)
        smooth = Smooth(*(banded(weights, side).to(device, dtype) for side in (height, width)))
        smooth_twice = Smooth(2 * scale * smooth.down, smooth.across)
        c1, c2 = (torch.tensor(c, dtype=dtype, device=device) for c in self.constants)

        def moments(pictures: Tensor) -> Moments:
            return Moments.of(pictures.to(dtype).permute(2, 0, 1, 3).contiguous(), smooth, scale)

        often = answers[answers >= 0].bincount(minlength=len(made)) > 1
        place = often.cumsum(0) - 1
        parts = each(moments, made[often].split(at_once(made)), device) if often.any() else []
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
        """See `Metric`. Where a process has seen no picture, its window is the full one."""
        super().merge()
        self.used = -distributed.agreed(-self.used)[0]

    def score(self, sums: list[float], rows: int) -> float:
        """At most 1."""
        return sums[0] / rows

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


class Smooth(NamedTuple):
    """The weighted mean in the window around each pixel for which it fits, as two products with matrices.

    Pictures are `(H, N, C, W)`, so that each product is a single one for all of them.
    """

    down: Tensor
    """`(H', H)`."""
    across: Tensor
    """`(W', W)`."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """`(H, N, C, W)` to `(H', N, C, W')`."""
        height, n, channels, _ = pictures.shape
        wide = inner(pictures.flatten(0, 2), self.across).view(height, -1)
        return inner(self.down, wide.mT).view(-1, n, channels, len(self.across))


def banded(weights: Tensor, side: int) -> Tensor:
    """The matrix that takes the weighted mean of each run of a side's pixels, `(side - size + 1, side)`.

    Example:
        >>> banded(torch.tensor([1.0, 2.0]), 3)
        tensor([[1., 2., 0.],
                [0., 1., 2.]])
    """
    matrix = weights.new_zeros(side - len(weights) + 1, side)
    for i, row in enumerate(matrix):
        row[i : i + len(weights)] = weights
    return matrix


class Moments(NamedTuple):
    """What the windows of N pictures hold, `(H', N, C, W')` each."""

    centred: Tensor
    """The pictures less their mean, `(H, N, C, W)`: the smaller the numbers, the more exact their covariances."""
    centred_mean: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, pictures: Tensor, smooth: Smooth, scale: float) -> Moments:
        """Those of pictures `(H, N, C, W)`."""
        middle = pictures.mean((0, 3), keepdim=True)
        centred = pictures - middle
        centred_mean = smooth(centred)
        variance = smooth(centred.square()).sub_(centred_mean.square()).mul_(scale)
        return cls(centred, centred_mean, centred_mean + middle, variance)
