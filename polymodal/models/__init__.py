"""Models. To add one: a file here, and a line in MODELS."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from polymodal import checkpoint
from polymodal.models.base import FORMAT, Loss, Model
from polymodal.models.mac import MAC, m_wae, mac_vae, mac_wae
from polymodal.names import check_arguments, check_types, lookup
from polymodal.schema import Schema

__all__ = ["MAC", "MODELS", "Loss", "Model", "build", "load"]

MODELS: dict[str, Callable[..., Model]] = {"m-wae": m_wae, "mac-vae": mac_vae, "mac-wae": mac_wae}
"""Models by the paper's names; what `build` calls with a schema."""


def build(name: str, schema: Schema, *, seed: int = 0, **arguments: Any) -> Model:
    """A model with fresh weights.

    Arguments:
        name: One of MODELS.
        schema: The modalities.
        seed: Of the initial weights. PyTorch's global random state is left as it was.
        **arguments: The model's own, such as `latent_dim`, `beta`, `p0`, `draws`.

    Returns:
        The model, on the CPU.

    Raises:
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(schema, **arguments)
    model.name, model.seed = name, seed
    return model


def load(folder: str | Path) -> Model:
    """The model that `Model.save` wrote, in evaluation mode, on the CPU.

    Only registered models and modalities are made, and nothing else that the folder names is run.

    Raises:
        FileNotFoundError: The folder holds no model.
        ValueError: Its files are damaged, newer than this library, or name what it does not know.
    """
    document = checkpoint.read_json(Path(folder) / "model.json")
    tensors = checkpoint.read_tensors(Path(folder) / "weights.safetensors")
    if missing := {"format", "model", "arguments", "schema"} - document.keys():
        raise ValueError(f"{folder}/model.json must have {', '.join(sorted(missing))}; it has not")
    if document["format"] != FORMAT:
        raise ValueError(
            f"{folder}/model.json must be of format {FORMAT}; got {document['format']!r}; "
            "if it is newer, update polymodal"
        )
    try:
        schema = Schema.from_json(document["schema"])
        model = build(document["model"], schema, seed=document.get("seed", 0), **document["arguments"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{folder}/model.json does not describe a model: {error}") from error
    model = model.to(tensors["weight"].dtype) if "weight" in tensors else model
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{folder}/weights.safetensors does not fit model.json: {error}") from error
    return model.eval()
