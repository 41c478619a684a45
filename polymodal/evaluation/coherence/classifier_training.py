"""Training of verifiers on a table's rows, a bounded number of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.evaluation.coherence.classifier import SIZE, Verifier, Verifiers
from polymodal.evaluation.coherence.labels import Classes, classes_of, label_of
from polymodal.modalities.base import check_counts
from polymodal.networks import evaluating
from polymodal.runtime.progress import shown
from polymodal.runtime.seeding import give_way, number, own_streams, seeded

if TYPE_CHECKING:
    from polymodal.table.table import Table

__all__ = ["train_verifiers"]

FEWEST = 10
"""Rows that a verifier is trained on, at least: a modality that is rarer than that has none."""
HELD_OUT = 10
"""One row in so many is held out."""
SEEN = 25_000
"""Rows that a training sees over all epochs, about: seconds for small pictures, minutes for a transformer."""


def train_verifiers(
    train: Table,
    *,
    label: str | None = None,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    size: int = SIZE,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Verifiers:
    """Trains a classifier of the label for each other modality, once for all models of a data set.

    Each has the modality's own encoder, as the table's schema has it, and is trained by Adam on the rows that have
    both the modality and a known class. A tenth of them, at random, is held out, and the weights of the epoch that
    is best on it are kept. It sees about 25,000 rows over all epochs, so of many rows it makes fewer epochs, or sees a
    part. A modality that fewer than 10 of these rows have gets no verifier. The same seed, device and number of
    threads give the same weights. PyTorch's global random state is left as it was.

    Arguments:
        train: The training rows.
        label: The modality that says a row's class; by default the first that is one class, or else `Table.labels`.
        epochs: Passes over the rows, at most.
        batch_size: Rows per step.
        learning_rate: Adam's at its highest; it rises first, and then falls to 0.
        size: Of what an encoder makes.
        seed: Of the weights, the held-out rows and the order.
        device: Where to train.
        progress: Whether to show a bar on a terminal, and lines elsewhere.

    Returns:
        The verifiers; their `accuracy` is that on the held-out rows.

    Raises:
        ValueError: The rows have no class label, or there are no epochs or rows per step.

    Example:
        >>> from polymodal.datasets import load
        >>> data = load("polydigits", rows=100, held_out_rows=50)
        >>> verifiers = train_verifiers(data.train, epochs=2)
        >>> [*verifiers.accuracy]
        ['m0', 'm1', 'm2', 'm3', 'm4']
    """
    check_counts(epochs=epochs, batch_size=batch_size, size=size)
    label = label_of(train, label)
    classes, device = classes_of(train, label), torch.device(device)
    rows = {name: _rows(train, name, classes) for name in train.schema if name != label}
    rows = {name: some for name, some in rows.items() if len(some) >= FEWEST}
    with own_streams(number(seed, len(train.schema))):
        made = Verifiers(train.schema, label, classes.number, dict.fromkeys(rows, 0.0), size, seed).to(device)
    parts = shown(rows.items(), "training verifiers", len(rows)) if progress else rows.items()
    for name, some in parts:
        with seeded(number(seed, train.schema.index(name)), device):
            made.accuracy[name] = _learn(
                made.of(name), train, name, some, classes.values, epochs, batch_size, learning_rate
            )
    return made.eval()


def _rows(table: Table, name: str, classes: Classes) -> Tensor:
    """The numbers of the rows that have a modality and a known class."""
    has = table.observed[:, table.schema.index(name)].cpu()
    return (has & (classes.values >= 0)).nonzero()[:, 0]


def _learn(
    verifier: Verifier,
    table: Table,
    name: str,
    rows: Tensor,
    classes: Tensor,
    epochs: int,
    batch_size: int,
    learning_rate: float,
) -> float:
    """Trains a verifier, and leaves the weights of its best epoch in it.

    Arguments:
        verifier: On its device. What it and the order of the rows draw comes from PyTorch's global stream.
        table: That the rows are of.
        name: Of the modality.
        rows: Numbers of rows that have it and a known class, two at least.
        classes: Of all the table's rows, `(N,)` int64.
        epochs: Passes over the rows, at most.
        batch_size: Rows per step.
        learning_rate: Adam's at its highest.

    Returns:
        The best epoch's accuracy on the rows that were held out, x 100.
    """
    rows = rows[torch.randperm(len(rows))]
    held, rows = rows[: max(1, len(rows) // HELD_OUT)], rows[max(1, len(rows) // HELD_OUT) :]
    rows = rows[:SEEN]
    epochs = min(epochs, round(SEEN / len(rows)))
    steps = epochs * -(-len(rows) // batch_size)
    adam = torch.optim.Adam(verifier.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, learning_rate, total_steps=max(2, steps))
    best, kept = -1.0, {}
    for _ in range(epochs):
        verifier.train()
        for part in rows[torch.randperm(len(rows))].split(batch_size):
            x, y = _values(verifier, table, name, part), classes[part].to(verifier.head.weight.device)
            adam.zero_grad()
            F.cross_entropy(verifier(x), y).backward()
            nn.utils.clip_grad_norm_(verifier.parameters(), 1.0)
            adam.step()
            schedule.step()
            give_way(verifier.head.weight.device)
        if (accuracy := _accuracy(verifier, table, name, held, classes)) >= best:
            best, kept = accuracy, {key: value.clone() for key, value in verifier.state_dict().items()}
    verifier.load_state_dict(kept)
    return best


def _accuracy(verifier: Verifier, table: Table, name: str, rows: Tensor, classes: Tensor) -> float:
    with evaluating(verifier), torch.no_grad():
        right = [
            (verifier(_values(verifier, table, name, part)).argmax(-1).cpu() == classes[part]).sum()
            for part in rows.split(256)
        ]
    return 100 * int(torch.stack(right).sum()) / len(rows)


def _values(verifier: Verifier, table: Table, name: str, rows: Tensor) -> Tensor:
    """The modality's values as its encoder takes them, `(R, *shape)`."""
    weight = verifier.head.weight
    values = table.values[name][rows.to(table.observed.device)].to(weight.device)
    return table.schema[name].prepare(values, weight.dtype)
