"""Tests networks on two rows before a model uses them, to detect wrong shapes early."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from polymodal.io.untrusted import DTYPES
from polymodal.networks import evaluating
from polymodal.runtime.formatting import brief
from polymodal.runtime.seeding import own_streams

if TYPE_CHECKING:
    from polymodal.modalities.base import Modality

__all__ = ["check_decoder", "check_encoder", "skip_network_checks"]

_TRYING = ContextVar("trying", default=True)


@contextmanager
def skip_network_checks() -> Iterator[None]:
    """Disables the tests within a context. Networks of a file were tested before the file was written."""
    token = _TRYING.set(False)
    try:
        yield
    finally:
        _TRYING.reset(token)


def check_encoder(modality: Modality, encoder: nn.Module, features: int) -> nn.Module:
    """Returns the encoder after checking that it maps two blanks `(2, *shape)` to `(2, features)`.

    Raises:
        ValueError: It does not.
    """
    rule = (
        f"the encoder of {_describe_network(modality)} must be a network from values {_axes(modality.shape)} to "
        f"(N, {features})"
    )
    with _trial(encoder, rule) as trying:
        if trying:
            _expect((2, features), encoder(_blanks(modality)), "two blanks")
    return encoder


def check_decoder(modality: Modality, decoder: nn.Module, latent_dim: int) -> nn.Module:
    """Returns the decoder after checking that it maps two codes `(2, latent_dim)` to a distribution of two values.

    Raises:
        ValueError: It does not, or its costs for blanks are not two finite numbers.
    """
    rule = (
        f"the decoder of {_describe_network(modality)} must be a network from codes (N, {latent_dim}) to parameters of "
        f"a distribution of values {_axes(modality.shape)}, with finite costs (N,)"
    )
    with _trial(decoder, rule) as trying:
        if trying:
            _try_parameters(modality, decoder(torch.zeros(2, latent_dim)))
    return decoder


def _try_parameters(modality: Modality, parameters: Any) -> None:
    if not isinstance(parameters, Tensor):
        raise TypeError(f"two codes gave {type(parameters).__name__}, no tensor")
    with _prefix_errors(f"with parameters {tuple(parameters.shape)} for two codes"):
        distribution, x = modality.distribution(parameters), _blanks(modality)
        if (distribution.batch_shape, distribution.event_shape) != ((2,), modality.shape):
            raise ValueError(f"it has {tuple(distribution.batch_shape)} values {tuple(distribution.event_shape)}")
        for name, compute in (("cost", modality.compute_cost), ("nll", modality.nll)):
            costs = compute(parameters, x)
            _expect((2,), costs, f"{name} of two blanks")
            if not costs.isfinite().all():
                raise ValueError(f"{name} of two blanks is {costs.tolist()}")


@contextmanager
def _trial(network: Any, rule: str) -> Iterator[bool]:
    """Tests a network in evaluation mode, without gradients and without changing the global random state.

    It yields whether to run the network: False within `skip_network_checks`, and on the meta device.
    """
    if not isinstance(network, nn.Module):
        raise ValueError(f"{rule}; got {type(network).__name__}, no torch.nn.Module")
    trying = _TRYING.get() and torch.get_default_device().type != "meta"
    with evaluating(network), torch.no_grad(), own_streams(0), _prefix_errors(rule):
        yield trying
        for name, value in network.state_dict(keep_vars=True).items():  # detaching each tensor takes time
            if not (isinstance(value, Tensor) and value.dtype in DTYPES.values()):
                kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"its state {name!r} is {kind}, which a file of tensors cannot hold")


@contextmanager
def _prefix_errors(where: str) -> Iterator[None]:
    """Converts every error within the context to a ValueError that begins with `where`."""
    try:
        yield
    except Exception as error:  # a user's network may raise anything
        raise ValueError(f"{where}; {brief(error)}") from error


def _expect(shape: tuple[int, ...], got: Any, of: str) -> None:
    if not isinstance(got, Tensor):
        raise TypeError(f"{of} gave {type(got).__name__}, no tensor")
    if tuple(got.shape) != shape:
        raise ValueError(f"{of} gave {tuple(got.shape)}")


def _blanks(modality: Modality) -> Tensor:
    """Returns two prepared blanks, `(2, *shape)`."""
    blank = modality.prepare(modality.blank, torch.get_default_dtype())
    return blank.expand(2, *modality.shape).clone()


def _describe_network(modality: Modality) -> str:
    network = "" if modality.network is None else f" that {modality.network!r} makes"
    return f"{type(modality).__name__}{network}"


def _axes(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['N', *map(str, shape)])}{'' if shape else ','})"
