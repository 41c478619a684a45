"""Rendering of HTML pages from templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polymodal.runtime.formatting import printable

__all__ = ["render"]


def render(template: str, context: Mapping[str, Any]) -> str:
    """Renders a page.

    Arguments:
        template: File name of the template in this folder.
        context: Values of the template's variables.

    Returns:
        HTML in which all values are escaped and unprintable characters are replaced by escape sequences.
    """
    from importlib.resources import files

    from jinja2 import Environment, FunctionLoader, StrictUndefined

    loader = FunctionLoader(lambda name: files("polymodal.report").joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        loader=loader,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    return environment.get_template(template).render(context)
