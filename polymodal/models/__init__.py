"""The registry of models, and functions to build and load them.

To add a model, add a file to this package and an entry to MODELS.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from polymodal.io.hub_files import download_model, is_hub_address, parse_address
from polymodal.modalities.trial import skip_network_checks
from polymodal.models.base import Loss, Model
from polymodal.models.ensemble import Ensemble
from polymodal.models.jmvae import JMVAE
from polymodal.models.loading import load_model, upgrade_arguments_of, upgrade_document
from polymodal.models.mac import MAC, m_wae, mac_vae, mac_wae
from polymodal.models.mmvae import MMVAE
from polymodal.models.mmvae_plus import MMVAEPlus
from polymodal.models.mopoe import MoPoE
from polymodal.models.mvae import MVAE
from polymodal.models.mvtcae import MVTCAE
from polymodal.models.nexus import Nexus
from polymodal.runtime.registry import lookup
from polymodal.runtime.seeding import derive_seed, own_streams
from polymodal.runtime.validation import check_arguments, check_types, check_whole
from polymodal.schema import Schema

__all__ = ["MAC", "MODELS", "Ensemble", "Loss", "Model", "build", "load", "upgrade_arguments_of", "upgrade_document"]

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


def build(name: str, schema: Schema, *, seed: int = 0, members: int = 1, **arguments: Any) -> Model:
    """Builds a model with randomly initialised weights.

    Arguments:
        name: Name of the model, a key of MODELS.
        schema: The modalities.
        seed: Random seed of the initial weights. PyTorch's global random state is left unchanged.
        members: Number of models in an ensemble, which is trained, saved and used as one model. Its predictions are the
            mixture of the members' predictions, see `polymodal.models.ensemble`. The first member is the model that is
            built without `members`.
        **arguments: Arguments of the model, such as `latent_dim`, `beta`, `p0`, `draws`.

    Returns:
        The model, on the CPU.

    Raises:
        TypeError: `schema` is not a `Schema`.
        ValueError: The name or an argument is unknown, or an argument is out of its range.

    Example:
        >>> import torch
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
    check_whole("members", members)
    models = []
    for number in range(members):
        # Only the networks of the first member are tested, because those of the others have the same layers.
        tests = skip_network_checks() if number else nullcontext()
        with own_streams(derive_seed(seed, number) if number else seed), tests:
            models.append(make(schema, **arguments))
        models[-1].name, models[-1].seed = name, seed
    return models[0] if members == 1 else Ensemble(models)


def load(folder: str | Path) -> Model:
    """Loads a model that `Model.save` wrote, in evaluation mode, on the CPU.

    A model on the Hugging Face Hub is downloaded into the Hub's cache, see `polymodal.io.hub_files`. Nothing is
    downloaded from a repository that holds a pickle.

    It builds only registered models, modalities and networks, and runs no other code that the folder names. It checks
    the tensors that `model.json` describes against those in `weights.safetensors` before it allocates memory for them.

    Arguments:
        folder: Folder of the model, or its address on the Hub, `hf://owner/name` or `hf://owner/name@revision`.

    Raises:
        FileNotFoundError: The folder does not contain a model, or there is no such repository or revision.
        PermissionError: The Hub refuses access.
        ConnectionError: The Hub cannot be reached, and there is no cached copy.
        ValueError: The files are damaged, were written by a newer version of this library, or use unknown names; or
            the repository holds a pickle.
    """
    if isinstance(folder, str) and is_hub_address(folder):
        folder = download_model(parse_address(folder))
    return load_model(folder, build, MODELS)
