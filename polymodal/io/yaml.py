"""Reads and writes settings as YAML, and reads assignments from the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path
from typing import Any

import yaml

from polymodal.runtime.formatting import brief, printable
from polymodal.runtime.validation import check_file

__all__ = ["assignments", "dump", "read"]

INT = re.compile(r"[-+]?(0|[1-9]\d*)$", re.ASCII)
FLOAT = re.compile(
    r"""[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?$   # 0.5 or 5.e-1
    |[-+]?\d+[eE][-+]?\d+$                       # 5e-1
    |[-+]?\.(inf|Inf|INF)$
    |\.(nan|NaN|NAN)$""",
    re.ASCII | re.VERBOSE,
)
LARGEST, MOST, DEEPEST, DIGITS = 2**20, 50_000, 32, 40
"""Largest numbers of characters, of values, of nesting levels, and of digits of an integer in a document."""
OWN = ("int", "float", "timestamp")
"""Types that YAML 1.1 parses in unexpected ways: 010 as 8, 1:30 as 90, 1e-4 as text, and dates."""


def assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Parses settings of the form "name=value"; values are YAML, and commas make a list.

    Returns:
        Settings by name.

    Raises:
        ValueError: There is no name or no "=", a value is not YAML, or a name is given twice.

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
    """Reads settings from a YAML file.

    Raises:
        OSError: The file does not exist, or cannot be read.
        ValueError: The file is no YAML mapping of settings, or a name is given twice.
    """
    check_file(path)
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
        document = _load(text, str(path))
    except OSError as error:
        raise OSError(f"{path} must be a file that can be read: {error.strerror or error}; name a YAML file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} must be a YAML file in UTF-8; it is no text") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ValueError(f"{path} must hold settings, such as `epochs: 30`; got {type(document).__name__}")
    return document


def dump(settings: Mapping[str, Any], comments: Iterable[str] = ()) -> str:
    """Formats settings as YAML, with comments at the top.

    Example:
        >>> print(dump({"fit": {"learning_rate": 1e-4}, "schema": {"widths": [16, 32]}}, ["A run."]), end="")
        # A run.
        fit:
          learning_rate: 0.0001
        schema:
          widths: [16, 32]
    """
    head = "".join(f"# {printable(comment)}\n" for comment in comments)
    text = yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    if not text.replace("\n", "").isprintable():  # escape characters that change the text direction or have no width
        text = yaml.dump(settings, Dumper=_Dumper, sort_keys=False)
    return head + text


class _Loader(yaml.SafeLoader):
    """Loads YAML with unique names and decimal numbers only; other notations of numbers are texts.

    Aliases are not allowed, and the digits, the number and the nesting depth of values are limited, so the time and
    memory needed for a document are bounded by its length.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 (as in its base)
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in OWN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.values = self.depth = 0

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803 (as in its base)
        """Rejects brackets that are nested too deep, before what follows them is read."""
        if self.flow_level >= DEEPEST:
            raise RecursionError
        super().fetch_flow_collection_start(TokenClass)

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Rejects aliases, too many values, and values that are nested too deep."""
        self.values += 1
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _error(f"the alias *{event.anchor}; write out what it stands for", event)
        if self.values > MOST:
            raise _error(f"more than {MOST:,} values", event)
        if self.depth >= DEEPEST:
            raise RecursionError
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Rejects a name that is given twice in a mapping."""
        node = super().compose_mapping_node(anchor)
        names = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in names:
                raise _error(f"{key.value!r} twice", key)
            names.add((key.tag, str(key.value)))
        return node

    def construct_int(self, node: Any) -> int:
        """Returns a decimal integer with a limited number of digits."""
        text = self.construct_scalar(node)
        if not INT.match(text) or len(text) > DIGITS:
            raise _error(f"{brief(text, 60)}; whole numbers have at most {DIGITS} decimal digits", node)
        return int(text)

    def construct_float(self, node: Any) -> float:
        """Returns a decimal number that a float can represent; infinity is written .inf."""
        text = self.construct_scalar(node)
        if not FLOAT.match(text) and not INT.match(text):
            raise _error(f"{brief(text, 60)}; write a decimal number, such as 0.5 or 1e-4", node)
        value = self.construct_yaml_float(node)
        if abs(value) == inf and not text.lower().endswith(".inf"):
            raise _error(f"{brief(text, 60)}; numbers must be below 1.8e308", node)
        return value


def _error(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line, and uses no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Returns True, so no aliases are written."""
        return True


for _kind in (_Loader, _Dumper):  # the dumper quotes texts that the loader would read as numbers
    for _tag, _pattern in {"int": INT, "float": FLOAT}.items():
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, [*"-+.0123456789"])
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_float)
_Dumper.add_representer(list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True))


def _value(text: str, name: str) -> Any:
    value = _load(text, name)
    if isinstance(value, str) and "," in value and text.strip()[0] not in "'\"":
        return _load(f"[{text}]", name)
    return value


def _load(text: str, what: str) -> Any:
    if len(text) > LARGEST:
        raise ValueError(f"{what} must be at most {LARGEST} characters of YAML; it is longer")
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", in line {mark.line + 1}, column {mark.column + 1}"
        raise ValueError(f"{what} must be YAML; got {getattr(error, 'problem', None) or 'no text'}{where}") from None
    except RecursionError:
        raise ValueError(f"{what} must not hold lists or sections in each other so deep; write it flatter") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # from constructors
        raise ValueError(f"{what} must be plain YAML; got what is not: {brief(error)}") from None
