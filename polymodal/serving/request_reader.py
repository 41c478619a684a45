"""Parsing of JSON requests: rows with any modalities, and options, with one sentence for what is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.modalities.base import check_bounds
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import unknown
from polymodal.serving.batch_predictor import SampleOptions, Task
from polymodal.serving.json_values import show_value
from polymodal.serving.limits import Limits, RequestError
from polymodal.serving.wire_values import make_codec

if TYPE_CHECKING:
    from polymodal.schema import Schema

__all__ = ["RequestReader", "parse_json"]

LARGEST_SEED = 2**63 - 1
MOST_STEPS = 1000
"""Most steps of the solver of a flow, so that a request ends in time."""


def parse_json(body: bytes) -> Any:
    """Parses the body of a request.

    Raises:
        RequestError: It is not JSON, or contains NaN or an infinity.
    """

    def refuse(constant: str) -> NoReturn:
        raise RequestError(
            422, f"numbers must be finite, and the request contains {constant}; write null for a missing value"
        )

    try:
        return json.loads(body, parse_constant=refuse)
    except RecursionError:
        raise RequestError(
            400, "the body must be JSON with few nested levels, and it has too many; send flatter JSON"
        ) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise RequestError(400, f"the body must be JSON in UTF-8: {brief(error, 100)}; correct it") from None


class RequestReader:
    """Reads requests for a model.

    Arguments:
        schema: Modalities of the model.
        limits: Limits of the server.
    """

    def __init__(self, schema: Schema, limits: Limits) -> None:
        self.schema, self.limits = schema, limits
        self._blanks = {name: modality.blank for name, modality in schema.items()}
        self.codecs = {name: make_codec(modality, limits.pixels) for name, modality in schema.items()}

    def read_translation(self, document: Any) -> Task:
        """Reads a request of `POST /api/translate`.

        Raises:
            RequestError: Something is wrong with it. The message names the row and the modality.
        """
        known = ("rows", "given", "to", "samples", "seed", "steps", "guidance", "temperature", "bounds", "details")
        options = self._read_object(document, known)
        batch, given = self._read_rows(options)
        sampling = self._read_sampling(options, len(batch))
        bounds = options.get("bounds") or "observed"
        try:
            check_bounds(bounds)
        except ValueError as error:
            raise RequestError(422, str(error)) from None
        details = self._read_bool(options, "details")
        return Task(batch, given, self._read_names(options, "to"), sampling, details, bounds)

    def read_embedding(self, document: Any) -> Task:
        """Reads a request of `POST /api/embed`, see `read_translation`."""
        batch, given = self._read_rows(self._read_object(document, ("rows", "given")))
        return Task(batch, given, embed=True)

    def read_sample(self, document: Any) -> tuple[int, list[str], int]:
        """Reads a request of `POST /api/sample`: the number of rows, the modalities and the seed."""
        options = self._read_object(document, ("n", "to", "seed"))
        count = self._read_whole(options, "n", 1, 1, self.limits.rows)
        return count, self._read_names(options, "to"), self._read_whole(options, "seed", 0, 0, LARGEST_SEED)

    def write_rows(self, values: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Converts values `(n, *shape)` by name to n rows in JSON."""
        columns = {name: [self.codecs[name].write(value) for value in column] for name, column in values.items()}
        count = len(next(iter(values.values()))) if values else 0
        return [{name: column[row] for name, column in columns.items()} for row in range(count)]

    def write_row(self, batch: Batch) -> dict[str, Any]:
        """Converts a batch of one row to JSON, with the observed modalities only."""
        observed = dict(zip(self.schema, batch.observed[0].tolist(), strict=True))
        return {name: self.codecs[name].write(batch.values[name][0]) for name, has in observed.items() if has}

    def _read_object(self, document: Any, known: Sequence[str]) -> dict[str, Any]:
        if not isinstance(document, dict):
            raise RequestError(
                422, f"the body must be an object with {', '.join(known)}; got {type(document).__name__}"
            )
        for name in document:
            if name not in known:
                raise RequestError(422, str(unknown(brief(name, 60), known, "key")))
        return document

    def _read_rows(self, options: Mapping[str, Any]) -> tuple[Batch, Tensor]:
        """Returns the rows, and the mask of the modalities that each is conditioned on."""
        rows = options.get("rows")
        if not isinstance(rows, list) or not rows:
            found = "an empty list" if rows == [] else show_value(rows)
            raise RequestError(422, f"rows must be a list of at least one row, such as [{{...}}]; got {found}")
        if len(rows) > self.limits.rows:
            raise RequestError(
                422, f"rows must be at most {self.limits.rows}; got {len(rows):,}; send several requests"
            )
        columns: dict[str, list[Tensor | None]] = {name: [None] * len(rows) for name in self.schema}
        end = time.monotonic() + self.limits.seconds
        for place, row in enumerate(rows):
            if time.monotonic() > end:
                most = f"at most {self.limits.seconds} seconds"
                raise RequestError(
                    503,
                    f"reading the rows must take {most}, and took longer for {place} of {len(rows)}; send fewer rows, "
                    "or smaller images",
                    retry=self.limits.seconds,
                )
            if not isinstance(row, dict):
                raise RequestError(
                    422, f"row {place} must be an object of values by modality; got {type(row).__name__}"
                )
            for name, value in row.items():
                if name not in columns:
                    raise RequestError(422, f"row {place}: {unknown(brief(name, 60), self.schema, 'modality')}")
                try:
                    columns[name][place] = self.codecs[name].read(value)
                except (ValueError, TypeError, OverflowError, RuntimeError, MemoryError) as error:
                    raise RequestError(422, f"row {place}, {name}: {brief(error)}") from None
        observed = [[column[place] is not None for column in columns.values()] for place in range(len(rows))]
        values = {name: self._stack(name, column) for name, column in columns.items()}
        return Batch(values, torch.tensor(observed)), self._read_given(options, observed)

    def _stack(self, name: str, column: Sequence[Tensor | None]) -> Tensor:
        """Returns the values of n rows, `(n, *shape)`, with blanks in place of missing ones."""
        found = [self._blanks[name] if value is None else value for value in column]
        return found[0][None] if len(found) == 1 else torch.stack(found)

    def _read_given(self, options: Mapping[str, Any], observed: list[list[bool]]) -> Tensor:
        names = self._read_names(options, "given")
        is_given = [name in names for name in self.schema]
        given = [[has and asked for has, asked in zip(row, is_given, strict=True)] for row in observed]
        for place, row in enumerate(given):
            if not any(row):
                has = [name for name, is_there in zip(self.schema, observed[place], strict=True) if is_there]
                found = f"has only {', '.join(has)}, and given is {options.get('given')}" if has else "has no value"
                message = f"every row must have a value of a given modality; row {place} {found}"
                raise RequestError(422, brief(message, 500))
        return torch.tensor(given)

    def _read_names(self, options: Mapping[str, Any], key: str) -> list[str]:
        """Returns the names of modalities in a list, each once, or all names if the list is null or absent."""
        names = options.get(key)
        if names is None:
            return list(self.schema)
        if not isinstance(names, list) or not names:
            raise RequestError(422, f"{key} must be a list of names, or null for all; got {show_value(names)}")
        for name in names:
            if not isinstance(name, str) or name not in self.schema:
                raise RequestError(422, f"{key}: {unknown(brief(name, 60), self.schema, 'modality')}")
        return list(dict.fromkeys(names))

    def _read_sampling(self, options: Mapping[str, Any], rows: int) -> SampleOptions | None:
        samples, more = options.get("samples"), ("steps", "guidance", "temperature")
        if samples is None:
            if given := [key for key in more if options.get(key) is not None]:
                raise RequestError(422, f"{', '.join(given)} concern posterior samples; pass samples too")
            return None
        samples = self._read_whole(options, "samples", 1, 1, self.limits.samples)
        if samples * rows > self.limits.samples:
            most = f"at most {self.limits.samples} for all rows together; got {samples} x {rows}"
            raise RequestError(422, f"samples must be {most}; ask for fewer, or send several requests")
        steps = None if options.get("steps") is None else self._read_whole(options, "steps", 1, 1, MOST_STEPS)
        numbers = [self._read_number(options, key) for key in ("guidance", "temperature")]
        return SampleOptions(samples, self._read_whole(options, "seed", 0, 0, LARGEST_SEED), steps, *numbers)

    @staticmethod
    def _read_whole(options: Mapping[str, Any], key: str, default: int, least: int, most: int) -> int:
        value = options.get(key)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise RequestError(422, f"{key} must be a whole number in {least}..{most}; got {show_value(value)}")
        return value

    @staticmethod
    def _read_number(options: Mapping[str, Any], key: str) -> float | None:
        value = options.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1000:
            raise RequestError(422, f"{key} must be a number in 0..1000; got {show_value(value)}")
        return float(value)

    @staticmethod
    def _read_bool(options: Mapping[str, Any], key: str) -> bool:
        value: Any = options.get(key)
        if value is not None and not isinstance(value, bool):
            raise RequestError(422, f"{key} must be true or false; got {show_value(value)}")
        return bool(value)
