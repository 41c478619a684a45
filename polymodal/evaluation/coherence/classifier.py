"""Classifiers that predict the class of values of each modality, to evaluate predictions and samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from polymodal.io import checkpoint
from polymodal.modalities.trial import skip_network_checks
from polymodal.models.base import answering
from polymodal.networks import apply_fused
from polymodal.runtime.formatting import brief
from polymodal.runtime.seeding import own_streams
from polymodal.runtime.validation import check_arguments
from polymodal.schema import Schema

if TYPE_CHECKING:
    from polymodal.modalities import Modality

__all__ = ["SIZE", "Classifier", "Classifiers"]

SIZE = 64
"""Default number of features of a classifier's encoder."""
AT_ONCE = 256
"""Values per pass of a classifier, so that the activations of its layers fit in a CPU's cache."""
FORMAT = 1
KINDS = {
    "format": int,
    "schema": dict,
    "label": str | None,
    "classes": int,
    "size": int,
    "seed": int,
    "accuracy": dict,
}
"""Keys of `verifiers.json` and their types."""


class Classifier(nn.Module):
    """A classifier of one modality's values: an encoder of the modality followed by a linear layer.

    Arguments:
        modality: Modality of the values.
        size: Number of features of the encoder, F.
        classes: Number of classes.
    """

    def __init__(self, modality: Modality, size: int, classes: int) -> None:
        super().__init__()
        self.encoder = modality.build_encoder(size)
        self.head = nn.Linear(size, classes)

    def features(self, x: Tensor) -> Tensor:
        """Returns the encoder's features `(N, F)` of prepared values `(N, *shape)`."""
        return apply_fused(self.encoder, x)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits `(N, classes)` of prepared values `(N, *shape)`."""
        return self.head(self.features(x))


class Classifiers(nn.Module):
    """Classifiers of the label, one for each other modality, trained on true values.

    Arguments:
        schema: Schema of the modalities.
        label: Name of the modality with the classes; None if they are the tables' labels.
        classes: Number of classes.
        accuracy: Accuracy of each modality's classifier, in per cent, on rows held out of its training. Only these
            modalities have a classifier.
        size: Number of features of each encoder, F.
        seed: Random seed of the initial weights and the training.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.evaluation import train_classifiers
        >>> classifiers = train_classifiers(load("polydigits", rows=100, held_out_rows=50).train, epochs=1)
        >>> classifiers.label, [*classifiers.accuracy]
        ('label', ['m0', 'm1', 'm2', 'm3', 'm4'])
        >>> classifiers.predict_classes("m0", torch.rand(3, 3, 16, 16)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        schema: Schema,
        label: str | None,
        classes: int,
        accuracy: Mapping[str, float],
        size: int = SIZE,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.schema, self.label, self.classes, self.size, self.seed = schema, label, classes, size, seed
        self.accuracy = {name: float(value) for name, value in accuracy.items()}
        self.networks = nn.ModuleList(Classifier(schema[name], size, classes) for name in self.accuracy)
        self.positions = {name: place for place, name in enumerate(self.accuracy)}

    @property
    def class_modalities(self) -> list[str]:
        """Names of the modalities whose class is available: those with a classifier, and the label."""
        return [name for name in self.schema if name == self.label or name in self.positions]

    def features(self, name: str, values: Tensor) -> Tensor:
        """Computes the features of values before the last layer of a modality's classifier.

        Arguments:
            name: Name of a modality with a classifier.
            values: Values `(N, *shape)`, of a table or as returned by `Modality.value`.

        Returns:
            Features `(N, F)`.
        """
        classifier = self.get(name)
        with answering(classifier):
            parts = values.split(AT_ONCE) if len(values) else [values]
            prepare, dtype = self.schema[name].prepare, classifier.head.weight.dtype
            return torch.cat([classifier.features(prepare(part, dtype)) for part in parts])

    def classify_features(self, name: str, features: Tensor) -> Tensor:
        """Predicts the classes `(N,)` int64 from features `(N, F)` of the modality's classifier."""
        with torch.no_grad():
            return self.get(name).head(features).argmax(-1)

    def predict_classes(self, name: str, values: Tensor) -> Tensor:
        """Returns the predicted classes of values, `(N,)` int64; for the label, the values themselves."""
        return values if name == self.label else self.classify_features(name, self.features(name, values))

    @property
    def device(self) -> torch.device:
        """Device of the classifiers."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def copy_to(self, device: torch.device) -> Classifiers:
        """Returns the classifiers on a device: a copy, or this object if it is on that device already."""
        return self if self.device == device else deepcopy(self).to(device)

    def save(self, folder: str | Path) -> Path:
        """Writes `verifiers.json` and `weights.safetensors` to an empty folder, or overwrites saved classifiers.

        Raises:
            ValueError: The folder has other files, or a modality is not registered.
        """
        document = {
            "format": FORMAT,
            "schema": self.schema.to_json(),
            "label": self.label,
            "classes": self.classes,
            "size": self.size,
            "seed": self.seed,
            "accuracy": self.accuracy,
        }
        return checkpoint.write(folder, {"verifiers.json": document, "weights.safetensors": self.state_dict()})

    @classmethod
    def load(cls, folder: str | Path) -> Classifiers:
        """Loads the classifiers that `save` wrote, on the CPU.

        Raises:
            FileNotFoundError: The folder has no saved classifiers.
            ValueError: The files are damaged, newer than this library, or have unknown names.
        """
        folder = checkpoint.find_folder(Path(folder))
        path, weights = folder / "verifiers.json", folder / "weights.safetensors"
        document, stored = checkpoint.read_json(path), checkpoint.read_header(weights)
        try:
            make = partial(cls, **_arguments(document))
            with own_streams(0), skip_network_checks():
                checkpoint.check_tensors("what it describes", stored, _build_meta_state(make) or stored)
                made = make()
        except Exception as error:
            raise ValueError(f"{path} does not describe the weights next to it: {brief(error, 500)}") from error
        made.load_state_dict(checkpoint.read_tensors(weights, like=made.state_dict()))
        return made.eval()

    def get(self, name: str) -> Classifier:
        """Returns the classifier of a modality's values."""
        return self.networks[self.positions[name]]  # pyright: ignore[reportReturnType]


def _arguments(document: dict[str, Any]) -> dict[str, Any]:
    """Checks the contents of `verifiers.json` and returns the arguments of `Classifiers`."""
    if document.get("format") != FORMAT:
        raise ValueError(f"format must be {FORMAT}; got {brief(repr(document.get('format')))}; update polymodal")
    check_arguments(document, KINDS, "verifiers.json")
    for key, kind in KINDS.items():
        if not isinstance(document.get(key), kind):
            raise ValueError(f"{key} must be {getattr(kind, '__name__', kind)}; got {brief(repr(document.get(key)))}")
    schema = Schema.from_json(document["schema"])
    for name in [*document["accuracy"], *([] if document["label"] is None else [document["label"]])]:
        schema.index(name)
    return {"schema": schema} | {key: document[key] for key in KINDS if key not in ("format", "schema")}


def _build_meta_state(make: Callable[[], Classifiers]) -> dict[str, Tensor] | None:
    """Returns the classifiers' tensors without memory; None if a custom network cannot be built on the meta device."""
    try:
        with torch.device("meta"):
            return make().state_dict()
    except Exception:
        return None
