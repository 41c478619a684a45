"""The laws of a regulariser, as checks that can be run on a custom one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from polymodal.distributions import DiagNormal
from polymodal.objectives.regularizers import Regularizer, make_regularizer, read_regularizer, write_regularizer

__all__ = ["check_regularizer"]

CONDITIONINGS, ROWS, DIMENSIONS = 3, 200, 4
"""Sizes of the test codes."""
SMALL = 0.25
"""Largest penalty of samples from the prior, as a share of the penalty of codes that are two deviations away."""


def check_regularizer(regularizer: str | Regularizer | type[Regularizer]) -> None:
    """Checks that a regulariser fulfils the laws that models rely on.

    The prior is the standard normal distribution, in float64.

    1. Its text form, such as "name(3)", gives an equal regulariser.
    2. It returns one penalty per conditioning.
    3. The penalty is small for samples from the prior, compared with codes two standard deviations away.
    4. It is differentiable: codes that are not from the prior have a finite gradient that is not zero everywhere.
    5. It is finite for two rows.
    6. The order of the rows does not matter, for the same random numbers.

    Arguments:
        regularizer: The regulariser; or its text form, such as "mmd(2)", if its class is in REGULARIZERS; or its class,
            which is then tested with its default arguments.

    Raises:
        AssertionError: A law does not hold. The message names it and the values.

    Example:
        >>> check_regularizer("mmd(2)")
        >>> class Opposite(type(make_regularizer("mmd"))):
        ...     def __call__(self, posterior, z, prior):
        ...         return -super().__call__(posterior, z, prior)
        >>> check_regularizer(Opposite)
        Traceback (most recent call last):
        AssertionError: the regulariser Opposite(bandwidth=1.0) breaks a law: ... must be small, ...
    """
    penalty = regularizer() if isinstance(regularizer, type) else make_regularizer(regularizer)
    _check_text(penalty)
    with torch.random.fork_rng():
        _check_shape(penalty)
        _check_prior(penalty)
        _check_gradient(penalty)
        _check_two_rows(penalty)
        _check_order(penalty)


class Codes(NamedTuple):
    """A posterior with its samples `(K, B, D)`, which are the prior's, moved."""

    posterior: DiagNormal
    z: Tensor

    @classmethod
    def sample(cls, shift: float, rows: int = ROWS) -> Codes:
        """Samples codes from normal distributions around `shift` with standard deviation 1."""
        torch.manual_seed(0)
        mean = torch.full((CONDITIONINGS, rows, DIMENSIONS), shift, dtype=torch.float64)
        posterior = DiagNormal(mean, torch.ones_like(mean))
        return cls(posterior, posterior.rsample())

    def penalize(self, penalty: Regularizer) -> Tensor:
        """Computes the penalty, always with the same random numbers."""
        torch.manual_seed(1)
        zero = torch.zeros(DIMENSIONS, dtype=torch.float64)
        return penalty(self.posterior, self.z, DiagNormal(zero, torch.ones_like(zero)))


def _check_text(penalty: Regularizer) -> None:
    text = write_regularizer(penalty, "name")
    again = read_regularizer(text, {"name": type(penalty)})
    if again != penalty:
        _fail(penalty, f"its text form {text!r} must give an equal regulariser; got {again!r}")


def _check_shape(penalty: Regularizer) -> None:
    value = Codes.sample(1.0).penalize(penalty)
    if value.shape != (CONDITIONINGS,):
        rule = f"the penalty of codes ({CONDITIONINGS}, {ROWS}, {DIMENSIONS}) must be one per conditioning"
        _fail(penalty, f"{rule}, ({CONDITIONINGS},); got {tuple(value.shape)}")


def _check_prior(penalty: Regularizer) -> None:
    near, far = (Codes.sample(shift).penalize(penalty) for shift in (0.0, 2.0))
    if not (near.isfinite().all() and far.isfinite().all() and (near.abs() <= SMALL * far).all()):
        rule = f"the penalty of samples from the prior must be small, at most {SMALL:.0%} of that two deviations away"
        _fail(penalty, f"{rule}; got {near.tolist()} and {far.tolist()}")


def _check_gradient(penalty: Regularizer) -> None:
    codes = Codes.sample(1.0)
    mean = codes.posterior.mean.clone().requires_grad_()
    noise = codes.z - codes.posterior.mean
    value = Codes(DiagNormal(mean, torch.ones_like(mean)), mean + noise).penalize(penalty)
    if not value.requires_grad:
        _fail(penalty, "the penalty must be differentiable; got a value without a gradient")
    (gradient,) = torch.autograd.grad(value.sum(), mean)
    if not (gradient.isfinite().all() and gradient.any()):
        _fail(penalty, f"the gradient must be finite and not zero everywhere; got norm {float(gradient.norm())!r}")


def _check_two_rows(penalty: Regularizer) -> None:
    value = Codes.sample(1.0, rows=2).penalize(penalty)
    if not value.isfinite().all():
        _fail(penalty, f"the penalty of two rows must be finite; got {value.tolist()}")


def _check_order(penalty: Regularizer) -> None:
    codes = Codes.sample(1.0)
    order = torch.randperm(ROWS)
    one, other = (Codes(DiagNormal(z, torch.ones_like(z)), z).penalize(penalty) for z in (codes.z, codes.z[:, order]))
    if not torch.allclose(one, other, rtol=1e-9, atol=1e-12):
        _fail(penalty, f"the order of the rows must not matter; got {one.tolist()} and {other.tolist()}")


def _fail(penalty: Regularizer, law: str) -> None:
    raise AssertionError(f"the regulariser {penalty!r} breaks a law: {law}")
