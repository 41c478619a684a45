"""Loading of models from files that may be damaged or hostile, and conversion of earlier formats.

A model's folder contains `model.json`, the arguments that build the model, and `weights.safetensors`, its state.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from polymodal.io import checkpoint
from polymodal.modalities import Modality
from polymodal.modalities.trial import skip_network_checks
from polymodal.models.base import FORMAT, Model
from polymodal.models.conformal import read_calibration
from polymodal.models.ensemble import Ensemble
from polymodal.models.member_tensors import stack_state
from polymodal.objectives.regularizers import MMD, Regularizer, spell_regularizer
from polymodal.runtime.formatting import brief
from polymodal.runtime.seeding import own_streams
from polymodal.runtime.validation import check_arguments, check_path
from polymodal.schema import Schema

__all__ = ["apply_bandwidth", "load_model", "upgrade_arguments_of", "upgrade_document"]

KINDS = {
    "format": int,
    "model": str,
    "arguments": dict,
    "schema": dict,
    "seed": int,
    "members": int,
    "flow": dict,
    "untrained": list,
    "calibration": dict,
}
"""Keys of `model.json` and the types of their values."""
OPTIONAL = {"seed", "members", "flow", "untrained", "calibration"}
"""Keys that `model.json` may leave out."""


def load_model(folder: str | Path, build: Callable[..., Model], registry: Mapping[str, Any]) -> Model:
    """Loads a model, see `polymodal.models.load`.

    Arguments:
        folder: Folder of the model.
        build: Function that builds a model from its name, its schema, its seed and its arguments.
        registry: Models by name.
    """
    check_path("folder", folder)
    folder = checkpoint.find_folder(Path(folder))
    path, weights = folder / "model.json", folder / "weights.safetensors"
    document, stored = checkpoint.read_json(path), checkpoint.read_header(weights)
    most = 10_000 + 10 * len(stored)
    with _convert_errors(path), _limit_parameters(most):
        _check_document(document)
        document = upgrade_document(document)
        members = document.get("members", 1)
        schema = Schema.from_json(document["schema"])
        make = partial(_build_described, build, document, schema)
        shapes = _infer_state_shapes(make, [registry.get(document["model"]), *schema.values()])
        shapes = None if shapes is None else stack_state(shapes, members)
    if shapes is not None:
        checkpoint.check_tensors(weights, stored, shapes)
    with _convert_errors(path), _limit_parameters(most), nullcontext() if shapes is None else skip_network_checks():
        model = make()
        _check_loadable(model)
    if members > 1:
        with _convert_errors(path):
            stacked = stack_state(model.state_dict(), members)
        checkpoint.check_tensors(weights, stored, stacked)
        with _convert_errors(path):
            model = _make_ensemble(model, members)
    tensors = checkpoint.read_tensors(weights, like=model.state_dict())
    model = model.to(tensors["weight"].dtype)
    model.load_state_dict(tensors)
    _check_numbers(weights, model)
    return model.eval()


def _build_described(build: Callable[..., Model], document: dict[str, Any], schema: Schema) -> Model:
    """Builds the model that `document` describes, including its flow if it has one."""
    model = build(document["model"], schema, seed=document.get("seed", 0), **document["arguments"])
    for name in (untrained := document.get("untrained", [])):
        schema.index(name)  # raises an error for an unknown name
    model.untrained = tuple(untrained)
    if "calibration" in document:
        model.calibration = read_calibration(document["calibration"], schema)
    if "flow" in document:
        check_arguments(document["flow"], {"width", "layers", "sigma", "context", "frequencies"}, "a model's flow")
        with own_streams(0):
            model.make_flow(**document["flow"])
    return model


def _make_ensemble(member: Model, members: int) -> Ensemble:
    """Makes an ensemble of copies of a model."""
    ensemble = Ensemble([member] * members)
    ensemble.untrained, ensemble.calibration = member.untrained, member.calibration
    return ensemble


CONDITIONED = ("m-wae", "mac-vae", "mac-wae")
"""Models whose arguments have changed since format 1."""

LATER = {"prior": "normal", "hidden_dropout": 0.0, "factors": 0, "mask_hidden": 512}
"""Arguments of these models that earlier files do not contain, with the values that reproduce earlier results."""


def upgrade_arguments_of(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Converts a model's arguments of format 1 to those that `build` takes; other models' arguments do not change.

    Arguments:
        model: Name of the model.
        arguments: Arguments from a file of format 1, or settings of that time. Those of MAC-WAE and its ablations
            contain `bandwidth`, and not `relative`.
    """
    if model not in CONDITIONED:
        return arguments
    regularizer, bandwidth = arguments.get("regularizer", "mmd"), arguments.get("bandwidth")
    if regularizer == "mmd" and bandwidth is not None:
        regularizer = spell_regularizer(MMD(bandwidth))
    return {"relative": False, "skip": False, **arguments, "regularizer": regularizer, "bandwidth": None}


def apply_bandwidth(regularizer: str | Regularizer, bandwidth: float | None) -> str | Regularizer:
    """Returns the regulariser, with the deprecated argument `bandwidth` applied."""
    if bandwidth is None:
        return regularizer
    if regularizer != "mmd":
        raise ValueError(
            f"bandwidth belongs to 'mmd'; got bandwidth={bandwidth} with regularizer={regularizer!r}; "
            f"write regularizer='mmd({bandwidth:g})'"
        )
    warnings.warn(f"bandwidth is deprecated; write regularizer='mmd({bandwidth:g})'", DeprecationWarning, stacklevel=4)
    return MMD(bandwidth)


def upgrade_document(document: dict[str, Any]) -> dict[str, Any]:
    """Converts the contents of `model.json` to the current format. Current or damaged contents do not change.

    Example:
        >>> old = {"format": 1, "model": "mac-wae", "arguments": {"regularizer": "mmd", "bandwidth": 2.0}}
        >>> upgrade_document(old)["arguments"]  # doctest: +NORMALIZE_WHITESPACE
        {'prior': 'normal', 'hidden_dropout': 0.0, 'factors': 0, 'mask_hidden': 512, 'relative': False, 'skip': False,
        'regularizer': 'mmd(2)', 'bandwidth': None}
    """
    arguments, model = document.get("arguments"), document.get("model")
    if not isinstance(arguments, dict):
        return document
    if document.get("format") == 1:
        arguments = upgrade_arguments_of(model, arguments)
        document = {**document, "format": FORMAT, "arguments": arguments}
    if model in CONDITIONED:  # written before these arguments existed
        document = {**document, "arguments": {**LATER, **arguments}}
    if document.get("flow") is True:  # written when all flows had the same width
        document = {**document, "flow": {"width": 512}}
    flow = document.get("flow")
    if isinstance(flow, dict):  # written when all flows had these sizes and only the first layer read the condition
        document = {**document, "flow": {"layers": 4, "sigma": 0.5, "context": 0, "frequencies": 32, **flow}}
    return document


def _check_document(document: dict[str, Any]) -> None:
    if type(number := document.get("format")) is not int or not 1 <= number <= FORMAT:
        newer = type(number) is int and number > FORMAT
        way = "it is newer than this library; update polymodal" if newer else "take another copy of the folder"
        raise ValueError(f"format must be 1 to {FORMAT}; got {brief(repr(number))}; {way}")
    check_arguments(document, KINDS, "a model's file")
    if missing := KINDS.keys() - document.keys() - OPTIONAL:
        raise ValueError(f"it must have {', '.join(sorted(missing))}, but does not")
    if type(members := document.get("members", 1)) is int and members < 1:
        raise ValueError(f"members must be at least 1; got {brief(repr(members))}")
    for key, value in document.items():
        earlier = key == "flow" and value is True  # see `upgrade_document`
        if type(value) is not KINDS[key] and not earlier:
            raise ValueError(f"{key} must be {KINDS[key].__name__}; got {brief(repr(value))}")


def _infer_state_shapes(make: Callable[[], Model], parts: list[Any]) -> dict[str, Tensor] | None:
    """Returns empty tensors with the shapes and dtypes of a model's state, or None if unknown before it is built.

    User-defined models and networks may need real values when they are built; those of polymodal do not.
    """
    try:
        with torch.device("meta"), skip_network_checks(), warnings.catch_warnings(action="ignore"):
            return {name: torch.empty(part.shape, dtype=part.dtype) for name, part in make().state_dict().items()}
    except Exception:
        if all(map(_is_ours, parts)):
            raise
        return None


def _is_ours(part: Any) -> bool:
    """Whether a modality and its network, or the constructor of a model, belong to polymodal."""
    made = type(part) if isinstance(part, Modality) else getattr(part, "func", part)
    return getattr(made, "__module__", "polymodal.").startswith("polymodal.") and getattr(part, "network", None) is None


@contextmanager
def _limit_parameters(parameters: int) -> Iterator[None]:
    """Limits the number of parameters this thread can create, since a short file can describe any number."""
    made, thread = 0, get_ident()

    def count(module: nn.Module, name: str, parameter: Tensor) -> None:
        nonlocal made
        made += get_ident() == thread
        if made > parameters:
            raise ValueError(f"it describes more than {parameters} tensors, and the file contains far fewer")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _convert_errors(path: Path) -> Iterator[None]:
    """Converts all exceptions that a constructor raises into a ValueError that names the file."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path} does not describe a model: {brief(error, 500)}") from error


def _check_loadable(model: Model) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:  # a tensor that `_infer_state_shapes` created
            raise ValueError(f"networks must make {name} anew at every call, and not keep it; leave out the cache")


def _check_numbers(path: Path, model: Model) -> None:
    parameters = dict(model.named_parameters())
    for name, tensor in model.state_dict().items():
        wrong = ~tensor.isfinite() if name in parameters else tensor.isnan()  # a buffer may be infinite
        if wrong.any():
            raise ValueError(
                f"{path} must contain finite numbers; {int(wrong.sum())} of {name} are not; "
                "take another copy of the folder, or train again"
            )
