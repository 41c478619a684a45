"""The check of models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from polymodal.models import MODELS, Model
from polymodal.schema import Schema
from polymodal.testing import model_laws, model_use_laws
from polymodal.testing.examples import EXAMPLES
from polymodal.testing.laws import apply_law, temporary_entries
from polymodal.testing.model_subject import ModelSubject

__all__ = ["MODEL_LAWS", "check_model"]

MODEL_LAWS = {law.__name__.removeprefix("check_"): law for law in [*model_laws.LAWS, *model_use_laws.LAWS]}
"""All laws of models by name."""


def check_model(model: str | Callable[..., Model], schema: Schema | None = None, **arguments: Any) -> None:
    """Checks that a model obeys the laws that polymodal's models obey.

    Arguments:
        model: Name of a registered model, or a class, which is registered during the check.
        schema: Modalities to check it with, at least three; by default a small one of each type of polymodal.
        **arguments: Arguments of the model; `latent_dim` is 6 by default.

    Raises:
        AssertionError: A law is broken. The message contains the law and the values.
        ValueError: The name is unknown, or the schema has fewer than three modalities.

    Example:
        >>> from polymodal.modalities import Label, Vector
        >>> schema = Schema({"a": Vector(2, hidden=()), "b": Label(3, hidden=()), "c": Vector(1, hidden=())})
        >>> check_model("mvae", schema)
    """
    schema = Schema(EXAMPLES) if schema is None else schema
    if len(schema) < 3:
        raise ValueError(f"schema must have at least three modalities; got {', '.join(schema)}")
    with _register_model(model) as name:
        for law in MODEL_LAWS.values():
            apply_law(law, f"model {name!r}", ModelSubject(name, schema, arguments))


@contextmanager
def _register_model(model: str | Callable[..., Model]) -> Iterator[str]:
    """Yields the name of a model; a class that is not registered is registered within the context."""
    known = [name for name, registered in MODELS.items() if registered is model]
    if isinstance(model, str) or known:
        yield model if isinstance(model, str) else known[0]
        return
    name = model.__name__.lower()
    with temporary_entries(MODELS, {name: model}):
        yield name
