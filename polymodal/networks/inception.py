"""The Inception-v3 network whose features define the Fréchet inception distance (FID) in the literature."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Inception"]

SIDE = 299
"""Height and width of the images that it was trained on, in pixels."""
CLASSES = 1008
"""Number of classes: those of ImageNet in the TensorFlow network, and eight unused ones."""

AVERAGE = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
LARGEST = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
HALVING = partial(F.max_pool2d, kernel_size=3, stride=2)

POOLED = "branch_pool"
"""Name of the branch that reads the pooled input; a block without this branch outputs the pooled input."""

Branches = dict[str, str]
"""Convolutions of each branch by name, in order, as output channels and kernel height x width. A bar separates two
convolutions with the same input."""
DOUBLE = {"branch3x3dbl": "64:1x1 96:3x3 96:3x3"}


def _fine(pooled: int) -> Branches:
    return {"branch1x1": "64:1x1", "branch5x5": "48:1x1 64:5x5", **DOUBLE, POOLED: f"{pooled}:1x1"}


def _build_7x7_branches(n: int) -> Branches:
    return {
        "branch1x1": "192:1x1",
        "branch7x7": f"{n}:1x1 {n}:1x7 192:7x1",
        "branch7x7dbl": f"{n}:1x1 {n}:7x1 {n}:1x7 {n}:7x1 192:1x7",
        POOLED: "192:1x1",
    }


COARSE = {
    "branch1x1": "320:1x1",
    "branch3x3": "384:1x1 384:1x3|384:3x1",
    "branch3x3dbl": "448:1x1 384:3x3 384:1x3|384:3x1",
    POOLED: "192:1x1",
}
BLOCKS: dict[str, tuple[Branches, Callable[[Tensor], Tensor]]] = {
    "Mixed_5b": (_fine(32), AVERAGE),
    "Mixed_5c": (_fine(64), AVERAGE),
    "Mixed_5d": (_fine(64), AVERAGE),
    "Mixed_6a": ({"branch3x3": "384:3x3", **DOUBLE}, HALVING),
    "Mixed_6b": (_build_7x7_branches(128), AVERAGE),
    "Mixed_6c": (_build_7x7_branches(160), AVERAGE),
    "Mixed_6d": (_build_7x7_branches(160), AVERAGE),
    "Mixed_6e": (_build_7x7_branches(192), AVERAGE),
    "Mixed_7a": ({"branch3x3": "192:1x1 320:3x3", "branch7x7x3": "192:1x1 192:1x7 192:7x1 192:3x3"}, HALVING),
    "Mixed_7b": (COARSE, AVERAGE),
    "Mixed_7c": (COARSE, LARGEST),
}
"""Branches and pooling of each block, in order."""


class Inception(nn.Module):
    """Maps images to the 2,048 features after the last average pooling: `(N, 3, H, W)` in [0, 1] to `(N, 2048)`.

    Its tensors have the names and shapes of the published file `pt_inception-2015-12-05-6726825d`. These include the
    last layer, which the features do not depend on.

    Example:
        >>> Inception().eval()(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 2048])

    Source: Szegedy et al. (2016), "Rethinking the Inception Architecture for Computer Vision", in the version of
    TensorFlow's network of 2015-12-05, which Heusel et al. (2017) use, and of its port to PyTorch by pytorch-fid.
    Differences from torchvision's Inception v3: average pooling does not count the padding, the last block uses max
    pooling, there are 1,008 classes and no auxiliary classifier, and images are not normalised with ImageNet's mean
    and standard deviation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = Convolution(32, 64, (3, 3), padded=True)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = Convolution(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = Convolution(80, 192, (3, 3))
        self.maxpool2 = nn.MaxPool2d(3, 2)
        channels = 192
        for name, (branches, pool) in BLOCKS.items():
            block = Block(channels, branches, pool)
            self.add_module(name, block)
            channels = block.channels
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images `(N, 3, H, W)` in [0, 1], of any size, to features `(N, 2048)`."""
        x = 2 * F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1
        for part in [*self.children()][:-1]:
            x = part(x)
        return x.mean((2, 3))


class Block(nn.Module):
    """Parallel branches whose outputs are concatenated along the channels, the pooled one last.

    Arguments:
        channels: Number of input channels.
        branches: Convolutions of each branch, see `Branches`.
        pool: Pooling of the input for the last branch. If it halves height and width, so does the last convolution of
            each branch.

    Attributes:
        channels: Number of output channels.
    """

    def __init__(self, channels: int, branches: Mapping[str, str], pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool, self.steps, halves = pool, {}, pool is HALVING
        self.channels = 0 if POOLED in branches else channels
        for branch, text in branches.items():
            steps, width = _steps(branch, text), channels
            for number, step in enumerate(steps, 1):
                last = halves and number == len(steps)
                for name, (out, *kernel) in step.items():
                    self.add_module(name, Convolution(width, out, kernel, stride=1 + last, padded=not last))
                width = sum(out for out, *_ in step.values())
            self.steps[branch] = [[*step] for step in steps]
            self.channels += width

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(N, C, H, W)` to `(N, channels, H, W)`, or to about half the height and width."""
        pooled, parts = self.pool(x), []
        for branch, steps in self.steps.items():
            y = pooled if branch == POOLED else x
            for names in steps:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1)
            parts.append(y)
        return torch.cat(parts if POOLED in self.steps else [*parts, pooled], 1)


class Convolution(nn.Module):
    """A convolution without bias, batch normalisation and ReLU: `(N, channels, H, W)` to `(N, out, H', W')`."""

    def __init__(
        self, channels: int, out: int, kernel: Sequence[int], *, stride: int = 1, padded: bool = False
    ) -> None:
        super().__init__()
        height, width = kernel
        padding = (height // 2, width // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(channels, out, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the convolution, the normalisation and the ReLU."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _steps(branch: str, text: str) -> list[dict[str, list[int]]]:
    """Parses a branch: for each step, the names of its convolutions with output channels and kernel size."""
    steps = [step.split("|") for step in text.split()]
    made = []
    for number, step in enumerate(steps, 1):
        name = f"{branch}_{number}" if len(steps) > 1 else branch
        letters = "ab" if len(step) > 1 else ("",)
        made.append(
            {name + letter: [*map(int, re.split("[:x]", one))] for letter, one in zip(letters, step, strict=True)}
        )
    return made
