"""Prediction from an export, with numpy and onnxruntime alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.onnx.schema_file import read_document
from polymodal.onnx.value_conversion import is_missing, read_value, write_value
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import unknown
from polymodal.runtime.validation import check_file, check_names, check_path

__all__ = ["Predictor"]

BATCH_SIZE = 256
"""Number of rows that are predicted at once."""
GRAPHS = ("encode", "decode", "translate")


class Predictor:
    """Predicts any modality from any subset of the others, from the files that `polymodal.onnx.export` writes.

    It needs numpy, onnxruntime, Pillow for images, tokenizers for texts, and scipy and soundfile for audio files. It
    does not import PyTorch. The folder may come from anywhere: its description is checked, and no code in it runs.

    Arguments:
        folder: Folder of an export.
        threads: Number of threads; by default onnxruntime chooses it.

    Raises:
        ImportError: onnxruntime is not installed.
        FileNotFoundError: The folder, or a file in it, does not exist.
        ValueError: A file is damaged, or does not fit the others. The message names the file.

    Attributes:
        schema: The description of the export, as in `schema.json`.

    Example:
        >>> import tempfile, polymodal as pm
        >>> from polymodal.onnx import export
        >>> schema = pm.Schema({"size": pm.Vector(2), "species": pm.Label(2, names=("cat", "dog"))})
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     predictor = Predictor(export(pm.build("mac-wae", schema, latent_dim=4), f"{parent}/exported"))
        ...     rows = predictor.translate([{"size": [1.0, 2.0]}, {"species": "dog"}], to=["size"])
        >>> rows[1]["size"].shape
        (2,)
    """

    schema: dict[str, Any]

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        check_path("folder", folder)
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{folder} must be the folder of an export; it does not exist")
        self.schema = read_document(self.folder / "schema.json")
        self.names = [one["name"] for one in self.schema["modalities"]]
        self._modalities = dict(zip(self.names, self.schema["modalities"], strict=True))
        self._sessions = {name: self._open(name, threads) for name in GRAPHS}

    def translate(
        self, rows: Sequence[Mapping[str, Any]], given: Sequence[str] | None = None, to: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Predicts modalities of rows, in users' types and units.

        Arguments:
            rows: Values by modality name. A name that is left out, None and NaN are missing values.
            given: Names of the modalities to predict from; by default all that a row has.
            to: Names of the modalities to predict; by default all.

        Returns:
            One dictionary per row, by modality name.

        Raises:
            ValueError: A name is unknown, a value does not fit its modality, or a row has none of the given modalities.
        """
        to = self._check("to", to)
        written: list[dict[str, Any]] = []
        for arrays, observed in self._read_batches(rows, given):
            made = self.translate_arrays(arrays, observed, to)
            write = {name: partial(write_value, self._modalities[name]) for name in to}
            written += [{name: write[name](made[name][i]) for name in to} for i in range(len(observed))]
        return written

    def probabilities(
        self, rows: Sequence[Mapping[str, Any]], given: Sequence[str] | None = None
    ) -> list[dict[str, dict[str | int, float]]]:
        """Predicts the probabilities of the classes of all labels.

        Arguments:
            rows: Rows as in `translate`.
            given: Names as in `translate`.

        Returns:
            One dictionary per row: probabilities by class, by the name of the label.
        """
        labels = {name: one for name, one in self._modalities.items() if one["kind"] == "label"}
        written: list[dict[str, dict[str | int, float]]] = []
        for arrays, observed in self._read_batches(rows, given):
            made = self.probability_arrays(arrays, observed)
            for i in range(len(observed)):
                named = {name: one["names"] or range(one["classes"]) for name, one in labels.items()}
                written.append(
                    {name: dict(zip(keys, made[name][i].tolist(), strict=True)) for name, keys in named.items()}
                )
        return written

    def embed(self, rows: Sequence[Mapping[str, Any]], given: Sequence[str] | None = None) -> np.ndarray:
        """Returns the codes of rows, `(N, D)` float32; see `translate` for the arguments."""
        codes = [self.embed_arrays(*batch) for batch in self._read_batches(rows, given)]
        return np.concatenate(codes) if codes else np.zeros((0, self.schema["code"]["size"]), np.float32)

    def translate_arrays(
        self, values: Mapping[str, np.ndarray], observed: np.ndarray, to: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Predicts modalities of rows in the units of a table.

        Arguments:
            values: Values by name, `(B, *shape)`: images uint8 or floats in [0, 1], classes and tokens as integers,
                standardised numbers, spectrograms. What is not observed may be NaN, or left out.
            observed: Mask of the values to predict from, `(B, M)` bool.
            to: Names of the modalities to predict; by default all.

        Returns:
            By name, `(B, *shape)`: images as floats in [0, 1], classes and tokens int64, others float32.

        Raises:
            ValueError: A name is unknown, a shape is wrong, or a row has no observed value.
        """
        outputs = {name: self._modalities[name]["output"] for name in self._check("to", to)}
        made = self._run("translate", self._feed(values, observed), [*outputs.values()])
        return dict(zip(outputs, made, strict=True))

    def probability_arrays(self, values: Mapping[str, np.ndarray], observed: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts the probabilities of the classes of each label, `(B, classes)`; see `translate_arrays`."""
        outputs = {name: one["probabilities"] for name, one in self._modalities.items() if "probabilities" in one}
        if not outputs:
            return {}
        return dict(
            zip(outputs, self._run("translate", self._feed(values, observed), [*outputs.values()]), strict=True)
        )

    def embed_arrays(self, values: Mapping[str, np.ndarray], observed: np.ndarray) -> np.ndarray:
        """Returns the codes of rows, `(B, D)` float32; see `translate_arrays`."""
        return self._run("encode", self._feed(values, observed), [self.schema["code"]["name"]])[0]

    def decode_arrays(self, code: np.ndarray, to: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Predicts modalities from codes `(B, D)`; see `translate_arrays` for the result."""
        outputs = {name: self._modalities[name]["output"] for name in self._check("to", to)}
        feed = {self.schema["code"]["name"]: np.ascontiguousarray(code, np.float32)}
        return dict(zip(outputs, self._run("decode", feed, [*outputs.values()]), strict=True))

    def _open(self, name: str, threads: int | None) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("a Predictor needs onnxruntime; pip install 'polymodal[onnx]'") from error
        path = self.folder / f"{name}.onnx"
        check_file(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common class
            raise ValueError(f"{path} must be a graph of this export: {brief(error)}") from error
        self._check_session(path, name, session)
        return session

    def _check_session(self, path: Path, name: str, session: Any) -> None:
        """Checks that a graph has the inputs and outputs of the description."""
        code, modalities = self.schema["code"]["name"], self.schema["modalities"]
        inputs = [code] if name == "decode" else [self.schema["observed"], *(one["input"] for one in modalities)]
        results = [one[key] for key in ("output", "probabilities") for one in modalities if key in one]
        for what, expected, found in (
            ("inputs", inputs, {one.name for one in session.get_inputs()}),
            ("outputs", [code] if name == "encode" else results, {one.name for one in session.get_outputs()}),
        ):
            if {*expected} != found:
                raise ValueError(f"{path} must have the {what} of schema.json, {brief(', '.join(expected))}")

    def _run(self, name: str, feed: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        try:
            return self._sessions[name].run(outputs, feed)
        except Exception as error:
            raise ValueError(f"{self.folder / f'{name}.onnx'} cannot compute these rows: {brief(error)}") from error

    def _check(self, argument: str, names: Sequence[str] | None) -> list[str]:
        if names is None:
            return self.names
        check_names(argument, names)
        for name in names:
            if name not in self._modalities:
                raise unknown(name, self.names, "modality")
        return list(names)

    def _feed(self, values: Mapping[str, np.ndarray], observed: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the inputs of a graph for values in the units of a table."""
        observed = np.asarray(observed)
        if observed.dtype != bool or observed.ndim != 2 or observed.shape[1] != len(self.names):
            raise ValueError(
                f"observed must be bool (B, {len(self.names)}), one column a modality; "
                f"got {observed.dtype} {observed.shape}"
            )
        self._check("values", list(values))
        _require_observed(observed, self.names)
        feed = {self.schema["observed"]: np.ascontiguousarray(observed)}
        for m, one in enumerate(self.schema["modalities"]):
            shape = (len(observed), *one["shape"])
            value = values.get(one["name"])
            if value is None:
                if observed[:, m].any():
                    raise ValueError(f"{one['name']!r} is marked as observed, but there are no values of it")
                value = np.zeros(shape, one["dtype"])
            value = np.asarray(value)
            if value.shape != shape:
                raise ValueError(f"{one['name']!r} must be {shape}; got {value.shape}")
            if one["kind"] == "image" and value.dtype == np.uint8:
                value = value.astype(np.float32) / np.float32(255)
            feed[one["input"]] = np.ascontiguousarray(value, one["dtype"])
            if one["kind"] == "label":
                _require_classes(one, value[observed[:, m]])
        return feed

    def _read_batches(
        self, rows: Sequence[Mapping[str, Any]], given: Sequence[str] | None
    ) -> Iterable[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Yields arrays by name and the observed mask of successive rows."""
        if isinstance(rows, Mapping | str) or not all(isinstance(row, Mapping) for row in rows):
            raise TypeError("rows must be a list of dictionaries of values by modality name, such as [{'size': 2.5}]")
        given = self._check("given", given)
        for start in range(0, len(rows), BATCH_SIZE):
            some = rows[start : start + BATCH_SIZE]
            observed = np.zeros((len(some), len(self.names)), bool)
            arrays = {
                name: np.zeros((len(some), *one["shape"]), one["dtype"]) for name, one in self._modalities.items()
            }
            for i, row in enumerate(some):
                self._check(f"row {start + i}", list(row))
                for name in given:
                    if is_missing(row.get(name)):
                        continue
                    try:
                        arrays[name][i] = read_value(self._modalities[name], row[name])
                    except (ValueError, TypeError) as error:
                        kind = TypeError if isinstance(error, TypeError) else ValueError
                        raise kind(f"{name!r} of row {start + i}: {error}") from error
                    observed[i, self.names.index(name)] = True
            _require_observed(observed, self.names, start)
            yield arrays, observed


def _require_observed(observed: np.ndarray, names: Sequence[str], start: int = 0) -> None:
    if not (seen := observed.any(1)).all():
        row = start + int(np.nonzero(~seen)[0][0])
        raise ValueError(
            "every row must have an observed modality among those given; "
            f"row {row} has none of {brief(', '.join(names))}"
        )


def _require_classes(modality: Mapping[str, Any], value: np.ndarray) -> None:
    wrong = value[(value < 0) | (value >= modality["classes"])]
    if len(wrong):
        raise ValueError(f"classes of {modality['name']!r} must be in 0..{modality['classes'] - 1}; got {wrong[0]}")
