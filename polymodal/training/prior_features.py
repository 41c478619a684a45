"""Features and latent codes of all rows, computed once for the training of a flow."""

from __future__ import annotations

from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from polymodal.runtime.memory import measure_free_memory

if TYPE_CHECKING:
    from polymodal.models import MAC
    from polymodal.table.table import Table

__all__ = ["Features", "compute_features", "compute_moments"]

BATCH = 512
"""Rows that are encoded at once."""


class Features(NamedTuple):
    """Outputs of the encoders for all rows of a table."""

    known: Tensor
    """Features of each modality, `(N, M, F)`."""
    codes: Tensor
    """Posterior means given all observed modalities and, for a stochastic encoder, standard deviations,
    `(N, 1 or 2, D)`."""
    observed: Tensor
    """Observed mask, `(N, M)` bool, on the CPU."""


def compute_features(model: MAC, blanks: Tensor, table: Table, device: torch.device) -> Features:
    """Computes the features and codes of each row; stores them in files on disk if memory is insufficient.

    Arguments:
        model: Trained model.
        blanks: Features of missing modalities, from `MAC.encode_blanks`.
        table: N rows.
        device: Device of the model.
    """
    known, codes, observed, start = torch.empty(0), torch.empty(0), [], 0
    for batch in table.batches(BATCH, device=device):
        some = model.encode_modalities(batch)
        posterior = model.fuse(some, blanks, batch.observed)
        spread = [posterior.variance.sqrt()] if model.stochastic else []
        code = torch.stack([posterior.mean, *spread], dim=1)
        if not start:
            known, codes = _allocate(len(table), some), _allocate(len(table), code)
        rows = slice(start, start := start + len(some))
        known[rows], codes[rows] = some, code
        observed.append(batch.observed.cpu())
    return Features(known, codes, torch.cat(observed))


def compute_moments(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean and standard deviation of posterior samples of the codes, `(D,)` each.

    The standard deviation of an element that does not vary is replaced by 1.
    """
    first = second = torch.zeros((), dtype=torch.float64)
    for part in codes.split(2**16):
        mean, *spread = part.cpu().double().unbind(1)
        first = first + mean.sum(0)
        second = second + sum((one.square() for one in spread), mean.square()).sum(0)
    mean = first / len(codes)
    scale = (second / len(codes) - mean.square()).clamp(min=0).sqrt()
    return mean, torch.where(scale > 1e-6 * scale.max(), scale, 1.0)


def _allocate(rows: int, like: Tensor) -> Tensor:
    """Allocates an uninitialised tensor for a number of rows.

    It is on the device if that has enough free memory, otherwise in main memory, otherwise in a temporary file that
    disappears when the process ends.
    """
    shape, size = (rows, *like.shape[1:]), rows * like[0].numel() * like.element_size()
    for device in dict.fromkeys([like.device, torch.device("cpu")]):
        if size <= measure_free_memory(device) / 2:
            return torch.empty(shape, dtype=like.dtype, device=device)
    with NamedTemporaryFile(prefix="polymodal-") as file:  # the mapping stays valid after the file is removed
        file.truncate(size)
        return torch.from_file(file.name, shared=True, size=size, dtype=torch.uint8).view(like.dtype).view(shape)
