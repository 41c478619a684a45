"""Halves of a published test set."""

import numpy as np
import pytest
import torch

from polymodal.datasets.splits import halves


@pytest.mark.parametrize("rows", [0, 1, 10, 1001])
def test_halves_are_apart_whole_and_balanced(rows):
    classes = torch.from_numpy(np.random.default_rng(rows).integers(0, 7, rows))
    first, second = halves(classes)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(rows))
    assert 0 <= len(first) - len(second) <= 1
    counts = [classes[half].bincount(minlength=7) for half in (first, second)]
    assert (counts[0] - counts[1]).abs().max() <= 1


def test_halves_are_shuffled_once():
    classes = torch.arange(100) // 50
    assert torch.equal(halves(classes)[0], halves(classes)[0])
    assert not torch.equal(halves(classes)[0], halves(classes, seed=1)[0])
    first, _ = halves(classes)
    assert 5 < (first < 25).sum() < 20  # not by position
