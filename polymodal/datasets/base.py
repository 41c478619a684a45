"""What every data set is."""

from __future__ import annotations

from dataclasses import dataclass

from polymodal.schema import Schema
from polymodal.table import Table

__all__ = ["Dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three tables of one schema.

    Arguments:
        name: Its key in DATASETS.
        train: To learn from.
        validation: To choose the epoch by.
        test: To report on.
    """

    name: str
    train: Table
    validation: Table
    test: Table

    @property
    def schema(self) -> Schema:
        """The modalities."""
        return self.train.schema

    def __repr__(self) -> str:
        sizes = f"{len(self.train)} training, {len(self.validation)} validation, {len(self.test)} test rows"
        return f"<{self.name}: {sizes} of {', '.join(self.schema)}>"
