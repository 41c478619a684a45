"""Devices, precision and processes of a training run, based on Accelerate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from polymodal.runtime import distributed
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = [
    "check_compiler",
    "check_device",
    "check_precision",
    "connect_processes",
    "make_accelerator",
    "select_device",
    "set_precision",
]


def check_device(device: str) -> None:
    """Checks that a device is available.

    Raises:
        ValueError: The device is not available; the message lists the available ones.
    """
    devices = ["auto", "cpu", "cuda"] if torch.cuda.is_available() else ["auto", "cpu"]
    if device not in devices:
        raise ValueError(f"device must be an available one: {', '.join(devices)}; got {device!r}")


def select_device(name: str) -> torch.device:
    """Returns the device of a name; "auto" selects a CUDA GPU if one is available, otherwise the CPU.

    Raises:
        ValueError: The device is not available.
    """
    check_device(name)
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def check_precision(device: str, precision: str | None) -> None:
    """Checks that a device is available and supports a precision.

    Raises:
        ValueError: The device is not available, or the precision needs a GPU.
    """
    check_device(device)
    if precision in ("fp16", "tf32") and _on_cpu(device):
        raise ValueError(f"precision {precision!r} needs a CUDA GPU, and the device is the CPU; use 'bf16' or None")


def make_accelerator(
    device: str, precision: str | None, trackers: Sequence[str] = (), folder: Path | None = None
) -> Accelerator:
    """Creates an `Accelerator` after resetting Accelerate's state in this process.

    A process that was started by a launcher joins the process group.

    Raises:
        ValueError: There are several processes, and no launcher has set the rank of this one.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, ProjectConfiguration

    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=_on_cpu(device),
        mixed_precision="no" if precision in (None, "tf32") else precision,
        log_with=list(trackers) or None,
        project_config=None if folder is None else ProjectConfiguration(str(folder), logging_dir=str(folder / "logs")),
        kwargs_handlers=[
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
            InitProcessGroupKwargs(timeout=distributed.PATIENCE),
        ],
    )
    if accelerator.num_processes != distributed.world_size():
        raise ValueError(
            f"the {distributed.world_size()} processes must be started by torchrun or accelerate launch, which set "
            "RANK, LOCAL_RANK and WORLD_SIZE for each; for this process they are not set"
        )
    distributed.create_cpu_group()
    return accelerator


def connect_processes(device: str) -> None:
    """Connects processes that were started by a launcher, as `fit` does.

    Arguments:
        device: "cpu", "cuda" or "auto".

    Raises:
        ValueError: The device is not available.
    """
    check_device(device)
    make_accelerator(device, None)


@contextmanager
def set_precision(precision: str | None, device: torch.device) -> Iterator[None]:
    """Context manager that sets the precision of 32-bit matrix products and convolutions on a GPU.

    They use TensorFloat-32 if `precision` is "tf32", and full 32-bit precision otherwise. PyTorch's default differs: it
    uses TensorFloat-32 in convolutions but not in matrix products.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def check_compiler(device: torch.device) -> None:
    """Checks that `torch.compile` works, by compiling a trivial function.

    Raises:
        ValueError: `torch.compile` does not work on this machine.
    """
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:  # the exception depends on what is missing: a compiler, headers or Triton
        raise ValueError(
            "compile needs a working torch.compile: a C++ compiler on a CPU, Triton and a C compiler on a GPU; "
            f"got {brief(str(error))}; install what is missing, or leave out compile"
        ) from error


def _on_cpu(device: str) -> bool:
    return device == "cpu" or not torch.cuda.is_available()
