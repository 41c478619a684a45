"""Settings as text: YAML files, and assignments on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["assignments", "dump", "read"]

FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Settings by name from "name=value"; values are YAML, and commas make a list.

    Raises:
        ValueError: There is no name or no "=", a value is not YAML, or a name comes twice.

    Example:
        >>> assignments(["beta=1e-4", "widths=16,32", "build.seed=1", "clip="])
        {'beta': 0.0001, 'widths': [16, 32], 'build.seed': 1, 'clip': None}
    """
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.strip()):
            raise ValueError(f"a setting must be name=value, such as beta=2; got {text!r}")
        if name.strip() in settings:
            raise ValueError(f"a setting must be given once; got {name.strip()!r} twice; leave one out")
        settings[name.strip()] = _value(value, name.strip())
    return settings


def read(path: str | Path) -> dict[str, Any]:
    """Settings from a YAML file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else than YAML's names and values.
    """
    try:
        document = _load(Path(path).read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} must exist, and does not") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} must be a YAML file in UTF-8; it is no text") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ValueError(f"{path} must hold settings, such as `epochs: 30`; got {type(document).__name__}")
    return document


def dump(settings: Mapping[str, Any], comments: Iterable[str] = ()) -> str:
    """Settings as YAML; comments at its head.

    Example:
        >>> print(dump({"fit": {"learning_rate": 1e-4}, "schema": {"widths": [16, 32]}}, ["A run."]), end="")
        # A run.
        fit:
          learning_rate: 0.0001
        schema:
          widths: [16, 32]
    """
    head = "".join(f"# {comment}\n" for comment in comments)
    return head + yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Lists on one line, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        """True of everything."""
        return True


_Dumper.add_representer(list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True))


def _value(text: str, name: str) -> Any:
    value = _load(text, name)
    if isinstance(value, str) and "," in value and text.strip()[0] not in "'\"":
        return _load(f"[{text}]", name)
    return value


def _load(text: str, what: str) -> Any:
    try:
        return _floats(yaml.safe_load(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", in line {mark.line + 1}, column {mark.column + 1}"
        raise ValueError(f"{what} must be YAML; got {getattr(error, 'problem', None) or 'no text'}{where}") from None


def _floats(value: Any) -> Any:
    """What YAML 1.1 reads as text for want of a point or a sign, 1e-4, as the number it is."""
    if isinstance(value, dict):
        return {key: _floats(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_floats(part) for part in value]
    return float(value) if isinstance(value, str) and FLOAT.fullmatch(value) else value
