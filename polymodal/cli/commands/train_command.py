"""The command `polymodal train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli.interruption import suggest_resume
from polymodal.cli.shared_options import Csv, accept_csv_options
from polymodal.cli.terminal import tell, warn

__all__ = ["train"]


@accept_csv_options
def train(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="Name of a data set (`polymodal datasets` lists them), or a table: a CSV, Parquet, Feather or JSON "
            "lines file, or a folder of Parquet files.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model; by default mac-wae.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Run folder to write; by default runs/DATASET-MODEL, or runs/FILE for a table's file."),
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML file with settings.")] = None,
    assigned: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Value of any setting, such as draws=4 or data.seed=1; repeatable."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Number of rows per training step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of the optimiser Adam.")] = None,
    latent_dim: Annotated[int | None, typer.Option(help="Number of dimensions of the latent code.")] = None,
    beta: Annotated[float | None, typer.Option(help="Weight of the model's penalty in the loss.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Random seed of the initial weights and the training. The seed of the data is data.seed."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device: auto, cpu or cuda; by default auto.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Resume the run in this folder from its last checkpoint. Few settings may change, such as --epochs.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run in the folder, as soon as training begins.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print all settings as YAML, and the inferred types of a table's columns; do not train.",
        ),
    ] = False,
    csv: Csv = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=KIND",
            help="Type of a table's column instead of the inferred type, such as caption=text:24; repeatable.",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Columns of a table to leave out, separated by commas; repeatable."),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREFIX", help="Make one vector of the numeric columns whose names begin with this; repeatable."
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Fraction of a table's rows for validation, which chooses the best epoch; by default 0.1.",
        ),
    ] = None,
    test: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Fraction of a table's rows for the test; by default 0.1. With 0, all rows except those for "
            "validation are used for training, and `polymodal evaluate` uses the validation rows.",
        ),
    ] = None,
) -> None:
    """Train a model on a data set or on a table of your own.

    Settings come from --config, --set and the other options; the options take precedence over --config. All settings
    are checked before training begins, and are saved in the run folder as settings.yaml, a file that --config reads.

    For a table, the command first prints the inferred type of each column and the reason for it.
    """
    from polymodal.cli import table_settings, train, training_summary
    from polymodal.settings import make

    short = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "latent_dim": latent_dim}
    short |= {"beta": beta, "seed": seed, "device": device}
    top = {"dataset": dataset, "model": model, "folder": None if folder is None else str(folder)}
    given = {name: value for name, value in {**top, **short}.items() if value is not None}
    options = table_settings.make_csv_options(**csv or {})
    given |= table_settings.make_table_settings(
        dataset, folder, options, modality, ignore, group, validation=validation, test=test
    )
    settings = train.combine_settings(given, assigned or [], config, resume)
    if overwrite and resume is not None:
        raise ValueError("--overwrite replaces a run, and --resume continues it; leave one of them out")
    train.check_run(settings, new=resume is None, overwrite=overwrite)
    if settings.dataset == "table":
        (warn if dry_run else tell)(table_settings.format_column_types(settings.data))
    if dry_run:
        print(train.format_settings(settings), end="")  # YAML, in which invisible characters are escaped already
        return
    with suggest_resume(settings.folder if resume else None):
        data, network = make(settings)
    seconds = training_summary.estimate_training_seconds(settings, data, network)
    tell(training_summary.describe_training(settings, data, network, seconds))
    with suggest_resume(settings.folder):
        if overwrite:
            train.remove_run(settings)
        fitted = train.train_in_folder(settings, data, network, resume=resume is not None)
    tell(training_summary.summarise_training(fitted, settings))
