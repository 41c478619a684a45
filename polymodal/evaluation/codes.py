"""Two-dimensional maps of codes under several conditionings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from polymodal.evaluation.coherence.labels import find_label, get_classes, list_label_modalities
from polymodal.evaluation.subsets import list_conditionings
from polymodal.inference.passes import encode

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.models.base import Model
    from polymodal.table.table import Table

__all__ = ["code_map", "compute_principal_components"]

PANELS = 8
"""Maximum number of conditionings on the map."""
NEIGHBOURS = 15
"""UMAP's number of neighbours, its default."""


def code_map(model: Model, table: Table, label: str | None = None, rows: int = 500, seed: int = 0) -> pd.DataFrame:
    """Projects codes of rows under several conditionings to two dimensions.

    The projection is UMAP if the package umap-learn (the extra `umap`) is installed, and otherwise PCA. UMAP is
    initialised with PCA, because its default initialisation is unsuitable for many equal codes, such as those
    given a label. The same seed gives the same map. Where a row has none of the given modalities, its code is left out.

    Arguments:
        model: Model that encodes the rows.
        table: Table from which rows are sampled.
        label: Name of the modality with the class of each row, as in `evaluate`.
        rows: Maximum number of rows.
        seed: Random seed for the choice of rows and for UMAP.

    Returns:
        Data frame with one row per table row and conditioning: `given` ("all", "m0 alone", "all but label", at most 8),
        `label` (the class; -1 if unknown or without classes), `x`, `y`, and `method`, "umap" or "pca".

    Raises:
        ValueError: The table has other modalities than the model, or no such label.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=20, held_out_rows=10)
        >>> points = code_map(build("mac-wae", data.schema, latent_dim=8), data.test)
        >>> points.columns.tolist(), points["given"].nunique(), len(points)
        (['given', 'label', 'x', 'y', 'method'], 8, 80)

    Source: MAC-WAE, Figure 5.
    """
    import pandas as pd

    model.schema.require(table.schema, "the table")
    chosen = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:rows]
    classes = _classes(table, label)[chosen].numpy()
    subsets = list_conditionings(model.schema, PANELS)
    z, enough = encode(model, table[chosen], torch.stack([*subsets.values()]))
    enough = enough.cpu().numpy()
    points, method = _project_to_2d(z.float().cpu().numpy()[enough], seed)
    which, row = enough.nonzero()
    return pd.DataFrame(
        {
            "given": np.array([*subsets])[which],
            "label": classes[row],
            "x": points[:, 0],
            "y": points[:, 1],
            "method": method,
        }
    )


def compute_principal_components(z: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the first two principal components `(N, 2)` of vectors `(N, D)`, and their share of the variance."""
    from sklearn.decomposition import PCA

    if len(z) < 2:
        return np.zeros((len(z), 2)), float("nan")
    z = np.pad(z, ((0, 0), (0, max(0, 2 - z.shape[1]))))
    pca = PCA(2, svd_solver="full").fit(z)
    whole = z.var(0, ddof=1).sum()
    return pca.transform(z), float(pca.explained_variance_.sum() / whole) if whole else float("nan")


def _project_to_2d(z: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Projects vectors `(N, D)` to `(N, 2)` and returns the method; too few for UMAP's neighbours are left to PCA."""
    try:
        from umap import UMAP
    except ImportError:
        UMAP = None  # noqa: N806
    if UMAP is None or len(z) <= NEIGHBOURS:
        return compute_principal_components(z)[0], "pca"
    threads = torch.get_num_threads()
    try:
        return np.asarray(
            UMAP(n_neighbors=NEIGHBOURS, init="pca", random_state=seed, n_jobs=1).fit_transform(z)
        ), "umap"
    finally:
        torch.set_num_threads(threads)  # numba makes OpenMP, which PyTorch uses too, use all threads


def _classes(table: Table, label: str | None) -> torch.Tensor:
    """Returns the class of each row, -1 where there is none."""
    if label is None and table.labels is None and not list_label_modalities(table.schema):
        return torch.full((len(table),), -1)
    return get_classes(table, find_label(table, label)).values
