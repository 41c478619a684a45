"""Training of the classifiers on a bounded number of a table's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.evaluation.coherence.classifier import SIZE, Classifier, Classifiers
from polymodal.evaluation.coherence.labels import Classes, find_label, get_classes
from polymodal.modalities.base import check_counts
from polymodal.networks import evaluating
from polymodal.runtime.progress import show_progress
from polymodal.runtime.seeding import derive_seed, let_others_run, own_streams, seed_streams

if TYPE_CHECKING:
    from polymodal.table.table import Table

__all__ = ["train_classifiers"]

FEWEST = 10
"""Minimum number of rows for a classifier; a modality with fewer rows gets none."""
HELD_OUT = 10
"""One row in 10 is held out."""
PROCESSED = 25_000
"""Approximate number of rows processed over all epochs: seconds for small images, minutes for a transformer."""


def train_classifiers(
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
) -> Classifiers:
    """Trains a classifier of the label for each other modality. All models of a data set can share them.

    Each classifier has the modality's encoder from the table's schema, and is trained with Adam on the rows that have
    both the modality and a known class. A random tenth of these is held out, and the weights of the epoch with the
    highest held-out accuracy are kept. Training processes about 25,000 rows over all epochs, so with many rows
    it runs for fewer epochs or uses a part of the rows. A modality with fewer than 10 of these rows gets no classifier.
    The same seed, device and number of threads give the same weights. PyTorch's global random state is not changed.

    Arguments:
        train: Training rows.
        label: Name of the modality with the class of each row; by default the first label modality, or else
            `Table.labels`.
        epochs: Maximum number of epochs.
        batch_size: Number of rows per step.
        learning_rate: Maximum learning rate of Adam; the learning rate first increases to it, then decreases to 0.
        size: Number of features of each encoder.
        seed: Random seed for the initial weights, the held-out rows and the order of the rows.
        device: Device to train on.
        progress: Whether to report progress, with a bar on a terminal and with lines elsewhere.

    Returns:
        The trained classifiers; their `accuracy` is that on the held-out rows.

    Raises:
        ValueError: The rows have no class label, or `epochs`, `batch_size` or `size` is invalid.

    Example:
        >>> from polymodal.datasets import load
        >>> data = load("polydigits", rows=100, held_out_rows=50)
        >>> classifiers = train_classifiers(data.train, epochs=2)
        >>> [*classifiers.accuracy]
        ['m0', 'm1', 'm2', 'm3', 'm4']
    """
    check_counts(epochs=epochs, batch_size=batch_size, size=size)
    label = find_label(train, label)
    classes, device = get_classes(train, label), torch.device(device)
    rows = {name: _rows(train, name, classes) for name in train.schema if name != label}
    rows = {name: some for name, some in rows.items() if len(some) >= FEWEST}
    with own_streams(derive_seed(seed, len(train.schema))):
        classifiers = Classifiers(train.schema, label, classes.number, dict.fromkeys(rows, 0.0), size, seed).to(device)
    parts = show_progress(rows.items(), "training classifiers", len(rows)) if progress else rows.items()
    for name, some in parts:
        with seed_streams(derive_seed(seed, train.schema.index(name)), device):
            classifiers.accuracy[name] = _train(
                classifiers.get(name), train, name, some, classes.values, epochs, batch_size, learning_rate
            )
    return classifiers.eval()


def _rows(table: Table, name: str, classes: Classes) -> Tensor:
    """Returns the indices of the rows that have a modality and a known class."""
    has = table.observed[:, table.schema.index(name)].cpu()
    return (has & (classes.values >= 0)).nonzero()[:, 0]


def _train(
    classifier: Classifier,
    table: Table,
    name: str,
    rows: Tensor,
    classes: Tensor,
    epochs: int,
    batch_size: int,
    learning_rate: float,
) -> float:
    """Trains a classifier and loads the weights of its best epoch into it.

    Random numbers come from PyTorch's global generator.

    Arguments:
        classifier: Classifier to train, on its device.
        table: Table with the training rows.
        name: Name of the modality.
        rows: Indices of the rows that have it and a known class, at least two.
        classes: Classes of all rows of the table, `(N,)` int64.
        epochs: Maximum number of epochs.
        batch_size: Number of rows per step.
        learning_rate: Maximum learning rate of Adam.

    Returns:
        The best epoch's accuracy on the held-out rows, in per cent.
    """
    rows = rows[torch.randperm(len(rows))]
    held_out, rows = rows[: max(1, len(rows) // HELD_OUT)], rows[max(1, len(rows) // HELD_OUT) :]
    rows = rows[:PROCESSED]
    epochs = min(epochs, round(PROCESSED / len(rows)))
    steps = epochs * -(-len(rows) // batch_size)
    adam = torch.optim.Adam(classifier.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, learning_rate, total_steps=max(2, steps))
    best, weights = -1.0, {}
    for _ in range(epochs):
        classifier.train()
        for part in rows[torch.randperm(len(rows))].split(batch_size):
            x, y = _values(classifier, table, name, part), classes[part].to(classifier.head.weight.device)
            adam.zero_grad()
            F.cross_entropy(classifier(x), y).backward()
            nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
            adam.step()
            schedule.step()
            let_others_run(classifier.head.weight.device)
        if (accuracy := _accuracy(classifier, table, name, held_out, classes)) >= best:
            best, weights = accuracy, {key: value.clone() for key, value in classifier.state_dict().items()}
    classifier.load_state_dict(weights)
    return best


def _accuracy(classifier: Classifier, table: Table, name: str, rows: Tensor, classes: Tensor) -> float:
    with evaluating(classifier), torch.no_grad():
        right = [
            (classifier(_values(classifier, table, name, part)).argmax(-1).cpu() == classes[part]).sum()
            for part in rows.split(256)
        ]
    return 100 * int(torch.stack(right).sum()) / len(rows)


def _values(classifier: Classifier, table: Table, name: str, rows: Tensor) -> Tensor:
    """Returns the modality's values of the rows, prepared for its encoder, `(R, *shape)`."""
    weight = classifier.head.weight
    values = table.values[name][rows.to(table.observed.device)].to(weight.device)
    return table.schema[name].prepare(values, weight.dtype)
