"""The registry of models, and functions to build and load them.

To add a model, add a file to this package and an entry to MODELS.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
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
from polymodal.models.base import FORMAT, Loss, Model
from polymodal.models.jmvae import JMVAE
from polymodal.models.mac import MAC, m_wae, mac_vae, mac_wae, upgrade_arguments
from polymodal.models.mmvae import MMVAE
from polymodal.models.mmvae_plus import MMVAEPlus
from polymodal.models.mopoe import MoPoE
from polymodal.models.mvae import MVAE
from polymodal.models.mvtcae import MVTCAE
from polymodal.models.nexus import Nexus
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import lookup
from polymodal.runtime.seeding import own_streams
from polymodal.runtime.validation import check_arguments, check_path, check_types, check_whole
from polymodal.schema import Schema

__all__ = ["MAC", "MODELS", "Loss", "Model", "build", "load", "upgrade_arguments_of", "upgrade_document"]

MODELS: dict[str, Callable[..., Model]] = {
    "jmvae": JMVAE,
    "m-wae": m_wae,
    "mac-vae": mac_vae,
    "mac-wae": mac_wae,
    "mmvae": MMVAE,
    "mmvae-plus": MMVAEPlus,
    "mopoe": MoPoE,
    "mvae": MVAE,
    "mvtcae": MVTCAE,
    "nexus": Nexus,
}
"""Models by name, as in the paper. `build` calls them with a schema."""


def build(name: str, schema: Schema, *, seed: int = 0, **arguments: Any) -> Model:
    """Builds a model with randomly initialised weights.

    Arguments:
        name: Name of the model, a key of MODELS.
        schema: The modalities.
        seed: Random seed of the initial weights. PyTorch's global random state is left unchanged.
        **arguments: Arguments of the model, such as `latent_dim`, `beta`, `p0`, `draws`.

    Returns:
        The model, on the CPU.

    Raises:
        TypeError: `schema` is not a `Schema`.
        ValueError: The name or an argument is unknown, or an argument is out of its range.

    Example:
        >>> from polymodal.modalities import Label, Vector
        >>> model = build("mac-wae", Schema({"size": Vector(2), "species": Label(3)}), latent_dim=8, beta=0.5)
        >>> batch = model.schema.batch({"size": torch.rand(4, 2)})
        >>> model.translate(batch, given=["size"], to=["species"])["species"].shape
        torch.Size([4])
    """
    make = lookup(MODELS, name, "model")
    if not isinstance(schema, Schema):
        raise TypeError(f"schema must be a Schema; got {type(schema).__name__}; write Schema({{...}})")
    check_arguments(arguments, [known for known in inspect.signature(make).parameters if known != "schema"], name)
    check_types(arguments, make, name)
    check_whole("seed", seed, 0)
    if not seed < 2**63:
        raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1; got {seed}")
    with own_streams(seed):
        model = make(schema, **arguments)
    model.name, model.seed = name, seed
    return model


def load(folder: str | Path) -> Model:
    """Loads a model that `Model.save` wrote, in evaluation mode, on the CPU.

    It builds only registered models, modalities and networks, and runs no other code that the folder names. It checks
    the tensors that `model.json` describes against those in `weights.safetensors` before it allocates memory for them.

    Raises:
        FileNotFoundError: The folder does not contain a model.
        ValueError: The files are damaged, were written by a newer version of this library, or use unknown names.
    """
    check_path("folder", folder)
    folder = checkpoint.find_folder(Path(folder))
    path, weights = folder / "model.json", folder / "weights.safetensors"
    document, held = checkpoint.read_json(path), checkpoint.read_header(weights)
    most = 10_000 + 10 * len(held)
    with _describing(path), _at_most(most):
        _check_document(document)
        document = upgrade_document(document)
        schema = Schema.from_json(document["schema"])
        make = partial(_make, document, schema)
        plan = _infer_state_shapes(make, [MODELS.get(document["model"]), *schema.values()])
    if plan is not None:
        checkpoint.check_tensors(weights, held, plan)
    with _describing(path), _at_most(most), nullcontext() if plan is None else skip_network_checks():
        model = make()
        _check_new(model)
    tensors = checkpoint.read_tensors(weights, like=model.state_dict())
    model = model.to(tensors["weight"].dtype)
    model.load_state_dict(tensors)
    _check_numbers(weights, model)
    return model.eval()


def _make(document: dict[str, Any], schema: Schema) -> Model:
    """Builds the model that `document` describes, including its flow if it has one."""
    model = build(document["model"], schema, seed=document.get("seed", 0), **document["arguments"])
    for name in (untrained := document.get("untrained", [])):
        schema.index(name)  # raises an error for an unknown name
    model.untrained = tuple(untrained)
    if "flow" in document:
        check_arguments(document["flow"], {"width", "layers", "sigma", "context", "frequencies"}, "a model's flow")
        with own_streams(0):
            model.make_flow(**document["flow"])
    return model


UPGRADED = dict.fromkeys(("m-wae", "mac-vae", "mac-wae"), upgrade_arguments)
"""Functions that convert the arguments of a model of format 1 to current ones, by model name."""


def upgrade_arguments_of(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Converts a model's arguments of format 1 to those that `build` takes; other models' arguments do not change."""
    return UPGRADED[model](arguments) if isinstance(model, str) and model in UPGRADED else arguments


def upgrade_document(document: dict[str, Any]) -> dict[str, Any]:
    """Converts the contents of `model.json` to the current format. Current or damaged contents do not change.

    Example:
        >>> old = {"format": 1, "model": "mac-wae", "arguments": {"regularizer": "mmd", "bandwidth": 2.0}}
        >>> upgrade_document(old)["arguments"]
        {'relative': False, 'skip': False, 'regularizer': 'mmd(2)', 'bandwidth': None, 'prior': 'normal'}
    """
    arguments, model = document.get("arguments"), document.get("model")
    if not isinstance(arguments, dict):
        return document
    if document.get("format") == 1:
        arguments = upgrade_arguments_of(model, arguments)
        document = {**document, "format": FORMAT, "arguments": arguments}
    if isinstance(model, str) and model in UPGRADED and "prior" not in arguments:  # written before `prior` existed
        document = {**document, "arguments": {**arguments, "prior": "normal"}}
    if document.get("flow") is True:  # written when all flows had the same width
        document = {**document, "flow": {"width": 512}}
    flow = document.get("flow")
    if isinstance(flow, dict):  # written when all flows had these sizes and only the first layer read the condition
        document = {**document, "flow": {"layers": 4, "sigma": 0.5, "context": 0, "frequencies": 32, **flow}}
    return document


KINDS = {"format": int, "model": str, "arguments": dict, "schema": dict, "seed": int, "flow": dict, "untrained": list}
"""Keys of `model.json` and the types of their values."""


def _check_document(document: dict[str, Any]) -> None:
    if type(number := document.get("format")) is not int or not 1 <= number <= FORMAT:
        newer = type(number) is int and number > FORMAT
        way = "it is newer than this library; update polymodal" if newer else "take another copy of the folder"
        raise ValueError(f"format must be 1 to {FORMAT}; got {brief(repr(number))}; {way}")
    check_arguments(document, KINDS, "a model's file")
    if missing := KINDS.keys() - document.keys() - {"seed", "flow", "untrained"}:
        raise ValueError(f"it must have {', '.join(sorted(missing))}, and has not")
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
def _at_most(parameters: int) -> Iterator[None]:
    """Limits the number of parameters this thread can create, since a short file can describe any number."""
    made, thread = 0, get_ident()

    def count(module: nn.Module, name: str, parameter: Tensor) -> None:
        nonlocal made
        made += get_ident() == thread
        if made > parameters:
            raise ValueError(f"it describes more than {parameters} tensors, and the file holds far fewer")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _describing(path: Path) -> Iterator[None]:
    """Converts all exceptions that a constructor raises into a ValueError that names the file."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path} does not describe a model: {brief(error, 500)}") from error


def _check_new(model: Model) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:  # a tensor that `_planned` created
            raise ValueError(f"networks must make {name} anew at every call, and not keep it; leave out the cache")


def _check_numbers(path: Path, model: Model) -> None:
    parameters = dict(model.named_parameters())
    for name, tensor in model.state_dict().items():
        wrong = ~tensor.isfinite() if name in parameters else tensor.isnan()  # a buffer may be infinite
        if wrong.any():
            raise ValueError(
                f"{path} must hold finite numbers; {int(wrong.sum())} of {name} are not; "
                "take another copy of the folder, or train again"
            )
