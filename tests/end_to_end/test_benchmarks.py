"""The benchmarks of training steps and of the loader, run as people run them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import evaluation, gpu, loader, machine, sampling
from benchmarks.shapes import SHAPES, Shape
from benchmarks.step import main
from polymodal.modalities import Image, Label, Text, Vector
from polymodal.networks import CodeFlow

ROOT = Path(__file__).parents[2]


def step(*arguments):
    command = [sys.executable, "-m", "benchmarks.step", "--threads", "1", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_a_case_is_timed_shown_and_written(tmp_path):
    out = tmp_path / "new" / "step.json"
    done = step("--shapes", "mhd", "--draws", 1, "--budget", 0.1, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("1/1 mhd, K = 1: ours is ")
    heading, row = [line for line in done.stdout.splitlines() if line.strip().startswith(("shape", "mhd"))]
    assert heading.split() == ["shape", "K", "distinct", "ours", "reference", "reference", "/", "ours", "pairs"]
    assert row.split()[:3] == ["mhd", "1", "1.0"]
    assert done.stdout.splitlines()[-1] == f"Numbers: {out}"

    document = json.loads(out.read_text())
    assert document.keys() == {"benchmark", "date", "versions", "machine", "budget", "cases"}
    assert document["versions"].keys() == {"polymodal", "torch", "python"}
    assert document["machine"].keys() == {"cpu", "threads", "gflops", "copy_gbytes"}
    assert document["machine"]["threads"] == 1
    assert min(document["machine"]["gflops"], document["machine"]["copy_gbytes"]) > 0
    (case,) = document["cases"]
    assert [case[key] for key in ("shape", "draws", "modalities", "batch_size", "latent_dim", "p0", "distinct")] == [
        "mhd", 1, 4, 64, 128, 0.4, 1.0,
    ]  # fmt: skip
    for side in ("ours", "reference", "ratio"):
        assert len(case[side]["all"]) == case["pairs"] == 3
        assert 0 < case[side]["lower"] <= case[side]["median"] <= case[side]["upper"]
    pairs = zip(case["ours"]["all"], case["reference"]["all"], strict=True)
    assert case["ratio"]["all"] == [theirs / ours for ours, theirs in pairs]
    assert [path.name for path in out.parent.iterdir()] == ["step.json"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shapes", "mhd,mdh"], "unknown shape 'mdh'; known are mhd, polymnist, cub, celeba"),
        (["--draws", "1,0"], "draws must be whole numbers from 1, such as 1,5,10; got '0'"),
        (["--budget", "nan"], "budget must be a positive number of seconds; got nan"),
        (["--budget", "long"], "argument --budget: invalid float value: 'long'"),
        (["--threads", "0"], "threads must be at least 1; got 0"),
        (["--out", ROOT], f"out must be a file; {ROOT} is a folder; write {ROOT / 'step.json'}"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, said, capsys):
    assert main(list(map(str, arguments))) == 2
    assert capsys.readouterr().err == f"benchmarks: {said}\n"


def test_the_exit_code_reaches_the_shell():
    done = step("--shapes", "mdh")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "Example: python -m benchmarks.step" in capsys.readouterr().out


def test_samples_by_a_flow_are_timed_next_to_heuns_method(tmp_path, capsys, monkeypatch):
    for name, small in {"SIZES": (3, 5), "CODES": 20, "STEPS": 4, "BATCH": 8}.items():
        monkeypatch.setattr(sampling, name, small)
    out = tmp_path / "sampling.json"
    assert sampling.main(["--budget", "0.1", "--threads", "1", "--out", str(out)]) == 0
    done = capsys.readouterr()
    assert done.err.startswith("1/2 codes of 3: 20 codes in ")
    assert "by Heun's method" in done.out
    for case in json.loads(out.read_text())["cases"]:
        assert case["pairs"] >= 3
        assert case["ratio"]["median"] > 0


def test_heuns_method_ends_where_the_flows_own_solver_does():
    torch.manual_seed(0)
    flow = CodeFlow(5, 3, width=16).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    noise, c, b = torch.randn(7, 5).double(), torch.randn(7, 5).double(), torch.ones(7, 3, dtype=torch.bool)
    torch.testing.assert_close(
        sampling.heun(flow, noise, c, b, 800), flow.transport(noise, c, b, steps=1600), rtol=0, atol=1e-4
    )


def test_the_loader_is_timed_beside_a_step_and_a_plain_loader(tmp_path, capsys, monkeypatch):
    for rate in ("product_rate", "copy_rate"):
        monkeypatch.setattr(machine, rate, lambda: 1e9)
    out = tmp_path / "loader.json"
    assert loader.main(["--shapes", "mhd", "--budget", "0.1", "--threads", "1", "--out", str(out)]) == 0
    done = capsys.readouterr()
    assert done.err.startswith("1/1 mhd: the loader takes ")
    assert done.out.splitlines()[-1] == f"Numbers: {out}"
    (case,) = json.loads(out.read_text())["cases"]
    assert [case[key] for key in ("shape", "draws", "batch_size", "rows", "pairs", "at_most")] == [
        "mhd", 10, 64, 4096, 3, 0.03,
    ]  # fmt: skip
    shares = [one / step for one, step in zip(case["loader"]["all"], case["step"]["all"], strict=True)]
    assert case["share"]["all"] == shares


def test_the_benchmark_of_a_gpu_runs_on_a_cpu_too(tmp_path, capsys, monkeypatch):
    for rate in ("product_rate", "copy_rate"):
        monkeypatch.setattr(machine, rate, lambda: 1e9)
    out = tmp_path / "gpu.json"
    few = ["--budget", "0.1", "--threads", "1", "--rows", "12", "--epochs", "1"]
    assert gpu.main(["--device", "cpu", "--shapes", "mhd", "--ways", "eager", *few, "--out", str(out)]) == 0
    done = capsys.readouterr()
    assert done.err.startswith("1/1 mhd, eager: ")
    assert "PolyMNIST (random pictures), eager: 1 epochs of 12 rows, K = 10, d = 128, in " in done.out
    document = json.loads(out.read_text())
    assert document["device"]["rates"].keys() == {"fp32", "tf32", "bf16", "copy"}
    (case,) = document["cases"]
    assert [case[key] for key in ("shape", "way", "draws", "batch_size", "graphs")] == ["mhd", "eager", 10, 64, 0]
    assert case["samples_per_second"] == 64 / case["step"]["median"]
    for floor in ("arithmetic", "bandwidth"):
        assert 0 < case[f"{floor}_share"] == case[floor] / case["step"]["median"]
    run = document["paper"]
    assert [run[key] for key in ("rows", "validation_rows", "epochs", "latent_dim")] == [12, 2, 1, 128]
    assert 0 < run["epoch"]["median"] < run["seconds"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ways", "graph"], "unknown way 'graph'; known are eager, eager bf16, eager compiled"),
        (["--epochs", "-1"], "epochs must be at least 0; got -1"),
        (["--device", "tpu"], "device must be an available one: auto, cpu"),
    ],
)
def test_what_a_device_cannot_do_is_one_line(arguments, said, capsys):
    assert gpu.main(["--device", "cpu", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"benchmarks: {said}")


def test_an_evaluation_is_timed_beside_a_plain_one_and_scores_the_same(tmp_path, capsys, monkeypatch):
    for rate in ("product_rate", "copy_rate"):
        monkeypatch.setattr(machine, rate, lambda: 1e9)
    words = ("one", "two", "three", "four")
    text = Text(6, words, width=8, layers=1, heads=2, feedforward=8, hidden=(8,))
    tiny = {"image": Image(3, 13, 12, widths=(4,)), "text": text, "kind": Label(2), "size": Vector(2, hidden=(4,))}
    monkeypatch.setitem(SHAPES, "tiny", Shape(tiny, 8, 6, 0.4, 1e-3))
    out = tmp_path / "evaluation.json"
    arguments = ["--shapes", "tiny", "--rows", "9", "--budget", "0.1", "--threads", "1", "--out", str(out)]
    assert evaluation.main(arguments) == 0
    done = capsys.readouterr()
    assert done.err.startswith("1/1 tiny: ours is ")
    assert done.out.splitlines()[-1] == f"Numbers: {out}"
    (case,) = json.loads(out.read_text())["cases"]
    assert [case[key] for key in ("shape", "modalities", "rows", "asked", "pairs", "at_least", "at_most")] == [
        "tiny", 4, 9, 180, 1, 30.0, 1.5,
    ]  # fmt: skip
    # From the kind there are two answers in place of nine, for each of the three other modalities.
    assert case["codes"] == 180 - 3 * 7
    assert 0 <= case["difference"] < 1e-5
    for side in ("ours", "reference", "passes", "prediction", "networks", "ratio", "prediction_ratio"):
        assert 0 < case[side]["lower"] <= case[side]["median"] <= case[side]["upper"]
    assert case["ratio"]["all"] == [case["reference"]["median"] / case["ours"]["median"]]
    assert evaluation.main(["--rows", "7"]) == 2
    assert capsys.readouterr().err == "benchmarks: rows must be at least 8; got 7\n"
