"""Commands of the command line, with their examples. A new command is a new file, and one line here."""

from __future__ import annotations

from collections.abc import Callable

from polymodal.cli.commands.compare_command import compare
from polymodal.cli.commands.datasets_command import datasets
from polymodal.cli.commands.demo_command import demo
from polymodal.cli.commands.embed_command import embed
from polymodal.cli.commands.evaluate_command import evaluate
from polymodal.cli.commands.export_command import export
from polymodal.cli.commands.impute_command import impute
from polymodal.cli.commands.push_command import push
from polymodal.cli.commands.report_command import report
from polymodal.cli.commands.sample_command import sample
from polymodal.cli.commands.serve_command import serve
from polymodal.cli.commands.train_command import train
from polymodal.cli.commands.translate_command import translate

__all__ = ["COMMANDS"]

COMMANDS: dict[Callable[..., None], list[str]] = {
    demo: ["polymodal demo --folder runs/demo --epochs 80"],
    datasets: ["polymodal datasets polydigits"],
    train: [
        "polymodal train polydigits --folder runs/mine --epochs 20 --set widths=16,32 --beta 10",
        "polymodal train birds.parquet --modality caption=text:24 --ignore id",
        "polymodal train --resume runs/mine --epochs 40",
    ],
    evaluate: [
        "polymodal evaluate runs/demo --split validation --tasks many-to-one",
        "polymodal evaluate runs/demo --tasks generation --inception inception.safetensors",
    ],
    translate: [
        "polymodal translate runs/demo --given m0,label --to m3 --rows 3,5,9",
        "polymodal translate runs/mac-vae --given m0 --to m3,label --samples 6",
        "polymodal translate runs/demo --given m0 --to label --out labels.parquet",
        "polymodal translate runs/birds birds.csv --to weight --out weights.parquet",
        "polymodal translate hf://owner/name birds.csv --to weight",
    ],
    impute: [
        "polymodal impute runs/birds birds.parquet --out whole.parquet --sure --marked",
        "polymodal impute runs/mac-vae birds.csv --out whole.csv --imputations 5",
    ],
    embed: [
        "polymodal embed runs/demo --out codes.parquet --given m0",
        "polymodal embed runs/birds birds.csv --out codes.parquet",
    ],
    sample: ["polymodal sample runs/demo --number 16 --seed 1"],
    compare: [
        "polymodal compare polymnist-small --on ray",
        "polymodal compare mine.yaml --folder runs/studies --dry-run",
        "polymodal compare --scores scores.csv --out runs/comparison --leave-out m-wae",
    ],
    report: ["polymodal report runs/demo"],
    push: [
        "polymodal push runs/demo owner/name --licence apache-2.0",
        "polymodal push runs/demo owner/name --dry-run upload",
    ],
    serve: ["polymodal serve runs/demo", "polymodal serve runs/demo --host 0.0.0.0 --token-file token.txt"],
    export: [
        "polymodal export runs/demo --to onnx",
        "polymodal export runs/demo --out exported --overwrite",
    ],
}
"""Commands in the order in which `polymodal --help` lists them, with the examples that their `--help` shows."""
