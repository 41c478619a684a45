"""Hashes of settings, by which the folders of runs and of their classifiers are named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["ELSEWHERE", "LATER", "digest"]

ELSEWHERE = {"data": ("root", "download"), "fit": ("device", "compile", "save_every", "trackers")}
"""Settings that do not affect the result, such as the device; they are left out of the hash."""

LATER = {
    "fit": {"prior_epochs": None},
    "build": {
        "prior": "normal",
        "features": None,
        "hidden_dropout": 0.0,
        "factors": None,
        "members": 1,
        "mask_hidden": 512,
    },
}
"""Settings that were added later, with the value that reproduces earlier results.

A setting with this value is left out of the hash, so that the run keeps its earlier name.
"""


def digest(values: Mapping[str, Any]) -> str:
    """Returns a hash of named values that does not depend on their order.

    Example:
        >>> digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}), len(digest({}))
        (True, 12)
    """
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]
