"""The conversion of one modality's values from and to JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from polymodal.modalities import Modality
from polymodal.serving.json_values import read_numbers

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["Codec"]


@dataclass(frozen=True)
class Codec:
    """Reads and writes the values of one modality.

    Arguments:
        modality: The modality.
        pixels: Most pixels of an image.
    """

    modality: Modality
    pixels: int
    kind: ClassVar[str] = "other"

    @property
    def example(self) -> Any:
        """A JSON value for documentation: the blank."""
        return self.write(self.modality.blank)

    def read(self, value: Any) -> Tensor | None:
        """Converts a JSON value to a table's tensor, `(*shape)`; None if it is missing.

        Raises:
            ValueError: The value does not suit the modality.
        """
        if value is None:
            return None
        tensor = self._read(value)
        self.modality.check(tensor[None])
        return tensor

    def write(self, value: Tensor) -> Any:
        """Converts a predicted value, `(*shape)`, to a JSON value."""
        return value.tolist()

    def round(self, values: Tensor) -> Tensor:
        """Rounds predicted values `(n, *shape)` to the precision of their JSON values, if that is faster for many."""
        return values

    def describe(self) -> dict[str, Any]:
        """Returns what a program needs to know about the modality, as JSON."""
        return {"type": type(self.modality).__name__, "shape": list(self.modality.shape), "kind": self.kind}

    def make_json_schema(self) -> dict[str, Any]:
        """Returns the JSON schema of a value."""
        return {"type": "array", "description": f"Nested lists of shape {list(self.modality.shape)}."}

    def describe_distribution(self, distribution: Distribution) -> list[dict[str, Any]]:
        """Returns the certainty of N predictions from their distribution, batch shape `(N,)`: nothing by default."""
        return [{} for _ in range(distribution.batch_shape[0])]

    def measure_spread(self, samples: Tensor) -> Any:
        """Returns the spread of S samples `(S, *shape)` in users' units, as JSON; None if the values have none."""
        return None

    def _read(self, value: Any) -> Tensor:
        numbers = read_numbers(value, self.modality.shape)
        if self.modality.dtype.is_floating_point:
            return numbers.to(self.modality.dtype)
        if (numbers != numbers.round()).any() or (numbers.abs() > 2**53).any():
            raise ValueError("the numbers must be integers")
        if self.modality.dtype == torch.uint8 and ((numbers < 0) | (numbers > 255)).any():
            raise ValueError("the numbers must be in 0..255")
        return numbers.to(self.modality.dtype)
