"""The benchmark of every model's training step, run as people run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.models import _describe_comparison, compare, main

ROOT = Path(__file__).parents[2]
SPREAD = {"median", "lower", "upper", "all"}


def assert_spreads(case, over, under):
    for side in (over, under, "ratio"):
        assert case[side].keys() == SPREAD
        assert len(case[side]["all"]) == case["pairs"] == 3
        assert 0 < case[side]["lower"] <= case[side]["median"] <= case[side]["upper"]
    pairs = zip(case[over]["all"], case[under]["all"], strict=True)
    assert case["ratio"]["all"] == [one / other for one, other in pairs]


def test_cases_are_timed_shown_and_written(tmp_path, capsys, monkeypatch):
    for rate in ("product_rate", "copy_rate"):  # the other benchmark's test takes them
        monkeypatch.setattr(machine, rate, lambda: 1e9)
    out = tmp_path / "new" / "models.json"
    options = ["--shapes", "mhd", "--models", "mvtcae,mvae", "--budget", "0.1", "--threads", "1", "--out"]
    assert main([*options, str(out)]) == 0
    done = capsys.readouterr()
    assert [line.partition(" is ")[0] for line in done.err.splitlines()] == [
        "1/2 mhd, mvtcae: ours",
        "2/2 mhd, mvae: ours",
    ]
    heading, *rows = [line.split() for line in done.out.splitlines() if line.strip().startswith(("shape", "mhd"))]
    assert heading == ["shape", "model", "passes", "ours", "naive", "naive", "/", "ours", "pairs", "note"]
    assert [row[:3] for row in rows] == [["mhd", "mvtcae", "1"], ["mhd", "mvae", "5"]]
    assert done.out.splitlines()[-1] == f"Numbers: {out}"

    document = json.loads(out.read_text())
    assert document.keys() == {"benchmark", "date", "versions", "machine", "budget", "cases", "mopoe_over_mvtcae"}
    assert (document["benchmark"], document["machine"]["threads"]) == ("models", 1)
    assert document["mopoe_over_mvtcae"] is None  # which is of polymnist
    for case, name, passes in zip(document["cases"], ("mvtcae", "mvae"), (1, 5), strict=True):
        assert case.keys() == {
            "shape", "model", "modalities", "batch_size", "latent_dim", "p0", "passes", "note", "pairs", "ours",
            "naive", "ratio",
        }  # fmt: skip
        assert [case[key] for key in ("shape", "model", "modalities", "batch_size", "passes", "note")] == [
            "mhd", name, 4, 64, passes, "",
        ]  # fmt: skip
        assert_spreads(case, "naive", "ours")


def test_mopoe_is_compared_with_mvtcae():
    case = compare("mhd", 0.1)
    assert case.keys() == {"shape", "subsets", "at_most", "pairs", "mopoe", "mvtcae", "ratio"}
    assert (case["subsets"], case["at_most"]) == (15, 1.5)
    assert_spreads(case, "mopoe", "mvtcae")
    assert _describe_comparison(case).startswith("MoPoE's step over MVTCAE's on mhd, 15 subsets: ")
    assert _describe_comparison(case).endswith(", 3 pairs; required: at most 1.5")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shapes", "mhd,mdh"], "unknown shape 'mdh'; known are mhd, polymnist, cub, celeba"),
        (["--models", "mopoe,mvtce"], "unknown model 'mvtce'; known are mvtcae, "),
        (["--budget", "0"], "budget must be a positive number of seconds; got 0.0"),
        (["--out", ROOT], f"out must be a file; {ROOT} is a folder; write {ROOT / 'models.json'}"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, said, capsys):
    assert main(list(map(str, arguments))) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"benchmarks: {said}")
    assert printed.count("\n") == 1


def test_the_exit_code_reaches_the_shell():
    command = [sys.executable, "-m", "benchmarks.models", "--models", "mopo"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("benchmarks: unknown model 'mopo'; known are mopoe, ")
