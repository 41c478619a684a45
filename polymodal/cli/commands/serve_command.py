"""The command `polymodal serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli.shared_options import Device, RunFolder

__all__ = ["serve"]


def serve(
    folder: RunFolder,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 listens on all addresses of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with a token that requests must carry: Authorization: Bearer TOKEN."),
    ] = None,
    device: Device = "auto",
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Compute point predictions with ONNX Runtime instead of PyTorch.")
    ] = False,
    max_body: Annotated[int, typer.Option(min=1, help="Largest body of a request, in MiB.")] = 32,
    max_rows: Annotated[int, typer.Option(min=1, help="Most rows per request.")] = 1000,
    max_pixels: Annotated[int, typer.Option(min=1, help="Most pixels of an image, in millions.")] = 50,
    max_samples: Annotated[
        int, typer.Option(min=1, help="Most posterior samples per request, of all its rows.")
    ] = 1000,
    max_seconds: Annotated[int, typer.Option(min=1, help="Most seconds per request.")] = 60,
    max_waiting: Annotated[int, typer.Option(min=1, help="Most requests that wait for the model.")] = 1000,
    max_batch: Annotated[
        int, typer.Option(min=1, help="Most rows that are predicted at once; 1 predicts each request alone.")
    ] = 256,
) -> None:
    """Serve a trained model: a page to try it in a browser, and a REST API.

    The page is at the address that the command prints, and the documentation of the API at /docs. Requests that wait at
    the same moment are predicted as one batch. Ctrl-C and SIGTERM finish the requests that have begun.
    """
    from polymodal.cli.serve_run import serve_run
    from polymodal.serving import Limits

    limits = Limits(
        max_body * 2**20, max_rows, max_pixels * 10**6, max_samples, max_seconds, max_waiting, batch=max_batch
    )
    serve_run(folder, host=host, port=port, token_file=token_file, device=device, onnx=onnx, limits=limits)
