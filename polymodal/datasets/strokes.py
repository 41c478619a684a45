"""Pen strokes as curves and as pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Strokes", "curves", "pictures"]

CHUNK = 256
"""Handwritings that are drawn at once: their pictures fit in a processor's cache."""


class Strokes(NamedTuple):
    """Handwritings of different lengths, one behind another.

    Between two strokes of a handwriting the pen was lifted.
    """

    points: np.ndarray
    """Positions of the pen, `(P, 2)`, x to the right and y upwards, in any unit."""
    stroke: np.ndarray
    """Of which stroke of its handwriting each position is, `(P,)` integers."""
    lengths: np.ndarray
    """Positions of each handwriting, `(N,)` integers, at least 1; their sum is P."""

    @property
    def starts(self) -> np.ndarray:
        """The first position of each handwriting, `(N,)`."""
        return np.cumsum(self.lengths, dtype=np.int64) - self.lengths


def curves(strokes: Strokes, count: int = 100) -> np.ndarray:
    """Each handwriting as so many points, equally far from one another along its path, its larger side in [-1, 1].

    A lift of the pen is part of the path, as a straight line: a curve is one continuous motion, whose points are
    equally far apart everywhere.

    Arguments:
        strokes: N handwritings.
        count: Points of a curve, from the first position to the last.

    Returns:
        `(N, 2, count)` float64, x and y: the middle of either side is at 0, and the larger one goes from -1 to 1.
        All is 0 where the pen never moved.

    Example:
        >>> strokes = Strokes(np.array([[0, 0], [0, 30], [10, 30]]), np.array([0, 0, 0]), np.array([3]))
        >>> curves(strokes, 5).round(2).tolist()
        [[[-0.33, -0.33, -0.33, -0.33, 0.33], [-1.0, -0.33, 0.33, 1.0, 1.0]]]
    """
    points, starts = strokes.points.astype(np.float64), strokes.starts
    steps = np.hypot(*np.diff(points, axis=0, prepend=points[:1]).T)
    way = np.cumsum(steps)  # through all handwritings; what lies between two of them is on neither's part
    first, last = way[starts][:, None], way[starts + strokes.lengths - 1][:, None]
    places = np.minimum(first + (last - first) * np.linspace(0, 1, count), last)  # rounding leads to no neighbour
    return _scaled(np.stack([np.interp(places, way, side) for side in points.T], 1))


def pictures(strokes: Strokes, *, side: int = 28, box: float = 18.0, width: float = 2.0) -> Tensor:
    """Each handwriting as a picture, light on black, upright, in its proportions; no ink where the pen was lifted.

    A pixel is as light as a line of this width covers it, told by how far its centre is from the nearest place
    of a stroke. The larger side of the ink has `box + width` pixels, and its middle is the picture's.

    Arguments:
        strokes: N handwritings.
        side: Of a picture, in pixels.
        box: The larger side of the pen's path, in pixels.
        width: Of a stroke, in pixels.

    Returns:
        `(N, 1, side, side)` uint8.

    Example:
        >>> strokes = Strokes(np.array([[0, 0], [0, 9]]), np.array([0, 0]), np.array([2]))
        >>> pictures(strokes, side=6, box=2)[0, 0].tolist()[2]
        [0, 0, 255, 255, 0, 0]
    """
    begin, end = _lines(strokes, side, box)
    drawn = torch.empty(len(strokes.lengths), 1, side, side, dtype=torch.uint8)
    order = np.argsort(-strokes.lengths.astype(np.int64), kind="stable")  # those drawn together are of like lengths
    for rows in np.array_split(order, range(CHUNK, len(order), CHUNK)):
        lengths = strokes.lengths[rows]
        places = strokes.starts[rows] + np.minimum(np.arange(lengths[0])[:, None], lengths - 1)  # (lines, n)
        ink = width / 2 + 0.5 - _distances(begin[places], end[places], side)
        drawn[rows, 0] = (ink.clamp(0, 1) * 255).round().to(torch.uint8)
    return drawn


def _scaled(path: np.ndarray) -> np.ndarray:
    """Paths `(N, 2, P)`, the middle of either side at 0, the larger side from -1 to 1."""
    low, high = path.min(2, keepdims=True), path.max(2, keepdims=True)
    half = (high - low).max(1, keepdims=True) / 2
    return np.clip((path - (low + high) / 2) / np.where(half > 0, half, 1), -1, 1)  # clipped of rounding alone


def _lines(strokes: Strokes, side: int, box: float) -> tuple[Tensor, Tensor]:
    """Both ends of the line that begins at each position, `(P, 2)` each, in pixels, y downwards.

    It leads to the next position of the stroke; that of a stroke's last position is a dot.
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
    """From each pixel's centre to the nearest place of n drawings' lines `(lines, n, 2)`: `(n, side, side)`."""
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
