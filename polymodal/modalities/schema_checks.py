"""Checks of the names, the groups and the values of the modalities of a schema."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from torch import Tensor

from polymodal.runtime.formatting import brief, shell_quote
from polymodal.runtime.validation import check_kind, check_mapping

__all__ = ["check_count", "check_groups", "check_name", "check_tensor_mapping"]

MOST = 10_000
"""Maximum number of modalities in a schema. Without it, a short file could describe arbitrarily many."""

UNFIT = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories that names must not contain.

They are control characters, zero-width and text-direction characters, surrogates, and line and paragraph separators.
"""


def check_name(name: str) -> None:
    """Checks that a name has 1 to 200 characters, each of which is visible or a space.

    Raises:
        ValueError: It has not; the message says how to rename the column or to leave it out.
    """
    if not (1 <= len(name) <= 200) or any(unicodedata.category(letter) in UNFIT for letter in name):
        better = " ".join("".join(c if unicodedata.category(c) not in UNFIT else " " for c in name).split())[:200]
        shown, better = brief(repr(name), 60), better or "column"
        raise ValueError(
            "names of modalities and groups must have 1 to 200 characters, none of them a control or "
            "zero-width character; "
            f"got {shown}; rename the column, as by frame.rename(columns={{{shown}: {better[:60]!r}}}) or in the "
            f"file's first line, or leave it out by ignore=[{shown}] or --modality "
            f"{brief(shell_quote(f'{name}=ignore'), 80)}"
        )


def check_groups(groups: Mapping[str, list[str]], modalities: Iterable[str]) -> None:
    """Checks that groups of modalities have names of their own and share no modality.

    Raises:
        ValueError: They do not; the message names the first such group or modality.
    """
    grouped = Counter(name for names in groups.values() for name in names)
    for name in {*groups} & {*modalities} | {name for name, times in grouped.items() if times > 1}:
        raise ValueError(
            f"a group must not have the name of a modality or share a modality with another group; {name!r} occurs "
            "twice; rename it or remove it from a group"
        )


def check_count(modalities: int) -> None:
    """Checks the number of modalities of a schema.

    Raises:
        ValueError: There are none, or too many.
    """
    if not 1 <= modalities <= MOST:
        raise ValueError(f"a schema must have at least one modality and at most {MOST}; got {modalities}")


def check_tensor_mapping(values: Mapping[str, Tensor]) -> None:
    """Checks that a value is a mapping from names to tensors.

    Raises:
        TypeError: It is not. The message names the wrong part.
    """
    check_mapping("values", values, "{'size': torch.rand(4, 2)}")
    for name, value in values.items():
        check_kind(f"the values of {name!r}", value, Tensor, "a tensor", "use torch.as_tensor")
