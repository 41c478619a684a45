"""Inception-v3 features of images, with weights from a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polymodal.io import checkpoint
from polymodal.models.base import answering
from polymodal.networks import Inception

if TYPE_CHECKING:
    from polymodal.evaluation.frechet import Features

__all__ = ["load_inception"]

AT_ONCE = 32
"""Images per pass; the activations of the first layers take 6 MB per image."""
COUNTER = "num_batches_tracked"
"""Suffix of buffers that files from before 2018 do not have, and that do not affect the features."""
SUFFIX = ".safetensors"


def load_inception(path: str | Path, device: torch.device | str = "cpu") -> Features:
    """Loads Inception-v3 for the Fréchet inception distance (FID), for use in `evaluate(..., features=...)`.

    Arguments:
        path: Safetensors file with the tensors of pytorch-fid's `pt_inception-2015-12-05-6726825d.pth`, which is
            not part of this library. The original file is a pickle and is never read; the error that is raised for it
            explains how to convert it.
        device: Device of the network.

    Returns:
        Function from images `(N, 3, H, W)`, floats in [0, 1], of any size, to features `(N, 2048)` on the images'
        device. An image's features do not depend on the other images.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a safetensors file, has the tensors of another network, or has numbers that are not
            finite.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file(Inception().state_dict(), f"{folder}/random.safetensors")
        ...     features = load_inception(f"{folder}/random.safetensors")
        >>> features(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 2048])

    Source: Heusel et al. (2017); pytorch-fid. Predicted images are used in floating point, while programs that compare
    image files use them rounded to 8 bits.
    """
    path = Path(path)
    _refuse_pickle(path)
    with torch.device("meta"):
        network = Inception()
    network.load_state_dict(_tensors(path, network.state_dict()), assign=True)
    network.requires_grad_(requires_grad=False)
    network = network.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return partial(_features, network)


def _features(network: Inception, images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"images must be floats in [0, 1], (N, 3, H, W); got {images.dtype} {tuple(images.shape)}; repeat a single "
            "channel, and divide bytes by 255"
        )
    device = network.fc.weight.device
    with answering(network):
        parts = [network(part.to(device, torch.float32)) for part in images.split(AT_ONCE)]
    return torch.cat(parts).to(images.device)


def _refuse_pickle(path: Path) -> None:
    if path.is_file() and path.suffix != SUFFIX:
        raise ValueError(
            f"{path} must be a {SUFFIX} file, because a pickle can run any code; convert it once, in Python: import "
            "torch; from safetensors.torch import save_file; save_file({name: tensor.contiguous() for name, tensor in "
            f"torch.load({str(path)!r}, weights_only=True).items()}}, {str(path.with_suffix(SUFFIX))!r})"
        )


def _tensors(path: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reads the tensors of the file, in 32 bits."""
    stored = checkpoint.read_header(path)
    counters = {name: torch.tensor(0) for name in like if name.endswith(COUNTER) and name not in stored}
    like = {name: tensor for name, tensor in like.items() if name not in counters}
    try:
        checkpoint.check_tensors("it", stored, like)
    except ValueError as error:
        raise ValueError(
            f"{path} must contain the Inception-v3 of pytorch-fid's pt_inception-2015-12-05-6726825d.pth, not that of "
            f"torchvision; {error}"
        ) from None
    tensors = checkpoint.read_tensors(path, like)
    if odd := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ValueError(f"{path} must contain finite numbers only; {odd[0]} has others; convert it again")
    return counters | {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
