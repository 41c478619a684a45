"""A REST API and a page for a trained model: any modality from any subset of the others, over HTTP.

`polymodal serve RUN` starts it. In Python, `create_app` returns the application, which any ASGI server can run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.serving.application import create_app
    from polymodal.serving.limits import Limits
    from polymodal.serving.server import serve

__all__ = ["Limits", "create_app", "serve"]

_HOMES = {"Limits": "limits", "create_app": "application", "serve": "server"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'polymodal.serving' has no attribute {name!r}")
    try:
        return getattr(import_module(f"polymodal.serving.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("polymodal"):
            raise
        raise ImportError(f"serving a model needs {error.name}; pip install 'polymodal[serve]'") from error
