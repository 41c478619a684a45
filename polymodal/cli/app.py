"""The command line. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import inspect
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from polymodal.cli import processes, standard_streams
from polymodal.cli.terminal import make_tolerant, tell, warn
from polymodal.runtime.formatting import printable

if TYPE_CHECKING:
    from polymodal.cli.output_folder import Answers
    from polymodal.datasets.table_files import File

__all__ = ["app", "main"]


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""

    signal = signal.SIGTERM


class Commands(TyperGroup):
    """Says so where a command was stopped, which typer leaves out."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            if (gone := _find_gone(stop)) is not None:
                raise gone from None
            _say("polymodal: stopped")
            raise typer.Exit(_code(stop)) from None


app = typer.Typer(
    cls=Commands,
    help="Any modality from any subset of the others.",
    epilog="Example: polymodal demo",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Run = Annotated[Path, typer.Argument(help="Of the run.", show_default=False)]
Split = Annotated[str, typer.Option(help="test, validation or train.")]
OwnSplit = Annotated[str | None, typer.Option(help="test, validation or train; by default test.")]
TableFile = Annotated[
    Path | None,
    typer.Argument(
        help="A table with the rows: CSV, Parquet, Feather or JSON lines, or a folder of Parquet; by default a split."
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option(metavar="NAMES", help="What to start from, separated by commas; by default all that a row has."),
]
HeldTo = Annotated[
    str,
    typer.Option(
        "--bounds",
        help="What predicted numbers are held to where no training row has a negative one: observed, the smallest and "
        "the largest of training; non-negative; or none.",
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Rows per pass.")]
Columns = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="Of a CSV file without a first line of names: a,b,c, or a file of names."),
]
Missing = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="In a CSV file, a value that is not there, such as '?'; repeatable."),
]
Present = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        help="In a CSV file, a value that is else read as missing, such as NA, or country=NA for a column; repeatable.",
    ),
]
Separator = Annotated[
    str | None,
    typer.Option(metavar="CHAR", help="Between a CSV file's cells, or tab; by default as its first lines show."),
]
Decimal = Annotated[
    str | None, typer.Option(metavar="CHAR", help="Decimal mark of a CSV file; by default as its first lines show.")
]
Thousands = Annotated[
    str | None, typer.Option(metavar="CHAR", help="Between groups of three digits in a CSV file's numbers.")
]
Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of a CSV file, such as cp1252; by default UTF-8, or by its mark.")
]
Quote = Annotated[
    str | None, typer.Option(metavar="CHAR", help='Around quoted cells of a CSV file, or none; by default ".')
]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether a CSV file's first line has the names of the columns; without names they are column_0, ...",
        show_default=False,
    ),
]

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")]

Csv = dict[str, Any] | None
"""What the options of how a CSV file is read were given, by name."""
READING = {
    "columns": Columns,
    "missing": Missing,
    "present": Present,
    "separator": Separator,
    "decimal": Decimal,
    "thousands": Thousands,
    "encoding": Encoding,
    "quote": Quote,
    "header": Header,
}
"""These options, by name."""
OnChanged = Annotated[
    str,
    typer.Option(
        metavar="error|warn",
        help="What to do if the table's file has changed since training: stop, or read it with the model's schema.",
    ),
]

UsageError = typer.BadParameter.__bases__[0]
"""What typer raises for a wrong option, and does not export."""


def main() -> None:
    """Runs the command line: exit code 2 and one line for a user's mistake, 1 where something failed."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    standard_streams.prepare()
    make_tolerant()
    try:
        with _terminable(), processes.main_prints():
            code = app(arguments, prog_name="polymodal", standalone_mode=False)
            standard_streams.finish()
        sys.exit(code)
    except (KeyboardInterrupt, typer.Abort) as stop:
        if (gone := _find_gone(stop)) is not None:
            sys.exit(_report(gone))
        _say("polymodal: stopped")
        sys.exit(_code(stop))
    except Exception as error:
        if len(arguments) < len(sys.argv) - 1:
            warn(traceback.format_exc().rstrip())
            sys.exit(1)
        sys.exit(_report(error))


def _report(error: Exception) -> int:
    """Prints an error in one line, once for all processes, and returns the exit code."""
    standard_streams.drop()
    if processes.is_first_to_report(said := f"polymodal: {_format_error(error)}"):
        standard_streams.complain(said)
    return 2 if isinstance(error, ValueError | TypeError | OSError | UsageError) else 1


@contextmanager
def _terminable() -> Iterator[None]:
    """Context manager in which SIGTERM stops the command as Ctrl-C does, unless SIGTERM has another handler already.

    A launcher sends SIGTERM to the other processes as soon as one has ended. After an error in one of several
    processes it is ignored, so that the process which reports for all of them does not end before it has printed.
    """
    before = signal.getsignal(signal.SIGTERM)
    catches = before is signal.SIG_DFL and threading.current_thread() is threading.main_thread()
    if catches:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except BaseException:
        if catches and processes.count() > 1:
            before = signal.SIG_IGN
        raise
    finally:
        if catches:
            signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _code(stop: BaseException) -> int:
    """What shells expect of a process that a signal has ended."""
    return 128 + getattr(stop, "signal", signal.SIGINT)


def _format_error(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, UsageError):
        message = error.format_message().rstrip(".")  # pyright: ignore[reportAttributeAccessIssue]
        return " ".join(f"{message[:1].lower()}{message[1:]}; --help shows what there is".split())
    if isinstance(error, BrokenPipeError):
        return "what reads the output has ended before all of it was printed"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "there is not enough memory for this; take a smaller --batch-size, or fewer or smaller rows"
    known = isinstance(error, ValueError | TypeError | OSError | FloatingPointError) or _gone(error)
    return " ".join((str(error) if known else f"{type(error).__name__}: {error}; --debug shows where").split())


def _gone(error: Exception) -> bool:
    """Whether another process has ended. Only one that knows of others has imported what says so."""
    parallel = sys.modules.get("polymodal.runtime.distributed")
    return parallel is not None and isinstance(error, parallel.GoneError)


def _find_gone(stop: BaseException) -> Exception | None:
    """Returns the error of another process having ended, if a signal arrived while this process was handling it."""
    error = stop.__context__
    while error is not None and not (isinstance(error, Exception) and _gone(error)):
        error = error.__context__
    return error


def _say(line: str) -> None:
    """Prints a line on stderr, in the main process."""
    if processes.number() == 0:
        standard_streams.complain(line)


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
    if context.invoked_subcommand is None:
        context.get_help()  # which prints it
        raise typer.Exit(2)
    processes.refuse(context.invoked_subcommand)


def _reads_csv(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose argument `csv` is made of the options of how a CSV file is read, which it gets in its place."""

    @wraps(command)
    def run(**given: Any) -> None:
        csv = {name: given.pop(name) for name in READING}
        command(**given, csv=csv)

    made: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        options = [parameter.replace(name=name, annotation=kind) for name, kind in READING.items()]
        made += options if parameter.name == "csv" else [parameter]
    run.__signature__ = inspect.Signature(made)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in made}
    return run


@app.command(epilog="Example: polymodal demo --folder runs/demo --epochs 80")
def demo(
    folder: Annotated[Path, typer.Option(help="Of the run; an earlier demo there is replaced.")] = Path("runs/demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training rows; more is better and slower.")] = 11,
    rows: Annotated[int, typer.Option(min=10, help="Training rows, a multiple of 10.")] = 12_800,
    seed: Annotated[int, typer.Option(help="Of the data, the weights and the training.")] = 0,
    device: Device = "auto",
) -> None:
    """Train MAC-WAE on PolyDigits, score it on held-out handwriting, and write a page of pictures."""
    from polymodal.cli.demo import headline, run

    with _stoppable(folder, always=False):
        path, scores = run(folder, epochs=epochs, rows=rows, seed=seed, device=device)
    tell(headline(scores))
    tell(f"Report: {printable(path.resolve())}")


@app.command(epilog="Example: polymodal datasets polydigits")
def datasets(
    name: Annotated[str | None, typer.Argument(help="One of them, to be told all of it.", show_default=False)] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Look for their files here; by default where downloads are.")
    ] = None,
) -> None:
    """List the data sets that can be loaded by name, with their arguments, and which of them are there."""
    from polymodal.cli import console, dataset_list

    console.show(dataset_list.every(root) if name is None else dataset_list.one(name, root))


@app.command(
    epilog="Example: polymodal train polydigits --folder runs/mine --epochs 20 --set widths=16,32 --beta 10\n\n"
    "Example: polymodal train birds.parquet --modality caption=text:24 --ignore id"
)
@_reads_csv
def train(
    dataset: Annotated[
        str | None, typer.Argument(help="Its name (`polymodal datasets` lists them), or a table's file.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Its name; by default mac-wae.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Of the run; by default runs/DATASET-MODEL, of a table runs/FILE.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A YAML file of settings.")] = None,
    assigned: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as draws=4 or data.seed=1; repeatable."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's.")] = None,
    latent_dim: Annotated[int | None, typer.Option(help="Size of the code.")] = None,
    beta: Annotated[float | None, typer.Option(help="Weight of the penalty.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the weights and the training; data.seed is another.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Go on with the run in this folder; alone, or to more --epochs, say."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run in the folder, once the training begins.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print all settings as YAML, and of a table the inferred types, and stop.")
    ] = False,
    csv: Csv = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=KIND", help="What a table's column is, such as caption=text:24; repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="NAMES", help="Columns of a table to leave out; repeatable.")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="Numbers whose columns begin so are one vector; repeatable."),
    ] = None,
) -> None:
    """Train a model on a data set, or on a table: a CSV file, a Parquet file or a folder of them, Feather, JSON lines.

    Of a table it says first what it takes each column for, and why.

    Settings come from --config, then from --set and the other options. All are checked before anything runs, and
    written into the run's folder as settings.yaml, which --config takes.
    """
    from polymodal.cli import tables
    from polymodal.cli import train as training

    short = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "latent_dim": latent_dim}
    short |= {"beta": beta, "seed": seed, "device": device}
    top = {"dataset": dataset, "model": model, "folder": None if folder is None else str(folder)}
    given = {name: value for name, value in {**top, **short}.items() if value is not None}
    own = tables.settings(dataset, folder, tables.csv_options(**csv or {}), modality, ignore, group)
    settings = training.settle(given | own, assigned or [], config, resume)
    if overwrite and resume is not None:
        raise ValueError("--overwrite replaces a run, and --resume goes on with it; leave one of them out")
    training.check(settings, new=resume is None, overwrite=overwrite)
    if dry_run:
        if settings.dataset == "table":
            warn(tables.format_column_types(settings.data))
        print(training.text(settings), end="")  # YAML, in which what cannot be seen is escaped already
        return
    if settings.dataset == "table":
        tell(tables.format_column_types(settings.data))
    with _stoppable(settings.folder if resume else None):
        data, network = training.make(settings)
    tell(training.describe_training(settings, data, network))
    with _stoppable(settings.folder):
        if overwrite:
            training.clear(settings)
        fitted = training.run(settings, data, network, resume=resume is not None)
    tell(training.summarise_training(fitted))


@app.command(
    epilog="Example: polymodal evaluate runs/demo --split validation --tasks many-to-one\n\n"
    "Example: polymodal evaluate runs/demo --tasks generation --inception inception.safetensors"
)
def evaluate(
    folder: Run,
    split: Split = "test",
    tasks: Annotated[
        str,
        typer.Option(
            help="What to score, separated by commas; scores of other tasks that the file holds stay. There are also "
            "translation, coherence, sampling, generation, likelihood and probe."
        ),
    ] = "reconstruction,many-to-one,one-to-one",
    inception: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights of Inception-v3, for generation: the FID of pictures as well."),
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = 256,
    on_changed: OnChanged = "error",
) -> None:
    """Score a run's model, and add the scores to scores.csv in its folder (scores-SPLIT.csv for another split)."""
    from polymodal.cli import console, run_folder

    asked = [task.strip() for task in tasks.split(",")]
    where: dict[str, Any] = {
        "inception": inception,
        "device": device,
        "batch_size": batch_size,
        "on_changed": on_changed,
    }
    path, scores, schema = run_folder.evaluate(folder, split=split, tasks=asked, **where)
    console.show(console.scores(scores, schema))
    tell(f"Scores: {printable(path)}")


@app.command(
    epilog="Example: polymodal translate runs/demo --given m0,label --to m3 --rows 3,5,9\n\n"
    "Example: polymodal translate runs/mac-vae --given m0 --to m3,label --samples 6\n\n"
    "Example: polymodal translate runs/demo --given m0 --to label --out labels.parquet\n\n"
    "Example: polymodal translate runs/birds birds.csv --to weight --out weights.parquet"
)
@_reads_csv
def translate(
    folder: Run,
    file: TableFile = None,
    given: Given = None,
    to: Annotated[list[str] | None, typer.Option(metavar="NAMES", help="What to make, likewise.")] = None,
    rows: Annotated[
        str | None, typer.Option(help="Numbers and ranges, such as 0:8 or 3,5,9; by default 0:8, into a file all.")
    ] = None,
    split: OwnSplit = None,
    csv: Csv = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Posterior samples of each row; by default one point prediction.")
    ] = None,
    combine: Annotated[
        str | None, typer.Option(help="mean: combine the samples of a row into one estimate.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the solver that samples by a flow; by default 25.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(min=0, help="Weight of what is given in samples by a flow; by default 1, more is less varied."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="Of the noise of samples by a flow; by default 1, 0.8 is more typical, less varied."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the samples.")] = 0,
    bounds: HeldTo = "observed",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write, by default FOLDER/translations; or a file, FILE.parquet.")
    ] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    batch_size: BatchSize = 256,
    on_changed: OnChanged = "error",
) -> None:
    """Predict modalities of rows from others: images, a table, and a sheet to look at; or one Parquet file.

    A Parquet file is written batch by batch, so a split or a table of any size will do; with samples, each of them is
    a row of it. Rows that observe nothing of what is given are left out of it.
    """
    from polymodal.cli import predict

    table = _table(folder, file, csv)
    asked: dict[str, Any] = {"given": given or (), "to": to or (), "split": split, "device": device, "seed": seed}
    asked |= {"samples": samples, "combine": combine, "steps": steps, "guidance": guidance, "bounds": bounds}
    asked |= {"temperature": temperature, "overwrite": overwrite, "on_changed": on_changed}
    if out is None or out.suffix != ".parquet":
        with _writes(out := out or folder / "translations"):
            _present(*predict.translate(folder, table, rows=rows or "0:8", out=out, **asked))
        return
    _wrote("Answers for", predict.stream(folder, table, rows=rows, out=out, batch_size=batch_size, **asked), out)


@app.command(
    epilog="Example: polymodal impute runs/birds birds.parquet --out whole.parquet --sure --marked\n\n"
    "Example: polymodal impute runs/mac-vae birds.csv --out whole.csv --imputations 5"
)
@_reads_csv
def impute(
    folder: Run,
    file: Annotated[Path, typer.Argument(help="A table: CSV, Parquet or Feather, or a folder of Parquet files.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="To write, of the same kind; by default in the run's folder.")
    ] = None,
    given: Given = None,
    to: Annotated[
        list[str] | None, typer.Option(metavar="NAMES", help="What to fill, likewise; by default every hole.")
    ] = None,
    sure: Annotated[
        bool, typer.Option("--sure", help="Add how sure the model is of each cell that it imputed.")
    ] = False,
    marked: Annotated[bool, typer.Option("--marked", help="Add a column with the names of what was filled.")] = False,
    imputations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Multiple imputation: write so many files, each from one posterior sample per row; of a model that "
            "has them, such as mac-vae or one trained with --set prior=flow.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the posterior samples.")] = 0,
    bounds: HeldTo = "observed",
    csv: Csv = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Rows per pass.")] = 4096,
) -> None:
    """Fill the holes of a table, in its own units, and leave every other cell as it is.

    A file is read and written in pieces, so one of any size will do. How sure the model is of a class is its
    probability; of a number, the standard deviation over posterior samples, of models that have them. With several
    imputations FILE-0, FILE-1 and so on are written, and the spread over them says how uncertain the model is.
    """
    from polymodal.cli import tables

    asked: dict[str, Any] = {"given": given or (), "to": to or (), "options": tables.csv_options(**csv or {})}
    asked |= {"sure": sure, "marked": marked, "imputations": imputations, "seed": seed, "overwrite": overwrite}
    asked |= {"bounds": bounds}
    tell(tables.impute(folder, file, out, device=device, batch_size=batch_size, **asked))


@app.command(
    epilog="Example: polymodal embed runs/demo --out codes.parquet --given m0\n\n"
    "Example: polymodal embed runs/birds birds.csv --out codes.parquet"
)
@_reads_csv
def embed(
    folder: Run,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A Parquet file.")],
    file: TableFile = None,
    given: Given = None,
    split: OwnSplit = None,
    csv: Csv = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    batch_size: BatchSize = 256,
    on_changed: OnChanged = "error",
) -> None:
    """Write the codes of rows, of a split or of a table, as Parquet: row, z0, z1, ..., and the labels."""
    from polymodal.cli import predict

    table = _table(folder, file, csv)
    asked: dict[str, Any] = {"given": given or (), "split": split, "device": device, "batch_size": batch_size}
    asked |= {"overwrite": overwrite, "on_changed": on_changed}
    _wrote("Codes of", predict.embed(folder, table, out=out, **asked), out)


@app.command(epilog="Example: polymodal sample runs/demo --number 16 --seed 1")
def sample(
    folder: Run,
    number: Annotated[int, typer.Option(min=1, help="Number of rows.")] = 16,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write; by default FOLDER/samples.")] = None,
    bounds: HeldTo = "observed",
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Sample rows unconditionally, from the prior: images, a table, and a sheet to look at."""
    from polymodal.cli import predict

    with _writes(out := out or folder / "samples"):
        asked: dict[str, Any] = {"bounds": bounds, "device": device, "overwrite": overwrite}
        _present(*predict.sample(folder, number=number, seed=seed, out=out, **asked))


@app.command(
    epilog="Example: polymodal compare polymnist-small --on ray\n\n"
    "Example: polymodal compare mine.yaml --folder runs/studies --dry-run\n\n"
    "Example: polymodal compare --scores scores.csv --out runs/comparison --leave-out m-wae"
)
def compare(
    study: Annotated[
        str | None,
        typer.Argument(
            help="A YAML file, or a preset: {polymnist,mhd,cub,celeba}-{paper,fair}, "
            "{polymnist,pendigits-mhd,emoji}-small, polydigits-beta, polydigits-draws.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Of all studies and their runs; what is finished there is not run again.")
    ] = Path("runs/studies"),
    on: Annotated[str, typer.Option(help="here: one run after the other; ray: side by side, see --cpus.")] = "here",
    address: Annotated[
        str | None, typer.Option(help="Of a cluster of Ray's; by default one is started on this machine.")
    ] = None,
    cpus: Annotated[int, typer.Option(min=1, help="On Ray, processors for each run.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="On Ray, GPUs for each run, such as 0.25.")] = 0,
    retries: Annotated[int, typer.Option(min=0, help="On Ray, of a run whose worker is gone.")] = 3,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda; by default the study's.")] = None,
    beside: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A CSV file of scores to show beside, such as the paper's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and stop.")] = False,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="In place of a study, a CSV file of scores: task, dataset, modality, metric, better, model, value.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="For --scores; files of other names there are left alone.")
    ] = Path("runs/comparison"),
    leave_out: Annotated[
        list[str] | None, typer.Option(metavar="MODELS", help="Of --scores, separated by commas; repeatable.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Of --scores, replace an earlier comparison.")] = False,
) -> None:
    """Run a study of models, data sets, settings and seeds, or take scores that exist, and compare the models.

    Average performance ranks per task, a matrix of wins and losses with binomial tests, how often each is best, every
    score, curves and maps: one page, with its tables as CSV and its figures as PDF and PNG beside it.

    A study that was stopped goes on by the same command.
    """
    from polymodal.cli import console

    if (study is None) == (scores is None):
        raise ValueError("either a study must be named, such as polymnist-small, or --scores; got both or neither")
    if scores is not None:
        from polymodal.cli import compare_scores

        without = [model.strip() for models in leave_out or () for model in models.split(",") if model.strip()]
        with _writes(out):
            page = compare_scores.from_scores(scores, out, without, overwrite=overwrite)
        console.show(console.comparison(page.parent))
        tell(f"Page: {printable(page.resolve())}")
        return
    from polymodal.cli import compare_studies

    if overwrite:
        raise ValueError("--overwrite is for --scores; what a study has finished is kept, and its page is made anew")
    if dry_run:
        console.show(compare_studies.tabulate_planned_runs(str(study), folder, device))
        return
    where = {"on": on, "address": address, "cpus": cpus, "gpus": gpus, "retries": retries}
    try:
        made = compare_studies.run(str(study), folder, beside, device, **where)
    except KeyboardInterrupt as stop:
        _say("polymodal: stopped. To go on, give the same command again")
        raise typer.Exit(_code(stop)) from None
    if made.page is not None and (made.page.parent / "best.csv").exists():
        console.show(console.comparison(made.page.parent))
    tell(compare_studies.summarise_comparison(made))
    if made.failures:
        raise typer.Exit(1)


@app.command(epilog="Example: polymodal report runs/demo")
def report(folder: Run, device: Device = "auto", on_changed: OnChanged = "error") -> None:
    """Write a run's report.html anew, from its model, history and scores."""
    from polymodal.cli.run_folder import report as write_report

    with _writes(folder / "report.html"):
        tell(f"Report: {printable(write_report(folder, device, on_changed).resolve())}")


@contextmanager
def _writes(out: Path) -> Iterator[None]:
    """Refuses to go on where another process writes the same; of several processes together the main one looks."""
    from polymodal.io.locks import claim_outputs

    with nullcontext() if processes.number() else claim_outputs(out.resolve(), does="writes it"):
        yield


@contextmanager
def _stoppable(folder: Path | str | None, *, always: bool = True) -> Iterator[None]:
    """Says how a run that was stopped goes on; unless always, one that has written its state alone."""
    from polymodal.cli.train import SETTINGS

    try:
        yield
    except KeyboardInterrupt as stop:
        where = getattr(stop, "where", "stopped" if always else None)
        if folder is None or where is None or not Path(folder, SETTINGS).exists():
            raise
        _say(f"polymodal: {where}. To go on:\npolymodal train --resume {quote(str(folder))}")
        raise typer.Exit(_code(stop)) from None


def _table(folder: Path, file: Path | None, csv: Csv) -> File | None:
    """The table's file that rows are of, if one was named."""
    from polymodal.cli.tables import csv_options, of_run

    options = csv_options(**csv or {})
    if file is not None:
        return of_run(folder, file, options)
    if options.given:
        name = next(iter(options.given))
        raise ValueError(f"--{name} is for a table's file, and none is named; name it after the run")
    return None


def _wrote(what: str, counts: tuple[int, int], out: Path) -> None:
    """Prints how many rows a file has, and how many were left out of it."""
    written, left_out = counts
    without = f"; {left_out:,} left out, for they have nothing of what is given" if left_out else ""
    tell(f"{what} {written:,} rows: {printable(out)}{without}")


def _present(folder: Path, made: Answers) -> None:
    """Prints what can be read of what was made, and where all of it is."""
    from polymodal.cli import console

    if (table := console.answers(made)) is not None:
        console.show(table)
    tell(f"Files: {printable(folder)}")
    tell(f"To look at: {printable(folder / 'grid.png')}")


if __name__ == "__main__":
    main()
