"""Counts the operations that a training step must compute, independent of its implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import reference
from polymodal.networks import apply_fused

if TYPE_CHECKING:
    from polymodal.batch import Batch
    from polymodal.models import MAC

Run = Callable[[nn.Module, Tensor], Tensor]
"""Ways to run a network."""

__all__ = ["hide_values", "operations", "run_decoders", "run_encoders", "run_networks"]


def operations(model: MAC, batch: Batch) -> dict[str, float]:
    """Operations of B rows, forward and backward: `encode`, of all encoders, `decode`, of all decoders on one code.

    Those of products and convolutions; a multiplication and an addition are two. Elementwise work, attention and the
    optimiser are not counted, so that what these operations take at the rate of a matrix product is a floor.
    """
    model = reference.stock(model)  # whose layers the counter knows
    z = torch.zeros(len(batch), model.latent_dim)
    with FlopCounterMode(display=False) as counter:
        run_encoders(model, hide_values(model, batch), _call)
    encode = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        run_decoders(model, z, _call)
    return {"encode": float(encode), "decode": float(counter.get_total_flops())}


def run_networks(model: MAC, x: dict[str, Tensor], codes: int) -> None:
    """Encoders once on B rows and decoders on `codes` codes of each, forward and backward, one network after another.

    Nothing else of a step: no joint encoder, no costs, no penalty, no optimiser. The slope of its seconds against
    the number of codes is that of decoding alone; against the number of modalities, an encoder once and a decoder
    as often as there are codes.
    """
    model.zero_grad()
    run_encoders(model, x)
    rows = len(next(iter(x.values())))
    run_decoders(model, torch.randn(codes * rows, model.latent_dim))


def hide_values(model: MAC, batch: Batch) -> dict[str, Tensor]:
    """Values as the encoders take them."""
    return model.schema.hide(batch, model.weight.dtype)


def run_encoders(model: MAC, x: dict[str, Tensor], run: Run = apply_fused) -> None:
    """Runs every encoder's forward and backward pass on prepared values `(B, *shape)`."""
    _run_backward([run(encoder, x[name]) for name, encoder in zip(x, model.encoders, strict=True)])


def run_decoders(model: MAC, z: Tensor, run: Run = apply_fused) -> None:
    """Runs every decoder's forward and backward pass, back to the codes `(N, D)`."""
    z = z.requires_grad_()
    _run_backward([run(decoder, z) for decoder in model.decoders])


def _call(network: nn.Module, x: Tensor) -> Tensor:
    return network(x)


def _run_backward(outputs: list[Tensor]) -> None:
    torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
