"""Checks of the arguments of `fit` before training, and setup of devices and precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from polymodal.runtime import distributed
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import unknown

if TYPE_CHECKING:
    from accelerate import Accelerator

    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = [
    "arithmetic",
    "check_compiler",
    "check_device",
    "check_ranges",
    "check_rows",
    "check_shared",
    "join",
    "make_accelerator",
    "move_to_gpu_if_fits",
    "select_device",
    "trainable",
]


MOST = 2**63
"""Upper bound (exclusive) of numeric arguments; PyTorch's counts and seeds must be lower."""


def check_ranges(**settings: Any) -> None:
    """Checks that arguments of `fit` are in range.

    Raises:
        ValueError: An argument is out of range; the message names the first one.
    """
    for name in (
        "epochs",
        "batch_size",
        "learning_rate",
        "accumulate",
        "patience",
        "clip",
        "save_every",
        "prior_epochs",
    ):
        if (number := settings.get(name)) is not None and not 0 < number < MOST:
            raise ValueError(f"{name} must be positive and below 2^63; got {number}")
    for name in ("weight_decay", "warmup", "learning_rate_warmup", "seed"):
        if not 0 <= settings.get(name, 0) < MOST:
            raise ValueError(f"{name} must not be negative, and be below 2^63; got {settings[name]}")
    if (decay := settings.get("ema")) is not None and not 0 < decay < 1:
        raise ValueError(f"ema must be between 0 and 1, such as 0.999; got {decay}; None averages nothing")
    if settings.get("learning_rate_warmup") and settings.get("schedule") == "plateau":
        raise ValueError("learning_rate_warmup goes with the schedules constant and cosine; leave it out for plateau")
    if (epochs := settings.get("epochs", 30)) < (warmup := settings.get("warmup", 0)):
        raise ValueError(f"epochs must be at least warmup ({warmup}), for no epoch before counts; got {epochs}")
    if settings.get("learning_rate_warmup", 0) > epochs:
        raise ValueError(
            f"learning_rate_warmup must be at most epochs ({epochs}); got {settings['learning_rate_warmup']}"
        )
    _check_folder(settings.get("folder"), settings)
    _check_trackers(settings.get("trackers", ()))
    _check_precision(settings.get("device", "auto"), settings.get("precision"))


def check_device(device: str) -> None:
    """Checks that a device is available.

    Raises:
        ValueError: The device is not available; the message lists the available ones.
    """
    devices = ["auto", "cpu", "cuda"] if torch.cuda.is_available() else ["auto", "cpu"]
    if device not in devices:
        raise ValueError(f"device must be one of those at hand, {', '.join(devices)}; got {device!r}")


def select_device(name: str) -> torch.device:
    """Returns the device of a name; "auto" selects a CUDA GPU if one is available, otherwise the CPU.

    Raises:
        ValueError: The device is not available.
    """
    check_device(name)
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def check_rows(name: str, rows: Any, schema: Schema) -> None:
    """Checks that rows are a non-empty table with the model's modalities.

    Raises:
        TypeError: The rows have no `len` or no `batches`.
        ValueError: There are no rows, or their schema differs from the model's.
    """
    if isinstance(rows, type) or not (hasattr(rows, "batches") and hasattr(rows, "__len__")):
        raise TypeError(
            f"{name} must be a Table, or have its len and batches; got {type(rows).__name__}; "
            "put the rows in tensors and pass polymodal.Table(values, observed, schema)"
        )
    if not len(rows):
        raise ValueError(f"{name} must have rows; got none")
    if hasattr(rows, "schema"):
        build = {"train": "build the model with the schema of these rows, as in build('mac-wae', train.schema)"}
        schema.require(rows.schema, name, build.get(name))


def check_shared(name: str, rows: Any) -> None:
    """Checks that several processes can share the rows.

    Raises:
        TypeError: The rows are of a custom class whose `batches` does not accept `share`.
    """
    taken = signature(rows.batches).parameters
    if "share" not in taken and not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken.values()):
        raise TypeError(
            f"{name}.batches must take share=(process, processes) and stride, as polymodal.Table.batches does, where "
            f"{distributed.world()} processes train together; {type(rows).__name__}.batches does not; add them, or "
            "train in one process"
        )


def trainable(model: Model, rows: Table) -> Table:
    """Returns the rows for training: the complete rows if `model.rows` is "complete", otherwise all rows.

    Raises:
        ValueError: The model can be trained on complete rows only, some rows are incomplete, and `model.rows` does not
            leave them out.
    """
    if model.rows is None or not hasattr(rows, "observed"):
        return rows
    if model.rows == "complete":
        return rows.complete()
    model.require_trainable(rows.observed)
    return rows


def move_to_gpu_if_fits(rows: Table, device: torch.device) -> Table:
    """Moves the rows to the GPU if they need at most half of its free memory; otherwise returns them unchanged."""
    if device.type != "cuda" or not hasattr(rows, "nbytes"):
        return rows
    free, _ = torch.cuda.mem_get_info(device)
    return rows.to(device) if rows.nbytes <= free / 2 else rows


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
    if accelerator.num_processes != distributed.world():
        raise ValueError(
            f"the {distributed.world()} processes must be started by torchrun or accelerate launch, which tell each "
            "its number (RANK, LOCAL_RANK, WORLD_SIZE); this one was not told"
        )
    distributed.join()
    return accelerator


def join(device: str) -> None:
    """Connects processes that were started by a launcher, as `fit` does.

    Arguments:
        device: "cpu", "cuda" or "auto".

    Raises:
        ValueError: The device is not available.
    """
    check_device(device)
    make_accelerator(device, None)


@contextmanager
def arithmetic(precision: str | None, device: torch.device) -> Iterator[None]:
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


def _check_precision(device: str, precision: str | None) -> None:
    check_device(device)
    if precision in ("fp16", "tf32") and _on_cpu(device):
        raise ValueError(f"precision {precision!r} needs a CUDA GPU, and the device is the CPU; use 'bf16' or None")


def _check_folder(folder: str | Path | None, settings: dict[str, Any]) -> None:
    if folder is not None and (not str(folder).strip() or "\0" in str(folder)):
        raise ValueError(f"folder must name a folder; got {folder!r}")
    for name in ("resume", "save_every", "trackers"):
        if folder is None and "folder" in settings and settings.get(name):
            raise ValueError(f"{name} needs the folder of a run; got folder=None; pass folder='runs/...'")


def _check_trackers(trackers: Sequence[str]) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if isinstance(trackers, str):
        raise ValueError(f"trackers must be a list of names; got one string; write [{trackers!r}]")
    here = [str(getattr(tracker, "value", tracker)) for tracker in get_available_trackers()]
    for name in trackers:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise unknown(name, map(str, LOGGER_TYPE_TO_CLASS), "tracker")
        if name not in here:
            raise ValueError(f"tracker {name!r} must be installed, and is not; try: pip install {name}")
