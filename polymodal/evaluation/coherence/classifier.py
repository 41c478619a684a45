"""Classifiers that say of which class a value is that a model has made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from polymodal.io import checkpoint
from polymodal.modalities.trial import untried
from polymodal.models.base import answering
from polymodal.networks import chained
from polymodal.runtime.formatting import brief
from polymodal.runtime.seeding import own_streams
from polymodal.runtime.validation import check_arguments
from polymodal.schema import Schema

if TYPE_CHECKING:
    from polymodal.modalities import Modality

__all__ = ["SIZE", "Verifier", "Verifiers"]

SIZE = 64
"""Of what a verifier's encoder makes of a value."""
AT_ONCE = 256
"""Values in one pass of a verifier: what its layers make should stay in a CPU's cache."""
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
"""What stands in `verifiers.json`."""


class Verifier(nn.Module):
    """A classifier of one modality's values: its own encoder, and a linear layer on what that makes.

    Arguments:
        modality: Whose values they are.
        size: Of what the encoder makes, F.
        classes: Their number.
    """

    def __init__(self, modality: Modality, size: int, classes: int) -> None:
        super().__init__()
        self.encoder = modality.build_encoder(size)
        self.head = nn.Linear(size, classes)

    def features(self, x: Tensor) -> Tensor:
        """What the encoder makes of prepared values `(N, *shape)`: `(N, F)`."""
        return chained(self.encoder, x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(N, classes)` of prepared values `(N, *shape)`."""
        return self.head(self.features(x))


class Verifiers(nn.Module):
    """A classifier of the label for each other modality, trained on true values.

    Arguments:
        schema: The modalities.
        label: The one that holds the classes; None where they are the tables' labels.
        classes: Their number.
        accuracy: Of each modality that has a verifier, x 100, on rows that were held out of its training.
        size: Of what an encoder makes, F.
        seed: Of the weights and the training.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.evaluation import train_verifiers
        >>> verifiers = train_verifiers(load("polydigits", rows=100, held_out_rows=50).train, epochs=1)
        >>> verifiers.label, [*verifiers.accuracy]
        ('label', ['m0', 'm1', 'm2', 'm3', 'm4'])
        >>> verifiers.said("m0", torch.rand(3, 3, 16, 16)).shape
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
        self.networks = nn.ModuleList(Verifier(schema[name], size, classes) for name in self.accuracy)
        self.columns = {name: place for place, name in enumerate(self.accuracy)}

    @property
    def judged(self) -> list[str]:
        """The modalities whose values have a class: those with a verifier, and the label."""
        return [name for name in self.schema if name == self.label or name in self.columns]

    def features(self, name: str, values: Tensor) -> Tensor:
        """What a modality's verifier makes of values before its last layer: `(N, F)`.

        Arguments:
            name: Of a modality that has one.
            values: `(N, *shape)`, of a table or as `Modality.value` gives them.
        """
        verifier = self.of(name)
        with answering(verifier):
            parts = values.split(AT_ONCE) if len(values) else [values]
            prepare, dtype = self.schema[name].prepare, verifier.head.weight.dtype
            return torch.cat([verifier.features(prepare(part, dtype)) for part in parts])

    def told(self, name: str, features: Tensor) -> Tensor:
        """The classes `(N,)` int64 that a modality's verifier reads from its own features `(N, F)`."""
        with torch.no_grad():
            return self.of(name).head(features).argmax(-1)

    def said(self, name: str, values: Tensor) -> Tensor:
        """The classes of values, `(N,)` int64: what the verifier says; of the label, the values themselves."""
        return values if name == self.label else self.told(name, self.features(name, values))

    @property
    def device(self) -> torch.device:
        """Where the verifiers are."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def on(self, device: torch.device) -> Verifiers:
        """The same on a device; this one stays where it is."""
        return self if self.device == device else deepcopy(self).to(device)

    def save(self, folder: str | Path) -> Path:
        """Writes `verifiers.json` and `weights.safetensors` into an empty folder or over verifiers.

        Raises:
            ValueError: The folder holds something else, or a modality is not registered.
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
    def load(cls, folder: str | Path) -> Verifiers:
        """The verifiers that `save` wrote, on the CPU.

        Raises:
            FileNotFoundError: The folder holds none.
            ValueError: Its files are damaged, newer than this library, or name what it does not know.
        """
        folder = checkpoint.standing(Path(folder))
        path, weights = folder / "verifiers.json", folder / "weights.safetensors"
        document, held = checkpoint.read_json(path), checkpoint.read_header(weights)
        try:
            make = partial(cls, **_arguments(document))
            with own_streams(0), untried():
                checkpoint.check_tensors("what it describes", held, _planned(make) or held)
                made = make()
        except Exception as error:
            raise ValueError(f"{path} does not describe the verifiers beside it: {brief(error, 500)}") from error
        made.load_state_dict(checkpoint.read_tensors(weights, like=made.state_dict()))
        return made.eval()

    def of(self, name: str) -> Verifier:
        """The classifier of a modality's values."""
        return self.networks[self.columns[name]]  # pyright: ignore[reportReturnType]


def _arguments(document: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `Verifiers` that a document holds."""
    if document.get("format") != FORMAT:
        raise ValueError(f"format must be {FORMAT}; got {brief(repr(document.get('format')))}; update polymodal")
    check_arguments(document, KINDS, "verifiers")
    for key, kind in KINDS.items():
        if not isinstance(document.get(key), kind):
            raise ValueError(f"{key} must be {getattr(kind, '__name__', kind)}; got {brief(repr(document.get(key)))}")
    schema = Schema.from_json(document["schema"])
    for name in [*document["accuracy"], *([] if document["label"] is None else [document["label"]])]:
        schema.index(name)
    return {"schema": schema} | {key: document[key] for key in KINDS if key not in ("format", "schema")}


def _planned(make: Callable[[], Verifiers]) -> dict[str, Tensor] | None:
    """The tensors of verifiers, for which no memory is taken; None where a user's own network needs numbers."""
    try:
        with torch.device("meta"):
            return make().state_dict()
    except Exception:
        return None
