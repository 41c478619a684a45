"""What runs and verifiers are called by: a hash of all that determines them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["ELSEWHERE", "LATER", "digest"]

ELSEWHERE = {"data": ("root", "download"), "fit": ("device", "compile", "save_every", "trackers")}
"""Settings that say where and how something is done, and change nothing of what comes out."""

LATER = {"fit": {"prior_epochs": None}, "build": {"prior": "normal", "features": None}}
"""Settings that an earlier version did not have, with the value that makes what it made: a run that has this value
keeps the name that it had."""


def digest(told: Mapping[str, Any]) -> str:
    """A hash of values by name, in whatever order.

    Example:
        >>> digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}), len(digest({}))
        (True, 12)
    """
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]
