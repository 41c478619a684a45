"""Groups of modalities whose networks are computed together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar, cast

from torch import nn

from polymodal.modalities.costed import Costed
from polymodal.networks.cpu import architecture, count_classes

if TYPE_CHECKING:
    from polymodal.schema import Schema

__all__ = ["NetworkGroups"]

T = TypeVar("T")

MOST_PADDING, LEAST_ROWS = 2**15, 128
"""Most scores that may be padded to compute labels together: rows, at least `LEAST_ROWS`, times added classes."""
MOST_KNOWN = 64
"""Number of groupings to remember."""

Part = tuple[nn.Module, tuple[nn.Module, ...]]
"""A module and its children."""


class NetworkGroups:
    """Finds the modalities whose networks can be computed together, and remembers the result.

    Networks are alike if their layers are. Decoders are only alike if the costs of their modalities are the same too.
    Labels may differ in the number of classes: they are in one group if padding costs less than computing them one
    after another.

    Arguments:
        schema: The modalities.
    """

    def __init__(self, schema: Schema) -> None:
        self.columns = {name: column for column, name in enumerate(schema)}
        self.is_paddable = [isinstance(modality, Costed) and modality.is_paddable for modality in schema.values()]
        self.cores = [
            f"{type(modality).__name__}({vars(modality)['cost']})" if paddable else repr(modality.core)
            for modality, paddable in zip(schema.values(), self.is_paddable, strict=True)
        ]
        self._known: dict[object, tuple[list[Part], object]] = {}

    def find(self, networks: nn.ModuleList, names: Iterable[str], *, decode: bool, rows: int = 1) -> list[list[str]]:
        """Returns the names in groups; labels are sorted by the number of classes.

        Arguments:
            networks: Encoders or decoders of all modalities.
            names: Names of modalities.
            decode: Whether these are decoders.
            rows: Number of rows, or of codes, that each network computes.
        """
        names = tuple(names)
        return self._remember((names, decode, rows), networks, lambda: [*self._find(networks, names, decode, rows)])

    def find_fully_connected(self, networks: nn.ModuleList) -> set[str]:
        """Returns the names of modalities whose networks are fully connected, and thus treat rows independently."""
        known = zip(self.columns, networks, strict=True)
        return self._remember((), networks, lambda: {name for name, one in known if architecture(one) is not None})

    def are_fully_connected(self, networks: nn.ModuleList) -> bool:
        """Returns whether the networks of all modalities are fully connected."""
        return len(self.find_fully_connected(networks)) == len(networks)

    def _remember(self, key: object, networks: nn.ModuleList, compute: Callable[[], T]) -> T:
        """Returns the result of a function; computes it again only if the networks have changed."""
        parts, known = self._known.get((networks, key), (None, None))
        if parts is None or not all(map(_is_unchanged, parts)):
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            parts, known = [(part, tuple(part.children())) for part in networks.modules()], compute()
            self._known[networks, key] = parts, known
        return cast("T", known)

    def _find(self, networks: nn.ModuleList, names: Iterable[str], decode: bool, rows: int) -> Iterator[list[str]]:
        groups: dict[object, list[str]] = {}
        for name in names:
            column = self.columns[name]
            known = architecture(networks[column], scores=decode and self.is_paddable[column])
            groups.setdefault(name if known is None else (known, decode and self.cores[column]), []).append(name)
        for alike in groups.values():
            yield from self._split(networks, alike, rows)

    def _split(self, networks: nn.ModuleList, names: list[str], rows: int) -> Iterator[list[str]]:
        """Splits labels with different numbers of classes where padding would cost more than it saves."""
        sizes = {name: count_classes(networks[self.columns[name]]) for name in names}
        part: list[str] = []
        for name in sorted(names, key=sizes.__getitem__):
            padding = sum(sizes[name] - sizes[smaller] for smaller in part)
            if padding * max(rows, LEAST_ROWS) > MOST_PADDING:
                yield part
                part = []
            part.append(name)
        yield part


def _is_unchanged(part: Part) -> bool:
    """Whether a module has the same children and neither hooks nor a replaced forward method."""
    module, children = part
    own = vars(module)
    hooked = own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or "forward" in own
    return not hooked and (*own["_modules"].values(),) == children
