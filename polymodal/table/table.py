"""A data set as tensors, in memory or memory-mapped, with the mask of observed modalities in each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from polymodal import csvfiles
from polymodal.batch import Batch, Index
from polymodal.io.parquet_files import ParquetTable
from polymodal.modalities.schema_checks import check_tensor_mapping
from polymodal.runtime.validation import check_frame, check_kind, check_path, check_whole
from polymodal.schema import Schema
from polymodal.table import frames
from polymodal.table.batching import iterate_batches
from polymodal.table.table_checks import check_observed_values, check_shapes, hash_rows
from polymodal.table.table_input import check_options, read_chunks, read_csv_rows, read_dicts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Table", "steps"]


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
        check_tensor_mapping(self.values)
        check_tensor_mapping(self.alternatives)
        values = {name: choices[:, 0] for name, choices in self.alternatives.items()} | dict(self.values)
        object.__setattr__(self, "values", values)
        if self.observed is None:
            object.__setattr__(self, "observed", self.schema.batch(values).observed)
        check_kind("observed", self.observed, Tensor, "a tensor", "write torch.tensor([[True, False]])")
        if self.observed.dim() != 2:
            raise ValueError(f"observed must be bool (N, M); got {tuple(self.observed.shape)}")
        check_shapes(self.values, self.observed, self.schema, self.labels)
        check_observed_values(self.values, self.alternatives, self.observed, self.schema, is_trusted=digest is not None)

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
        yield from iterate_batches(self, self._host, batch_size, seed, epoch, start, stride, share, device)

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
                names the column and the row, counted from 0, with its label in the index where this differs.

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
        check_options(schema, say)
        check_frame(frame)
        schema = Schema.infer(frame, root=root, say=say) if schema is None else schema
        schema = frames.fit_schema(schema, frame, partial(frames.format_row, labels=frame.index))
        return cls._read([frame], frames.Reader(schema, root, unreadable, labels=frame.index), say)

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
        frame = read_csv_rows(path, given, schema, options.get("say", print))
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
        return cls._from_chunks(ParquetTable(path).frames(frames.ROWS), schema, **{"root": root, **options})

    @classmethod
    def from_arrow(cls, table: pa.Table, schema: Schema | None = None, **options: Any) -> Table:
        """Reads the rows of an Arrow table, like `from_parquet`; by default `root` is the working folder."""
        import pyarrow as pa

        check_kind("table", table, pa.Table, "a pyarrow table", "pass pyarrow.Table.from_pandas(frame)")
        pieces = (batch.to_pandas() for batch in table.to_batches(frames.ROWS))
        return cls._from_chunks(pieces, schema, **options)

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
        return cls.from_frame(read_dicts(dataset), schema, **options)

    @classmethod
    def _from_chunks(
        cls,
        chunks: Iterator[pd.DataFrame],
        schema: Schema | None,
        *,
        root: str | Path | None = None,
        unreadable: float = frames.MOST_UNREADABLE,
        say: Callable[[str], object] | None = print,
    ) -> Table:
        check_options(schema, say)
        every, reader = read_chunks(chunks, schema, root=root, unreadable=unreadable, say=say)
        return cls._read(every, reader, say)

    @classmethod
    def _read(cls, chunks: Iterable[pd.DataFrame], reader: frames.Reader, say: Callable[[str], object] | None) -> Table:
        values, observed = frames.read_frames(chunks, reader, say)
        if not len(observed):
            raise ValueError("at least one row must have an observed value; none has")
        return cls(values, observed, reader.schema)

    @property
    def nbytes(self) -> int:
        """Size in bytes of the observed mask, the values, the alternatives and the labels."""
        parts = [self.observed, *self.values.values(), *self.alternatives.values()]
        parts += [] if self.labels is None else [self.labels]
        return sum(part.numel() * part.element_size() for part in parts)

    def to(self, device: torch.device | str) -> Table:
        """Returns the same rows on a device; batches are then gathered on that device."""
        values = {name: value.to(device) for name, value in self.values.items()}
        choices = {name: value.to(device) for name, value in self.alternatives.items()}
        labels = None if self.labels is None else self.labels.to(device)
        host = self.observed.cpu() if self._host is None else self._host
        moved = Table(
            values, self.observed.to(device), self.schema, choices, self.source, self.fingerprint(), labels=labels
        )
        object.__setattr__(moved, "_host", host)
        return moved

    def complete(self) -> Table:
        """Returns the complete rows, in which every modality is observed.

        Raises:
            ValueError: No row is complete.
        """
        is_complete = self.observed.all(1)
        if is_complete.all():
            return self
        if not is_complete.any():
            raise ValueError(f"at least one row must be complete, with every modality observed; none of {len(self)} is")
        return self._select(is_complete, {"rows": "complete"})

    def first(self, rows: int) -> Table:
        """Returns the first rows; they share memory with this table.

        Raises:
            ValueError: `rows` is not between 1 and the number of rows.
        """
        check_whole("rows", rows)
        if not 1 <= rows <= len(self):
            raise ValueError(f"rows must be in 1..{len(self)}, the number of rows of the table; got {rows}")
        return self if rows == len(self) else self._select(slice(rows), {"first": rows})

    def _select(self, index: Tensor | slice, record: Mapping[str, Any]) -> Table:
        """Returns some of the rows, with the entries of `record` added to the source."""
        values = {name: value[index] for name, value in self.values.items()}
        choices = {name: value[index] for name, value in self.alternatives.items()}
        labels = None if self.labels is None else self.labels[index]
        source = {**self.source, **record}
        return Table(values, self.observed[index], self.schema, choices, source, labels=labels)

    def fingerprint(self) -> str:
        """Returns a hash of the schema, the observed mask, and the observed values only."""
        if self._digest is not None:
            return self._digest
        return hash_rows(self.values, self.alternatives, self.observed, self.schema)


def steps(rows: int, batch_size: int) -> int:
    """Returns the number of batches that `Table.batches` makes from a number of rows.

    Example:
        >>> steps(9, 4), steps(10, 4), steps(1, 4), steps(3, 1)
        (2, 3, 1, 2)
    """
    last = rows % batch_size or batch_size
    return -(-rows // batch_size) - (last == 1 and rows > batch_size)
