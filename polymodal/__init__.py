"""Multimodal models that predict any modality from any subset of the others.

Submodules are imported when their names are first used, so `import polymodal` is fast.

Example:
    >>> import polymodal as pm
    >>> data = pm.datasets.load("polydigits", rows=200, held_out_rows=50)
    >>> model = pm.build("mac-wae", data.schema, latent_dim=16, draws=2)
    >>> fitted = pm.fit(model, data.train, data.validation, epochs=1, progress=False)
    >>> values = model.translate(data.test[:8], given=["m0", "label"], to=["m3"])
    >>> values["m3"].shape
    torch.Size([8, 3, 16, 16])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal import datasets, report, studies
    from polymodal.batch import Batch
    from polymodal.datasets import DATASETS
    from polymodal.evaluation import METRICS, evaluate
    from polymodal.imputation import impute
    from polymodal.modalities import MODALITIES, NETWORKS, Audio, Image, Label, Modality, Network, Text, Vector
    from polymodal.models import MODELS, Model, build, load
    from polymodal.objectives.regularizers import REGULARIZERS
    from polymodal.schema import Schema
    from polymodal.table.table import Table
    from polymodal.training import Fit, fit

    __version__: str

__all__ = [
    "DATASETS",
    "METRICS",
    "MODALITIES",
    "MODELS",
    "NETWORKS",
    "REGULARIZERS",
    "Audio",
    "Batch",
    "Fit",
    "Image",
    "Label",
    "Modality",
    "Model",
    "Network",
    "Schema",
    "Table",
    "Text",
    "Vector",
    "__version__",
    "build",
    "datasets",
    "evaluate",
    "fit",
    "impute",
    "load",
    "report",
    "studies",
]

_MODULES = ("datasets", "report", "studies")
_HOMES = {
    "batch": ["Batch"],
    "datasets": ["DATASETS"],
    "evaluation": ["METRICS", "evaluate"],
    "imputation": ["impute"],
    "modalities": ["MODALITIES", "NETWORKS", "Audio", "Image", "Label", "Modality", "Network", "Text", "Vector"],
    "models": ["MODELS", "Model", "build", "load"],
    "objectives.regularizers": ["REGULARIZERS"],
    "schema": ["Schema"],
    "table.table": ["Table"],
    "training": ["Fit", "fit"],
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("polymodal")
    if name in _MODULES:
        return import_module(f"polymodal.{name}")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"polymodal.{home}"), name)
    raise AttributeError(f"module 'polymodal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
