"""A data set as tensors, in memory or memory-mapped, with the mask of observed modalities in each row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from polymodal import csvfiles
from polymodal.batch import Batch, Index, Whole
from polymodal.io.parquet_files import ParquetTable
from polymodal.runtime import distributed
from polymodal.runtime.prefetch import copy_to_device, prefetch_batches
from polymodal.runtime.seeding import derive_seed
from polymodal.runtime.validation import check_callable, check_frame, check_kind, check_list, check_path, check_whole
from polymodal.schema import Schema, check_tensors
from polymodal.table import frames

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Table", "steps"]

FITTED = 2**18
"""Number of rows of a Parquet file from which units, classes and words are learned."""

PIECE = 64 * 2**20
"""Size in bytes of the chunks in which a table is checked and hashed."""


@dataclass(frozen=True, eq=False)
class Table:
    """N rows of M modalities, where each row may have only some of the modalities.

    Arguments:
        values: Values by name, `(N, *shape)` each; a modality that no row has may be left out.
        observed: Mask of observed modalities, `(N, M)` bool; by default every modality in `values` is observed.
        schema: The modalities.
        alternatives: Alternative values by name, `(N, A, *shape)` each, for example the captions of an image. One of
            them is sampled per row and epoch; without a seed, the first one is used.
        source: Description of where the rows come from, for the files of a run, in JSON types.
        digest: Fingerprint of rows that were written and checked before; by default it is computed on demand.
            `dataclasses.replace` does not keep it.
        labels: Class of each row, `(N,)` int64, whether or not the class is a modality. It is used in evaluation only
            (coherence, a classifier, a probe): models do not see it, and the fingerprint does not include it.

    Raises:
        ValueError: A value does not have the shape of its modality, an observed value is out of range or not finite,
            or a row has no observed modality.

    Example:
        >>> from polymodal.modalities import Label, Vector
        >>> schema = Schema({"size": Vector(2), "species": Label(3)})
        >>> table = Table({"size": torch.rand(5, 2), "species": torch.tensor([0, 1, 2, 0, 1])}, schema=schema)
        >>> len(table), len(table[1:3]), [len(batch) for batch in table.batches(2, seed=0)]
        (5, 2, [2, 3])
    """

    values: Mapping[str, Tensor]
    observed: Tensor = None  # pyright: ignore[reportAssignmentType]
    schema: Schema = None  # pyright: ignore[reportAssignmentType]
    alternatives: Mapping[str, Tensor] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    digest: InitVar[str | None] = None
    labels: Tensor | None = None
    _digest: ClassVar[str | None] = None
    _host: ClassVar[Tensor | None] = None
    """Copy of `observed` in CPU memory, if `observed` is on another device."""

    def __post_init__(self, digest: str | None) -> None:
        object.__setattr__(self, "_digest", digest)
        if self.schema is None:
            raise ValueError("a table must have a schema; pass schema=Schema({...})")
        check_kind("schema", self.schema, Schema, "a Schema", "write schema=Schema({...})")
        check_tensors(self.values)
        check_tensors(self.alternatives)
        values = {name: choices[:, 0] for name, choices in self.alternatives.items()} | dict(self.values)
        object.__setattr__(self, "values", values)
        if self.observed is None:
            object.__setattr__(self, "observed", self.schema.batch(values).observed)
        check_kind("observed", self.observed, Tensor, "a tensor", "write torch.tensor([[True, False]])")
        if self.observed.dim() != 2:
            raise ValueError(f"observed must be bool (N, M); got {tuple(self.observed.shape)}")
        self._check()

    def __len__(self) -> int:
        return len(self.observed)

    def __getitem__(self, index: Index) -> Batch:
        """Returns rows as a batch; an int gives a batch of one row."""
        return Batch(self.values, self.observed, schema=self.schema)[index]

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        start: int = 0,
        stride: int = 1,
        share: tuple[int, int] | None = None,
        device: torch.device | str | None = None,
    ) -> Iterator[Batch]:
        """Yields the rows in batches, in an order that depends only on `seed` and `epoch`.

        A last batch of one row is merged into the batch before it, because a penalty on pairs needs at least two rows.

        Arguments:
            batch_size: Number of rows per batch, at least 1.
            seed: Random seed for shuffling and for sampling alternatives; None keeps the order of the table.
            epoch: Number of the epoch.
            start: Number of batches to skip at the beginning.
            stride: Step between batches: every `stride`-th batch from `start` on, so that several processes can take
                turns with complete batches.
            share: Rank of a process and number of processes; each process gets a part of every batch, see
                `distributed.split_batch`.
            device: Device of the batches; by default that of the table.

        Returns:
            An iterator over batches.
        """
        check_whole("batch_size", batch_size)
        numbers = torch.int32 if len(self) < 2**31 else torch.int64  # the order of 10^9 rows takes 4 GB
        order = torch.arange(len(self), dtype=numbers)
        choices: dict[str, Tensor] = {}
        if seed is not None:
            generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
            order = torch.randperm(len(self), generator=generator, dtype=numbers)
            for name, options in self.alternatives.items():
                choices[name] = torch.randint(options.shape[1], (len(self),), generator=generator)
        parts = list(order.split(batch_size))
        if len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])]

        def make(rows: Tensor) -> Batch:
            rows = rows.long()
            return self._gather_batch(rows, choices) if share is None else self._part(rows, choices, *share)

        yield from prefetch_batches(make, parts[start::stride], device)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        schema: Schema | None = None,
        *,
        root: str | Path | None = None,
        unreadable: float = frames.MOST_UNREADABLE,
        say: Callable[[str], object] | None = print,
    ) -> Table:
        """Reads the rows of a data frame.

        None, NaN, NA, empty texts, missing files, and classes that the schema does not know are not observed. Rows
        without any observed value are left out.

        Arguments:
            frame: Data frame with a column for each modality; a vector with names has a column for each name.
            schema: The modalities; by default inferred with `Schema.infer`. Settings that they leave unspecified
                (units, classes, words) are learned from these rows: read the training rows first, then read the other
                rows with the `.schema` of the training table.
            root: Folder that file names in cells are relative to; by default the working folder.
            unreadable: Largest share of damaged files in a column.
            say: Function that receives a message for each problem; None suppresses the messages.

        Raises:
            ValueError: A cell cannot be read, no row has an observed value, or too many files are damaged. The error
                names the column and the row, counted from 0 or by the label of an integer index.

        Example:
            >>> import pandas as pd
            >>> from polymodal.modalities import Label, Vector
            >>> frame = pd.DataFrame({"kind": ["owl", "emu", None], "grams": [180.0, None, 230.0]})
            >>> table = Table.from_frame(frame, Schema({"kind": Label(2), "grams": Vector(1)}))
            >>> table.schema["kind"].names, table.observed.tolist()
            (('emu', 'owl'), [[True, True], [True, False], [False, True]])
            >>> Table.from_frame(frame[:1], table.schema).values["grams"]
            tensor([[-1.]])
        """
        _check_options(schema, say)
        check_frame(frame)
        schema = Schema.infer(frame, root=root, say=say) if schema is None else schema
        return cls._from_pieces([frame], frames.Reader(frames.fit_schema(schema, frame), root, unreadable), say)

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        schema: Schema | None = None,
        *,
        columns: Sequence[str] | None = None,
        missing: str | Sequence[str] = (),
        present: str | Sequence[str] = (),
        separator: str | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        encoding: str | None = None,
        quote: str | None = None,
        header: bool | None = None,
        **options: Any,
    ) -> Table:
        """Reads the rows of a CSV file.

        Separator, decimal mark and encoding are detected from the file unless they are given. White space around cells
        is removed.

        Arguments:
            path: The file, which may be compressed: `.csv`, `.tsv`, `.csv.gz`.
            schema: As in `from_frame`.
            columns: Names of the columns, if the first line does not contain them.
            missing: Further texts that mean a missing value, such as "?".
            present: Texts that are values although they usually mean a missing value: "NA", or "country=NA" for one
                column.
            separator: Character between cells.
            decimal: Decimal mark of numbers.
            thousands: Character between groups of three digits.
            encoding: Name of the encoding.
            quote: Character around quoted cells, or "none".
            header: Whether the first line contains the column names; without it, columns are called column_0, column_1
                and so on.
            **options: As in `from_frame`; by default `root` is the folder of the file.

        Raises:
            FileNotFoundError: The file does not exist.
            ValueError: The file cannot be read, or a line has more or fewer cells than the header; the error names the
                line.
        """
        check_path("path", path)
        texts = [[some] if isinstance(some, str) else some for some in (missing, present)]
        marks = (separator, decimal, thousands, encoding, quote)
        given = csvfiles.Options(columns, texts[0], texts[1], *marks, header=header)
        document = csvfiles.read(path, given)
        frame, said = document.frame, list(document.messages)
        if schema is None and document.index is not None:
            frame = frame.drop(columns=document.index)
            said.append(f"{document.path.name}: {csvfiles.INDEX}")
        if (say := options.get("say", print)) is not None:
            for sentence in said:
                say(sentence)
        return cls.from_frame(frame, schema, **{"root": Path(path).parent, **options})

    @classmethod
    def from_parquet(cls, path: str | Path, schema: Schema | None = None, **options: Any) -> Table:
        """Reads the rows of a Parquet file, or of all Parquet files in a folder.

        A missing schema, or settings that the schema leaves unspecified, are inferred from the first 262,144 rows.

        Arguments:
            path: The file or the folder.
            schema: As in `from_frame`.
            **options: As in `from_frame`; by default `root` is the folder of the file, or the given folder.
        """
        check_path("path", path)
        root = Path(path) if Path(path).is_dir() else Path(path).parent
        return cls._from_frames(ParquetTable(path).frames(frames.ROWS), schema, **{"root": root, **options})

    @classmethod
    def from_arrow(cls, table: pa.Table, schema: Schema | None = None, **options: Any) -> Table:
        """Reads the rows of an Arrow table, like `from_parquet`; by default `root` is the working folder."""
        import pyarrow as pa

        check_kind("table", table, pa.Table, "a pyarrow table", "pass pyarrow.Table.from_pandas(frame)")
        pieces = (batch.to_pandas() for batch in table.to_batches(frames.ROWS))
        return cls._from_frames(pieces, schema, **options)

    @classmethod
    def from_dataset(cls, dataset: Iterable[Mapping[str, Any]], schema: Schema | None = None, **options: Any) -> Table:
        """Reads the rows of a data set of dicts, such as one of PyTorch or Hugging Face, or of any iterable of dicts.

        Arguments:
            dataset: Data set with one dict per row; its values may be those of the cells of a data frame, or tensors.
            schema: As in `from_frame`.
            **options: As in `from_frame`.

        Raises:
            TypeError: A row is not a dict.
        """
        import pandas as pd

        if isinstance(dataset, type | Mapping | pd.DataFrame):
            raise TypeError(
                f"dataset must give a dict per row; got {type(dataset).__name__}; write [{{'height': 1.5}}], or use "
                "Table.from_frame"
            )
        indexed = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
        if not indexed:
            check_list("dataset", dataset, "dicts, or a data set that gives them", "[{'height': 1.5}]")
        rows = [dataset[row] for row in range(len(dataset))] if indexed else list(dataset)  # pyright: ignore[reportIndexIssue, reportArgumentType]
        for place, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise TypeError(f"a data set must give a dict per row; row {place} is a {type(row).__name__}")
        columns = dict.fromkeys(key for row in rows for key in row)
        cells = {key: pd.Series([_plain(row.get(key)) for row in rows]) for key in columns}
        return cls.from_frame(pd.DataFrame(cells), schema, **options)

    @classmethod
    def _from_frames(
        cls,
        pieces: Iterator[pd.DataFrame],
        schema: Schema | None,
        *,
        root: str | Path | None = None,
        unreadable: float = frames.MOST_UNREADABLE,
        say: Callable[[str], object] | None = print,
    ) -> Table:
        import pandas as pd

        _check_options(schema, say)
        first = list(islice(pieces, FITTED // frames.ROWS))
        if not first:
            raise ValueError("there must be at least one row; got none")
        known = pd.concat(first, ignore_index=True)
        schema = Schema.infer(known, root=root, say=say) if schema is None else schema
        reader = frames.Reader(frames.fit_schema(schema, known), root, unreadable)
        return cls._from_pieces(chain(first, pieces), reader, say)

    @classmethod
    def _from_pieces(
        cls, pieces: Iterable[pd.DataFrame], reader: frames.Reader, say: Callable[[str], object] | None
    ) -> Table:
        values, observed = frames.read_frames(pieces, reader, say)
        if not len(observed):
            raise ValueError("at least one row must hold something; none does")
        return cls(values, observed, reader.schema)

    @property
    def nbytes(self) -> int:
        """Size in bytes of the observed mask, the values and the alternatives."""
        parts = [self.observed, *self.values.values(), *self.alternatives.values()]
        return sum(part.numel() * part.element_size() for part in parts)

    def to(self, device: torch.device | str) -> Table:
        """Returns the same rows on a device; batches are then gathered on that device."""
        values, choices = (
            {name: value.to(device) for name, value in part.items()} for part in (self.values, self.alternatives)
        )
        there = replace(
            self,
            values=values,
            observed=self.observed.to(device),
            alternatives=choices,
            digest=self.fingerprint(),
            labels=None if self.labels is None else self.labels.to(device),
        )
        object.__setattr__(there, "_host", self.observed.cpu() if self._host is None else self._host)
        return there

    def complete(self) -> Table:
        """Returns the complete rows, in which every modality is observed.

        Raises:
            ValueError: No row is complete.
        """
        whole = self.observed.all(1)
        if whole.all():
            return self
        if not whole.any():
            raise ValueError(f"at least one row must have every modality; none of {len(self)} has")
        return self._some(whole, {"rows": "complete"})

    def first(self, rows: int) -> Table:
        """Returns the first rows; they share memory with this table.

        Raises:
            ValueError: `rows` is not between 1 and the number of rows.
        """
        check_whole("rows", rows)
        if not 1 <= rows <= len(self):
            raise ValueError(f"the first rows must be 1 to {len(self)}, for so many there are; got {rows}")
        return self if rows == len(self) else self._some(slice(rows), {"first": rows})

    def _some(self, index: Tensor | slice, told: Mapping[str, Any]) -> Table:
        """Returns some of the rows, with the entries of `told` added to the source."""
        values = {name: value[index] for name, value in self.values.items()}
        choices = {name: value[index] for name, value in self.alternatives.items()}
        labels = None if self.labels is None else self.labels[index]
        source = {**self.source, **told}
        return Table(values, self.observed[index], self.schema, choices, source, labels=labels)

    def fingerprint(self) -> str:
        """Returns a hash of the schema, the observed mask, and the observed values only."""
        if self._digest is not None:
            return self._digest
        digest = hashlib.blake2b(repr(self.schema).encode(), digest_size=16)
        for name, has in zip(self.schema, self.observed.unbind(1), strict=True):
            for part in (self.values.get(name), self.alternatives.get(name)):
                for piece in () if part is None else _pieces(part, has):
                    digest.update(piece.cpu().numpy().tobytes())
        digest.update(self.observed.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _gather_batch(self, rows: Tensor, choices: Mapping[str, Tensor]) -> Batch:
        """Returns rows as a batch, with the sampled alternatives."""
        there = self.observed.device
        index = copy_to_device(rows, there)
        batch = self[index]
        values = dict(batch.values)
        for name, choice in choices.items():
            values[name] = self.alternatives[name][index, copy_to_device(choice[rows], there)]
        return Batch(values, batch.observed, None if self._host is None else self._host[rows], schema=self.schema)

    def _part(self, rows: Tensor, choices: Mapping[str, Tensor], rank: int, world: int) -> Batch:
        """Returns the part of these rows that a process works on."""
        own = distributed.split_batch(len(rows), rank, world)
        batch = self._gather_batch(rows[own], choices)
        counted = len(batch) if len(batch) < len(rows) else len(rows) / world
        known = (self.observed if self._host is None else self._host)[rows]
        return replace(batch, whole=Whole(known, own.start, counted))

    def _check(self) -> None:
        for name, value in self.values.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"{name!r} must be a tensor; got {type(value).__name__}; use torch.as_tensor")
            self.schema.index(name)  # raises an error for a name that the schema does not know
            modality = self.schema[name]
            if tuple(value.shape[1:]) != modality.shape or len(value) != len(self):
                raise ValueError(
                    f"{name!r} must be {(len(self), *modality.shape)} like its modality; got {tuple(value.shape)}"
                )
        if self.observed.shape != (len(self), len(self.schema)) or self.observed.dtype != torch.bool:
            raise ValueError(
                f"observed must be bool (N, M) with one column for each of {', '.join(self.schema)}; "
                f"got {self.observed.dtype} {tuple(self.observed.shape)}"
            )
        if self.labels is not None and (self.labels.shape != (len(self),) or self.labels.dtype != torch.int64):
            raise ValueError(
                f"labels must be int64 ({len(self)},), one of each row; "
                f"got {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if len(empty := (~self.observed.any(1)).nonzero()):
            raise ValueError(
                f"every row must have at least one modality; row {int(empty[0])} has none "
                f"({len(empty)} such rows); drop them"
            )
        for column, name in enumerate(self.schema):
            has = self.observed[:, column]
            if name not in self.values:
                if has.any():
                    raise ValueError(f"{name!r} is marked as observed, but values holds none of it")
                continue
            choices = self.alternatives.get(name, self.values[name][:, None])  # (N, A, *shape)
            if len(choices) != len(self) or tuple(choices.shape[2:]) != self.schema[name].shape:
                raise ValueError(
                    f"alternatives of {name!r} must be (N, A, *shape), {len(self)} rows of values of shape "
                    f"{self.schema[name].shape}; got {tuple(choices.shape)}"
                )
            if self._digest is not None and self.schema[name].levels is None:
                continue  # these values were checked when they were written, and may not fit into memory
            try:
                for piece in _pieces(choices, has):
                    self.schema[name].check(piece.flatten(0, 1))
            except ValueError as error:
                raise ValueError(f"{name!r}: {error}") from error


def _check_options(schema: Schema | None, say: Callable[[str], object] | None) -> None:
    if schema is not None:
        check_kind("schema", schema, Schema, "a Schema", "write Schema({...}), or leave it out to have it inferred")
    check_callable("say", say)


def steps(rows: int, batch_size: int) -> int:
    """Returns the number of batches that `Table.batches` makes from a number of rows.

    Example:
        >>> steps(9, 4), steps(10, 4), steps(1, 4), steps(3, 1)
        (2, 3, 1, 2)
    """
    last = rows % batch_size or batch_size
    return -(-rows // batch_size) - (last == 1 and rows > batch_size)


def _plain(cell: Any) -> Any:
    """Converts a cell of a data set to one of a data frame: tensors to arrays, and scalars to Python numbers."""
    if isinstance(cell, Tensor):
        cell = cell.cpu().numpy()
    return cell.item() if hasattr(cell, "item") and not getattr(cell, "shape", None) else cell


def _pieces(value: Tensor, has: Tensor) -> Iterator[Tensor]:
    """Yields the rows of `value`, `(N, *)`, where `has`, `(N,)` bool, is true, in chunks of about PIECE bytes."""
    step = max(1, PIECE * len(value) // max(1, value.numel() * value.element_size()))
    for start in range(0, len(value), step):
        part, here = value[start : start + step], has[start : start + step]
        yield part if here.all() else part[here]
