"""Converts pen strokes to curves and to images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Strokes", "curves", "render"]

CHUNK = 256
"""Number of handwriting samples that are rendered at once, so their images fit in the processor cache."""


class Strokes(NamedTuple):
    """Concatenated handwriting samples of different lengths.

    Between two strokes of a sample, the pen is lifted.
    """

    points: np.ndarray
    """Positions of the pen, `(P, 2)`, x to the right and y upwards, in any unit."""
    stroke: np.ndarray
    """Index of the stroke within its sample for each position, `(P,)` integers."""
    lengths: np.ndarray
    """Number of positions of each sample, `(N,)` integers, at least 1; their sum is P."""

    @property
    def starts(self) -> np.ndarray:
        """Index of the first position of each sample, `(N,)`."""
        return np.cumsum(self.lengths, dtype=np.int64) - self.lengths


def curves(strokes: Strokes, count: int = 100) -> np.ndarray:
    """Resamples each handwriting sample to points at equal distances along its path, scaled to [-1, 1].

    Pen lifts are part of the path as straight lines, so a curve is one continuous motion.

    Arguments:
        strokes: N handwriting samples.
        count: Number of points of a curve, including the first and the last position.

    Returns:
        `(N, 2, count)` float64, x and y. The bounding box is centred at 0, and its longer side spans [-1, 1]. All
        values are 0 if the pen never moves.

    Example:
        >>> strokes = Strokes(np.array([[0, 0], [0, 30], [10, 30]]), np.array([0, 0, 0]), np.array([3]))
        >>> curves(strokes, 5).round(2).tolist()
        [[[-0.33, -0.33, -0.33, -0.33, 0.33], [-1.0, -0.33, 0.33, 1.0, 1.0]]]
    """
    points, starts = strokes.points.astype(np.float64), strokes.starts
    steps = np.hypot(*np.diff(points, axis=0, prepend=points[:1]).T)
    way = np.cumsum(steps)  # distance along all samples; steps between samples are not used
    first, last = way[starts][:, None], way[starts + strokes.lengths - 1][:, None]
    places = np.minimum(first + (last - first) * np.linspace(0, 1, count), last)  # rounding must not exceed the sample
    return _rescale_paths(np.stack([np.interp(places, way, side) for side in points.T], 1))


def render(strokes: Strokes, *, side: int = 28, box: float = 18.0, width: float = 2.0) -> Tensor:
    """Renders each handwriting sample as an image: light on black, upright, with the original aspect ratio.

    No line is drawn where the pen is lifted. The brightness of a pixel approximates the part of it that a line of this
    width covers, computed from the distance of its centre to the nearest point of a stroke. The longer side of the ink
    is `box + width` pixels, and the ink is centred in the image.

    Arguments:
        strokes: N handwriting samples.
        side: Side of an image in pixels.
        box: Longer side of the pen's path in pixels.
        width: Width of a stroke in pixels.

    Returns:
        `(N, 1, side, side)` uint8.

    Example:
        >>> strokes = Strokes(np.array([[0, 0], [0, 9]]), np.array([0, 0]), np.array([2]))
        >>> render(strokes, side=6, box=2)[0, 0].tolist()[2]
        [0, 0, 255, 255, 0, 0]
    """
    begin, end = _lines(strokes, side, box)
    images = torch.empty(len(strokes.lengths), 1, side, side, dtype=torch.uint8)
    order = np.argsort(-strokes.lengths.astype(np.int64), kind="stable")  # chunks of similar lengths
    for rows in np.array_split(order, range(CHUNK, len(order), CHUNK)):
        lengths = strokes.lengths[rows]
        places = strokes.starts[rows] + np.minimum(np.arange(lengths[0])[:, None], lengths - 1)  # (lines, n)
        ink = width / 2 + 0.5 - _distances(begin[places], end[places], side)
        images[rows, 0] = (ink.clamp(0, 1) * 255).round().to(torch.uint8)
    return images


def _rescale_paths(path: np.ndarray) -> np.ndarray:
    """Centres the bounding boxes of paths `(N, 2, P)` at 0, and scales their longer sides to [-1, 1]."""
    low, high = path.min(2, keepdims=True), path.max(2, keepdims=True)
    half = (high - low).max(1, keepdims=True) / 2
    return np.clip((path - (low + high) / 2) / np.where(half > 0, half, 1), -1, 1)  # clips rounding errors only


def _lines(strokes: Strokes, side: int, box: float) -> tuple[Tensor, Tensor]:
    """Returns both ends of the line that begins at each position, `(P, 2)` each, in pixels, with y downwards.

    The line ends at the next position of the stroke. The line of the last position of a stroke is a point.
    """
    points, starts = strokes.points.astype(np.float64), strokes.starts
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    size = (high - low).max(1, keepdims=True)
    owner = np.repeat(np.arange(len(starts)), strokes.lengths)
    scale = box / np.where(size > 0, size, 1)
    pixels = side / 2 + ((points - (low + high)[owner] / 2) * scale[owner]) * [1, -1]
    onwards = (np.diff(owner) == 0) & (np.diff(strokes.stroke.astype(np.int64)) == 0)
    ends = pixels.copy()
    ends[:-1][onwards] = pixels[1:][onwards]
    return torch.from_numpy(pixels).float(), torch.from_numpy(ends).float()


def _distances(begin: Tensor, end: Tensor, side: int) -> Tensor:
    """Computes distances from pixel centres to the nearest of n samples' lines `(lines, n, 2)`: `(n, side, side)`."""
    centre = torch.arange(side) + 0.5
    nearest = torch.full((begin.shape[1], side, side), torch.inf)
    for start, along in zip(begin, end - begin, strict=True):
        x, y = ((centre - place[:, None]) for place in start.T)  # (n, side) each
        dx, dy = (each[:, None, None] for each in along.T)
        part = torch.addcmul(y[:, :, None] * dy, x[:, None, :], dx)  # (n, side, side), rows are y
        part.div_((dx.square() + dy.square()).clamp(min=1e-12)).clamp_(0, 1)
        away = (x[:, None, :] - part * dx).square_()
        away.add_((y[:, :, None] - part.mul_(dy)).square_())
        torch.minimum(nearest, away, out=nearest)
    return nearest.sqrt_()
