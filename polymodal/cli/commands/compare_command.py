"""The command `polymodal compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli.interruption import claim_output, compute_exit_code, print_error
from polymodal.cli.terminal import tell
from polymodal.runtime.formatting import printable

__all__ = ["compare"]


def compare(
    study: Annotated[
        str | None,
        typer.Argument(
            help="Study to run: a YAML file, or a preset: {polymnist,mhd,cub,celeba}-{paper,fair}, "
            "{polymnist,pendigits-mhd,emoji}-small, polydigits-{beta,draws,penalties,masks}.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Folder of all studies and their runs; finished runs in it are not repeated.")
    ] = Path("runs/studies"),
    on: Annotated[
        str,
        typer.Option(help="Where to run the study. here: one run after the other; ray: several runs at once, on Ray."),
    ] = "here",
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster; by default a cluster is started on this machine."),
    ] = None,
    cpus: Annotated[int, typer.Option(min=1, help="Number of processors for each run on Ray.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="Number of GPUs for each run on Ray, such as 0.25.")] = 0,
    retries: Annotated[
        int, typer.Option(min=0, help="Maximum number of restarts of a run on Ray whose worker has ended.")
    ] = 3,
    device: Annotated[
        str | None, typer.Option(help="Device of all runs: auto, cpu or cuda; by default that of the study.")
    ] = None,
    beside: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV file of scores to compare with, such as those of a paper."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs of the study, and how many are finished; run none.")
    ] = False,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of a study, a CSV file of scores with the columns task, dataset, modality, metric, better, "
            "model and value.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Output folder for --scores; other files in it are kept."),
    ] = Path("runs/comparison"),
    leave_out: Annotated[
        list[str] | None,
        typer.Option(metavar="MODELS", help="Models of --scores to leave out, separated by commas; repeatable."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier comparison of --scores in the output folder.")
    ] = False,
) -> None:
    """Compare models: run a study of models, data sets, settings and seeds, or read a table of scores.

    The result is a page with the mean rank of each model in each task, pairwise wins and losses with binomial tests,
    how often each model is best, all scores, and curves. Its tables are also written as CSV files, and its figures as
    PDF and PNG files.

    To continue a study that was stopped, run the same command again.
    """
    if (study is None) == (scores is None):
        raise ValueError("either a study, such as polymnist-small, or --scores must be given; got both or neither")
    if scores is not None:
        _compare_scores(scores, out, leave_out or [], overwrite=overwrite)
        return
    if overwrite:
        raise ValueError("--overwrite is for --scores; a study keeps its finished runs, and always rewrites its page")
    if dry_run:
        from polymodal.cli import compare_studies, console

        console.show(compare_studies.tabulate_planned_runs(str(study), folder, device))
        return
    options = {"on": on, "address": address, "cpus": cpus, "gpus": gpus, "retries": retries}
    _run_study(str(study), folder, beside, device, options)


def _compare_scores(scores: Path, out: Path, leave_out: list[str], *, overwrite: bool) -> None:
    """Compares the models of a file of scores, and prints a summary and the path of the page."""
    from polymodal.cli import console
    from polymodal.cli.compare_scores import compare_score_file

    without = [model.strip() for models in leave_out for model in models.split(",") if model.strip()]
    with claim_output(out):
        page = compare_score_file(scores, out, without, overwrite=overwrite)
    console.show(console.tabulate_comparison(page.parent))
    tell(f"Page: {printable(page.resolve())}")


def _run_study(study: str, folder: Path, reference: Path | None, device: str | None, options: dict[str, Any]) -> None:
    """Runs a study, and prints a summary, its failed runs and the path of the page."""
    from polymodal.cli import compare_studies, console

    try:
        result = compare_studies.run_study(study, folder, reference, device, **options)
    except KeyboardInterrupt as stop:
        print_error("polymodal: stopped. To continue the study, run the same command again")
        raise typer.Exit(compute_exit_code(stop)) from None
    if result.page is not None and (result.page.parent / "best.csv").exists():
        console.show(console.tabulate_comparison(result.page.parent))
    tell(compare_studies.summarise_study(result))
    if result.failures:
        raise typer.Exit(1)
