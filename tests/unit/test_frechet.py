"""The Fréchet distance is that of closed forms, of SciPy and of torchmetrics, on singular covariances too."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import _compute_fid

from polymodal.evaluation import frechet_distance
from polymodal.evaluation.frechet import Moments


def gaussian(size, seed, rank=None):
    """A mean and a covariance of some rank."""
    draws = np.random.default_rng(seed)
    factor = draws.normal(size=(size, size if rank is None else rank))
    return draws.normal(size=size), factor @ factor.T


def scipys(mean1, cov1, mean2, cov2):
    return np.square(mean1 - mean2).sum() + np.trace(cov1 + cov2 - 2 * scipy.linalg.sqrtm(cov1 @ cov2).real)


@pytest.mark.parametrize("size", [1, 2, 30])
def test_it_is_scipys_and_torchmetrics(size):
    one, other = gaussian(size, 0), gaussian(size, 1)
    ours = frechet_distance(*one, *other)
    assert ours == pytest.approx(scipys(*one, *other), rel=1e-9)
    assert ours == pytest.approx(float(_compute_fid(*map(torch.from_numpy, (*one, *other)))), rel=1e-9)


@pytest.mark.parametrize("zeros", [0, 1, 12])
def test_it_is_the_closed_form_of_covariances_that_commute(zeros):
    """With the same eigenvectors: |m1 - m2|^2 + sum (sqrt a - sqrt b)^2."""
    draws = np.random.default_rng(0)
    vectors = np.linalg.qr(draws.normal(size=(20, 20)))[0]
    a, b = draws.gamma(2.0, size=(2, 20))
    a[:zeros], b[zeros // 2 : zeros // 2 + zeros] = 0, 0
    means = draws.normal(size=(2, 20))
    expected = np.square(means[0] - means[1]).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    ours = frechet_distance(means[0], vectors * a @ vectors.T, means[1], vectors * b @ vectors.T)
    assert ours == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("rank", [None, 3, 0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_gaussian_is_at_no_distance_from_itself(rank, scale):
    mean, cov = gaussian(25, 0, rank)
    assert frechet_distance(mean, scale * cov, mean, scale * cov) <= 1e-12 * scale * max(1.0, np.trace(cov))


@pytest.mark.parametrize("rank", [None, 3])
def test_it_is_the_same_both_ways_and_the_square_of_a_distance(rank):
    a, b, c = (gaussian(12, seed, rank) for seed in range(3))
    assert frechet_distance(*a, *b) == pytest.approx(frechet_distance(*b, *a), rel=1e-12)
    there, on, straight = (frechet_distance(*one, *other) ** 0.5 for one, other in ((a, b), (b, c), (a, c)))
    assert straight <= there + on


def test_it_scales_with_the_square_of_the_unit_and_turns_with_the_axes():
    one, other = gaussian(6, 0), gaussian(6, 1)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))[0]
    moved = [(3 * turn @ mean + 5, 9 * turn @ cov @ turn.T) for mean, cov in (one, other)]
    assert frechet_distance(*moved[0], *moved[1]) == pytest.approx(9 * frechet_distance(*one, *other))


def test_of_many_draws_it_is_that_of_the_gaussians():
    one, other = gaussian(4, 0), gaussian(4, 1)
    draws = np.random.default_rng(0)
    seen = []
    for mean, cov in (one, other):
        moments = Moments()
        for _ in range(20):
            moments.add(torch.from_numpy(draws.multivariate_normal(mean, cov, 5_000)))
        seen += [moments.mean, moments.covariance]
    assert frechet_distance(*seen) == pytest.approx(scipys(*one, *other), rel=0.02)


@pytest.mark.parametrize("far", [0.0, 1e6])
@pytest.mark.parametrize("cuts", [[7], [1, 2, 4], [0, 7]])
def test_moments_in_batches_are_numpys_of_all(far, cuts):
    vectors = far + np.random.default_rng(0).normal(size=(7, 3))
    moments = Moments()
    for part in torch.from_numpy(vectors).split(cuts):
        moments.add(part)
    assert moments.rows == 7
    np.testing.assert_allclose(moments.mean, vectors.mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.covariance, np.cov(vectors.T), rtol=1e-7)
