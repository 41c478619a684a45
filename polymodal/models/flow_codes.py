"""A distribution of codes that a flow samples, and functions that sample codes from any distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from polymodal.runtime.seeding import check_seed, global_streams, own_streams, row_noise

__all__ = ["FlowCodes", "sample_codes", "sample_rows"]

Size = torch.Size | list[int] | tuple[int, ...]


class FlowCodes(Distribution):
    """A distribution of codes with a point prediction, sampled by a flow. It has no density.

    Arguments:
        mean: Point prediction, `(*, B, D)`; `(D,)` for a distribution without rows, such as a prior.
        transport: Function that maps standard normal noise `(*, B, D)` to codes. It takes the `options` of `draw` as
            keyword arguments, and if `restarts` is not 0, also `restart_noise`, as many tensors `(*, B, D)`.
        restarts: Number of restarts per sample, see `polymodal.networks.CodeFlow`.

    Example:
        >>> q = FlowCodes(torch.zeros(4, 2), lambda noise: 3 + noise)
        >>> q.mean[0], q.sample([5]).shape
        (tensor([0., 0.]), torch.Size([5, 4, 2]))
        >>> torch.equal(q.draw([5], seed=0)[:2, 1:], q.draw([2], seed=0)[:, 1:])
        True
    """

    def __init__(self, mean: Tensor, transport: Callable[..., Tensor], restarts: int = 0) -> None:
        self.point, self.transport, self.restarts = mean, transport, restarts
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Point prediction, `(*, B, D)`; the mean of the samples may differ."""
        return self.point

    def sample(self, sample_shape: Size = ()) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns samples `(*sample_shape, *, B, D)`, with a seed from PyTorch's global generator."""
        return self.draw(sample_shape)

    def draw(
        self, sample_shape: Size = (), *, seed: int | None = None, rows: Sequence[int] | None = None, **options: Any
    ) -> Tensor:
        """Returns samples that depend only on the seed and on a row's number, not on the other rows.

        Arguments:
            sample_shape: Shape of the samples of each row.
            seed: Random seed; by default one from PyTorch's global generator.
            rows: Numbers of the B rows; by default 0 to B - 1. For a distribution without rows, numbers of the samples.
            **options: Options of the flow, such as `steps`, `guidance` and `temperature`.

        Returns:
            `(*sample_shape, *, B, D)`. Leading axes of the batch are conditionings, which share a row's noise.
        """
        shape, axes, size = torch.Size(sample_shape), len(self.batch_shape), self.event_shape[0]
        if seed is None:
            with global_streams():
                seed = int(torch.randint(2**63 - 1, ()))
        count = self.batch_shape[-1] if axes else prod(shape)
        numbers = range(count) if rows is None else rows
        paths = 1 + self.restarts
        noise = row_noise(seed, numbers, prod(shape) if axes else 1, paths * size).to(self.point)
        noise = _reshape_noise(noise, shape, self.batch_shape).expand(*shape, *self.batch_shape, paths * size)
        first, *others = noise.split(size, dim=-1)
        with torch.no_grad():
            return self.transport(first, **(options | ({"restart_noise": others} if others else {})))

    def expand(self, batch_shape: torch.Size | list[int], _instance: Distribution | None = None) -> FlowCodes:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns the same distribution with its batch shape broadcast to `batch_shape`."""
        return FlowCodes(self.point.expand(*batch_shape, *self.event_shape), self.transport, self.restarts)


def sample_codes(
    q: Distribution,
    sample_shape: Size = (),
    *,
    seed: int | None = None,
    rows: Sequence[int] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    temperature: float | None = None,
) -> Tensor:
    """Samples codes from a prior or a posterior.

    Samples of a flow depend only on the seed and on a row's number. Samples of other distributions also depend on the
    other rows; see `sample_rows`.

    Arguments:
        q: The distribution.
        sample_shape: Shape of the samples of each row.
        seed: Random seed; it leaves PyTorch's global random state unchanged. By default the samples come from that
            state.
        rows: Numbers of the rows, on which the samples of a flow depend; by default 0 to B - 1.
        steps: Number of steps of a flow's solver; by default 25.
        guidance: Weight of a flow's condition; by default 1, which samples from the distribution that it has learned.
        temperature: Scale of a flow's noise for rows with a condition; by default 1, which samples from the
            distribution that it has learned.

    Returns:
        `(*sample_shape, *, B, D)`.

    Raises:
        ValueError: `seed`, `steps`, `guidance` or `temperature` is out of its range, or one of the last three is set
            for a distribution without a flow.
    """
    given = {"steps": steps, "guidance": guidance, "temperature": temperature}
    options = {name: value for name, value in given.items() if value is not None}
    if steps is not None and not 1 <= steps <= 10_000:
        raise ValueError(f"steps must be in 1..10000; got {steps}")
    for name, value in {"guidance": guidance, "temperature": temperature}.items():
        if value is not None and not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be finite and not negative; got {value}")
    if seed is not None:
        check_seed(seed)
    if isinstance(q, FlowCodes):
        return q.draw(sample_shape, seed=seed, rows=rows, **options)
    if options:
        raise ValueError(
            f"{' and '.join(options)} belong to a model that samples its codes by a flow, and this one does not; "
            "leave them out, or train the flow of a MAC-WAE with fit(..., only='prior')"
        )
    with global_streams() if seed is None else own_streams(seed):
        return q.sample(torch.Size(sample_shape))


def sample_rows(
    q: Distribution,
    sample_shape: Size = (),
    *,
    seed: int,
    rows: Sequence[int] | None = None,
    **options: Any,
) -> Tensor:
    """Samples codes like `sample_codes`, but a row's samples depend only on the seed and on the row's number.

    They do not depend on the other rows or on the number of rows in a batch. For a distribution without `from_noise`,
    such as a user-defined one, the result is that of `sample_codes`.

    Example:
        >>> from polymodal.distributions import DiagNormal
        >>> q = DiagNormal(torch.zeros(4, 2), torch.ones(4, 2))
        >>> few = DiagNormal(torch.zeros(1, 2), torch.ones(1, 2))
        >>> torch.equal(sample_rows(q, [5], seed=1)[:, 3:], sample_rows(few, [5], seed=1, rows=[3]))
        True
    """
    asked = any(value is not None for value in options.values())
    if isinstance(q, FlowCodes) or asked or not hasattr(q, "from_noise"):
        return sample_codes(q, sample_shape, seed=seed, rows=rows, **options)
    check_seed(seed)
    shape = torch.Size(sample_shape)
    numbers = range(q.batch_shape[-1]) if rows is None else rows
    noise = row_noise(seed, numbers, prod(shape), q.noise_dim)  # pyright: ignore[reportAttributeAccessIssue]
    noise = _reshape_noise(noise.to(q.mean.device), shape, q.batch_shape)
    with torch.no_grad():
        return q.from_noise(noise.expand(*shape, *q.batch_shape, -1))  # pyright: ignore[reportAttributeAccessIssue]


def _reshape_noise(noise: Tensor, shape: torch.Size, batch: torch.Size) -> Tensor:
    """Reshapes noise `(B, S, n)` to `(*shape, 1, .., B, n)`, which broadcasts to a batch shape `(*, B)`."""
    return noise.movedim(0, 1).reshape(*shape, *[1] * (len(batch) - 1), *batch[-1:], noise.shape[-1])
