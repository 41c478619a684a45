"""Export of a model to a folder of ONNX files.

The folder has three graphs, `encode.onnx` (values and their observed mask to the code), `decode.onnx` (the code to
predictions) and `translate.onnx` (both), the weights that they share in `weights.bin`, and `schema.json`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polymodal.io import checkpoint
from polymodal.io.atomic import replace_folder
from polymodal.models import Model
from polymodal.models.base import check_model
from polymodal.networks import answering
from polymodal.onnx.comparison_rows import compare, sample_values
from polymodal.onnx.description import FILES, describe
from polymodal.onnx.exported_networks import Decoding, Encoding, Rows
from polymodal.onnx.graph_files import write_graphs
from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_path
from polymodal.runtime.vectorizing import vectorizing

__all__ = ["export"]

ROWS = 11
"""Number of rows of the example; it differs from the sizes of values, so that only axes of rows are dynamic."""


def export(model: Model, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Exports a model to ONNX files, from which `polymodal.onnx.Predictor` predicts without PyTorch.

    The files give the point predictions of `Model.translate` and the codes of `Model.embed`. Samples are not exported.
    Before the folder gets its name, the predictions are compared with those of PyTorch.

    Arguments:
        model: The model. It is not changed.
        folder: Folder to write. It must not exist, or be empty.
        overwrite: Whether to replace an earlier export.

    Returns:
        The folder.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed.
        ValueError: The folder contains something else, or a network cannot be exported.
        RuntimeError: The exported files predict other values than PyTorch.

    Example:
        >>> import tempfile, polymodal as pm
        >>> schema = pm.Schema({"size": pm.Vector(2), "species": pm.Label(3)})
        >>> model = pm.build("mac-wae", schema, latent_dim=4)
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = export(model, f"{parent}/exported")
        ...     sorted(path.name for path in folder.iterdir())
        ['decode.onnx', 'encode.onnx', 'schema.json', 'translate.onnx', 'weights.bin']
    """
    check_model(model)
    check_path("folder", folder)
    folder = Path(folder)
    _require_packages()
    _check_folder(folder, overwrite)
    device, dtype = model.weight.device, model.weight.dtype
    if device.type != "cpu" or dtype != torch.float32:
        model = deepcopy(model).to("cpu", torch.float32)
    observed, values = sample_values(model.schema, ROWS, seed=0)
    with answering(model), vectorizing():
        code = model.encode(Rows(values, observed)).mean
        model.decode(code)  # the caches of blanks must not be filled while operations are recorded
        encoding = _convert(Encoding(model), (observed, tuple(values.values())), "the encoder")
        decoding = _convert(Decoding(model), (code,), "a decoder")
    with replace_folder(folder) as fresh:
        opset = write_graphs(encoding, decoding, model.schema, fresh)
        document = describe(model, version=version("polymodal"), opset=opset)
        (fresh / "schema.json").write_text(checkpoint.to_json(document), encoding="utf-8")
        compare(model, fresh)
    return folder


def _convert(network: torch.nn.Module, arguments: tuple[Any, ...], what: str) -> Any:
    """Converts a network to ONNX with a dynamic number of rows.

    Raises:
        ValueError: An operation of the network cannot be exported.
    """
    rows = torch.export.Dim("rows", min=1)
    shapes = tuple({0: rows} if isinstance(one, Tensor) else tuple({0: rows} for _ in one) for one in arguments)
    try:
        with warnings.catch_warnings(action="ignore"), _quiet():
            program = torch.export.export(network.eval(), arguments, dynamic_shapes=shapes, strict=False)
            converted = torch.onnx.export(program, dynamo=True, verbose=False, external_data=False, optimize=True)
    except Exception as error:
        raise ValueError(
            f"{what} of this model cannot be exported to ONNX, because an operation depends on the values or on the "
            f"number of rows, or ONNX does not have it; change the custom network or modality: {brief(error)}"
        ) from error
    assert converted is not None
    return converted.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides messages of PyTorch's exporter about packages that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _require_packages() -> None:
    try:
        for name in ("onnx", "onnxruntime", "onnxscript"):
            import_module(name)
    except ImportError as error:
        raise ImportError(f"an export needs {error.name}; pip install 'polymodal[onnx]'") from error


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Checks that a folder is free, or has only the files of an earlier export that may be replaced.

    Raises:
        ValueError: It is not, or does not.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} must be a folder; it is a file; choose another name")
    names = {path.name for path in folder.iterdir()}
    if others := sorted(names - {*FILES}):
        raise ValueError(f"{folder} must have only files of an export; it has {brief(others[0])}; choose another name")
    if names and not overwrite:
        raise ValueError(f"{folder} has an earlier export; pass overwrite=True (--overwrite) to replace it")
