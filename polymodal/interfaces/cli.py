"""The command line. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "main"]

app = typer.Typer(
    help="Any modality from any subset of the others.",
    epilog="Example: polymodal demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def main() -> None:
    """Runs the command line: exit code 2 and one line for a user's mistake, 1 where training failed."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(arguments)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        if debug:
            raise
        print(f"polymodal: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, FloatingPointError) else 2)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Any modality from any subset of the others."""
    if version:
        from importlib.metadata import version as installed

        print(installed("polymodal"))
        raise typer.Exit


@app.command(epilog="Example: polymodal demo --folder runs/demo --epochs 80")
def demo(
    folder: Annotated[Path, typer.Option(help="Of the run; an earlier demo there is replaced.")] = Path("runs/demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training rows; more is better and slower.")] = 11,
    rows: Annotated[int, typer.Option(min=10, help="Training rows, a multiple of 10.")] = 12_800,
    seed: Annotated[int, typer.Option(help="Of the data, the weights and the training.")] = 0,
    device: Device = "auto",
) -> None:
    """Train MAC-WAE on PolyDigits, score it on held-out handwriting, and write a page of pictures."""
    from polymodal.interfaces.demo import headline, run

    path, scores = run(folder, epochs=epochs, rows=rows, seed=seed, device=device)
    print(headline(scores))
    print(f"Report: {path.resolve()}")


@app.command(epilog="Example: polymodal datasets")
def datasets() -> None:
    """List the data sets that can be loaded by name."""
    from inspect import getdoc

    from rich.console import Console
    from rich.table import Table

    from polymodal.datasets import DATASETS

    table = Table("name", "what it is", box=None, header_style="bold")
    for name, make in sorted(DATASETS.items()):
        table.add_row(name, (getdoc(make) or "").split("\n")[0])
    Console().print(table)


@app.command(epilog="Example: polymodal report runs/demo")
def report(folder: Annotated[Path, typer.Argument(help="Of the run.")]) -> None:
    """Write a run's report.html anew, from its model, history and scores."""
    from polymodal.interfaces.runs import report as write_report

    print(f"Report: {write_report(folder).resolve()}")


if __name__ == "__main__":
    main()
