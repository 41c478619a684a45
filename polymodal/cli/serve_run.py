"""Serving of a run folder: its model, its example rows and the token."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from polymodal.cli.run_data import choose_split
from polymodal.cli.run_folder import open_model, open_tables
from polymodal.cli.table_settings import read_training_options
from polymodal.io import checkpoint
from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import say
from polymodal.runtime.validation import check_file

if TYPE_CHECKING:
    from polymodal.models import Model
    from polymodal.onnx import Predictor
    from polymodal.serving import Limits
    from polymodal.table.table import Table

__all__ = ["serve_run"]

EXAMPLES = "examples.json"
"""File of a run folder with example rows for the page: {"rows": [...]}, with the values as JSON."""
SHORTEST = 8
"""Fewest characters of a token."""


def serve_run(
    folder: Path, *, host: str, port: int, token_file: Path | None, device: str, onnx: bool, limits: Limits
) -> None:
    """Serves the model of a run until a signal, see `polymodal.serving.serve`.

    Arguments:
        folder: Run folder.
        host: Address to listen on.
        port: Port; 0 chooses a free one.
        token_file: File with the token; None if requests need none.
        device: Device of the model.
        onnx: Whether ONNX Runtime computes point predictions.
        limits: Limits of the server.

    Raises:
        FileNotFoundError: The folder holds no run, or the token's file does not exist.
        ImportError: The extra `serve` is not installed.
        OSError: The address cannot be used.
        ValueError: The token is too short.
    """
    from polymodal.serving import create_app, serve

    token = None if token_file is None else read_token(token_file)
    _leave_a_core_free()
    model = open_model(folder, device)
    app = create_app(
        model,
        name=name_run(folder),
        examples=find_examples(folder, model),
        limits=limits,
        token=token,
        points=open_onnx(folder, model) if onnx else None,
        csv_options=read_training_options(folder),
    )
    if token is None and not _is_loopback(host):
        say(f"anyone who can reach {host} can use the model, because there is no token; set one with --token-file")

    def announce(address: str) -> None:
        print(f"Serving {folder} at {address} (API: {address}/docs). Stop with Ctrl-C.", flush=True)

    serve(app, host=host, port=port, seconds=limits.seconds, announce=announce)


def read_token(path: Path) -> str:
    """Returns the token in a file, without white space around it.

    Raises:
        ValueError: It is shorter than 8 characters, or has characters that an HTTP header cannot contain.
    """
    check_file(path)
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(token) < SHORTEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(
            f"{path} must hold a token of at least {SHORTEST} visible ASCII characters without spaces; it holds "
            f"{len(token)} characters; make one with: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token


def find_examples(folder: Path, model: Model) -> Table | Sequence[Mapping[str, Any]] | None:
    """Returns rows for the page: those that the run folder ships, or the test rows; None if there are none."""
    if (path := folder / EXAMPLES).exists():
        rows = checkpoint.read_json(path).get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path} must have rows, each an object of values by modality; restore or remove it")
        return rows
    try:
        return open_tables(folder, choose_split(folder), on_changed="warn", schema=model.schema)[0]
    except (OSError, ValueError) as error:
        say(f"the page has no example rows: {brief(error, 300)}")
        return None


def open_onnx(folder: Path, model: Model) -> Predictor:
    """Opens the exported model in the run folder; it is exported first if it is missing or older than the model.

    Raises:
        ImportError: The extra `onnx` is not installed.
        ValueError: The model cannot be exported.
    """
    from polymodal.onnx import Predictor, export

    exported, weights = folder / "onnx", checkpoint.find_folder(_find_model(folder)) / "weights.safetensors"
    description = exported / "schema.json"
    if not description.exists() or description.stat().st_mtime_ns < weights.stat().st_mtime_ns:
        say(f"exporting the model to {exported}, once")
        export(model, exported, overwrite=description.exists())
    return Predictor(exported, threads=torch.get_num_threads())


def name_run(folder: Path) -> str:
    """Returns the name of a run: that of its folder, or owner/name for a model from the Hugging Face Hub.

    Example:
        >>> name_run(Path("runs/demo")), name_run(Path("hub/models--ann--digits/snapshots/0123abcd"))
        ('demo', 'ann/digits')
    """
    path = folder.absolute()
    if path.parent.name == "snapshots" and path.parents[1].name.startswith("models--"):
        return path.parents[1].name.removeprefix("models--").replace("--", "/")
    return path.name


def _find_model(folder: Path) -> Path:
    return folder / "model" if (folder / "model").is_dir() else folder


def _leave_a_core_free() -> None:
    """Lets PyTorch use all cores but one, which reads requests and writes responses; OMP_NUM_THREADS overrides it."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
