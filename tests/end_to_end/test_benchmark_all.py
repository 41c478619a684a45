"""`make bench`: one table of all parts, the numbers beside it, and the curves; on steps that take milliseconds."""

import json
from dataclasses import replace
from functools import partial

import pytest

from benchmarks import __main__ as bench
from benchmarks import arithmetic, curves, machine, memory, startup, step
from benchmarks.published import PUBLISHED, RATE
from benchmarks.rows import row
from benchmarks.shapes import SHAPES, find_shape, make_shape, model_of, rows_of
from benchmarks.timing import spread

SPREAD = {"median", "lower", "upper", "all"}
BYTES = {"ours": 2_000_000, "in pieces": 1_000_000, "reference": 5_000_000}
TINY = [
    curves.Curve("labels", "K", [curves.Point(k, make_shape("labels", 5), k, k < 8) for k in (1, 2, 4, 8)], 1.0),
    curves.Curve(
        "labels", "modalities", [curves.Point(m, make_shape("labels", m), 2, m < 8) for m in (1, 2, 4, 8)], 1.0
    ),
]


@pytest.fixture(autouse=True)
def rates(monkeypatch):
    for rate in ("product_rate", "copy_rate"):
        monkeypatch.setattr(machine, rate, lambda: 1e9)
    monkeypatch.setattr(machine, "product", partial(machine.product, 8))


def assert_spread(numbers, rounds):
    assert numbers.keys() == SPREAD
    assert len(numbers["all"]) == rounds
    assert 0 < numbers["lower"] <= numbers["median"] <= numbers["upper"]


def test_all_parts_are_in_one_table_and_one_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(curves, "curves", lambda quick: TINY)
    monkeypatch.setattr(startup, "TORCH", ["-c", "pass"])
    monkeypatch.setattr(startup, "PROGRAMS", {"nothing": ["-c", "pass"]})
    monkeypatch.setattr(memory, "peak", lambda shape, draws, variant: BYTES[variant])
    monkeypatch.setitem(SHAPES, "mhd", replace(SHAPES["mhd"], batch_size=4))
    out = tmp_path / "new" / "bench.json"
    assert bench.main(["--shapes", "mhd", "--quick", "--threads", "1", "--out", str(out)]) == 0

    done = capsys.readouterr()
    parts = ["step: mhd", "loader: mhd", "memory: mhd", "start-up: import polymodal"]
    parts += ["curves: labels against K", "curves: labels against modalities"]
    said = [line.partition("/6 ")[2] for line in done.err.splitlines()]
    assert [line[: len(part)] for line, part in zip(said, parts, strict=True)] == parts
    assert "baseline" in done.out
    assert "The reference next to the authors' loop" in done.out
    assert done.out.splitlines()[-1] == f"Numbers: {out}"

    document = json.loads(out.read_text())
    assert document.keys() == {"benchmark", "date", "versions", "machine", "budget", "parts", "rows"}
    assert document["parts"].keys() == {"step", "evaluation", "loader", "memory", "start-up", "curves"}
    assert [line["part"] for line in document["rows"]] == [
        "step", "loader", "loader", "memory", "memory", "start-up",
    ]  # fmt: skip
    for line in document["rows"]:
        assert line.keys() == {"part", "case", "beside", "unit", "ours", "other", "ratio", "at_least", "reached"}
        assert_spread(line["ours"], len(line["ratio"]["all"]))
        quotients = [other / ours for other, ours in zip(line["other"]["all"], line["ours"]["all"], strict=True)]
        assert line["ratio"]["all"] == quotients
        assert line["reached"] == (None if line["at_least"] is None else line["ratio"]["median"] >= line["at_least"])
        assert line["case"] in done.out
    assert [line["at_least"] for line in document["rows"]] == [3.3, None, 1.0, None, None, 1 / 1.1]
    assert [(line["unit"], line["ratio"]["median"]) for line in document["rows"][3:5]] == [("MB", 2.5), ("MB", 5.0)]

    (case,) = document["parts"]["step"]
    assert case["operations"].keys() == {"encode", "decode"}
    against = case["against"]
    assert against["floor"] > against["floor_distinct"] > 0
    scaled = [s * rate / 245e9 for s, rate in zip(case["reference"]["all"], case["rate"]["all"], strict=True)]
    assert against["scaled"]["all"] == scaled
    assert against["apart"] == against["scaled"]["median"] / 0.85 - 1
    assert against["apart_here"] == case["reference"]["median"] / 0.85 - 1

    for curve in document["parts"]["curves"]:
        assert [point["at"] for point in curve["points"]] == [1, 2, 4, 8]
        assert ["reference" in point for point in curve["points"]] == [True, True, True, False]
        for point in curve["points"]:
            assert_spread(point["ours"], curve["pairs"])
            assert_spread(point["bare"], curve["pairs"])
        assert curve["slopes"].keys() == {"ours", "bare", "reference"}
    assert sorted(path.name for path in out.parent.iterdir()) == ["bench-K.png", "bench-modalities.png", "bench.json"]


@pytest.mark.parametrize("arguments", [["--parts", "step,lader"], ["--shapes", "mdh"], ["--budget", "0"]])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, capsys):
    assert bench.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("benchmarks: ")
    assert said.count("\n") == 1


def test_what_is_required_is_the_median_of_the_ratio():
    sides = {"ours": spread([1.0]), "reference": spread([1.0])}
    for ratios, reached in (([1.0, 2.0, 9.0], True), ([1.0, 1.9, 9.0], False)):
        made = row("step", "mhd", "plain loop", {**sides, "ratio": spread(ratios)}, at_least=2.0)
        assert made["reached"] is reached


def test_operations_are_those_of_products_written_out():
    """One hidden layer each way: a product forward, and backward one for its input and one for its weights."""
    shape = replace(make_shape("labels", 2), batch_size=8, latent_dim=4)
    model = model_of(shape, 1)
    counted = arithmetic.operations(model, rows_of(model.schema, 8))
    networks = {"encode": model.encoders, "decode": model.decoders}
    for key, found in networks.items():
        layers = [[layer for layer in network.modules() if hasattr(layer, "in_features")] for network in found]
        products = [(layer.in_features * layer.out_features, i) for each in layers for i, layer in enumerate(each)]
        # The encoders' first layer needs no gradient of its input, which are data; codes need theirs.
        passes = [2 if key == "encode" and first == 0 else 3 for _, first in products]
        assert counted[key] == sum(2 * 8 * size * each for (size, _), each in zip(products, passes, strict=True))


@pytest.mark.parametrize(("name", "floor"), [("polymnist", 0.41), ("mhd", 0.06), ("cub", 0.39), ("celeba", 0.27)])
def test_the_floors_are_those_that_were_published(name, floor):
    model = model_of(SHAPES[name], SHAPES[name].draws)
    counted = arithmetic.operations(model, rows_of(model.schema, SHAPES[name].batch_size))
    work = counted["encode"] + SHAPES[name].draws * counted["decode"]
    assert round(work / RATE, 2) == floor
    assert name in PUBLISHED


def test_a_line_is_fitted_to_the_codes_that_are_decoded():
    """With two modalities there are three subsets: however large K, no more than three codes are decoded."""
    points = [curves.Point(k, make_shape("labels", 2), k) for k in (1, 4, 40)]
    case = curves.measure(curves.Curve("labels", "K", points, 1.0), 1e-9, lambda share: None)
    assert case["points"][0]["codes"] == 1.0
    assert case["points"][2]["codes"] == 3.0
    assert 0 <= case["straight"]["median"] <= 1


def test_an_evaluation_is_held_to_what_is_required():
    times = {"ours": [1.0], "reference": [29.0], "ratio": [29.0], "prediction": [0.9], "networks": [0.6]}
    case = {"shape": "celeba", "rows": 8, **{key: spread(numbers) for key, numbers in times.items()}}
    both = bench._list_evaluation_rows([case])
    assert [line["reached"] for line in both] == [False, True]
    assert (both[1]["ratio"]["median"], both[1]["at_least"]) == (0.6 / 0.9, 1 / 1.5)


def test_the_peak_of_a_fresh_process_is_lower_in_pieces():
    """What 40 codes of 64 rows leave behind in a decoder is not there at once, and that of 8 decoders never is."""
    pieces, ours, plain = (memory.peak("8 pictures", 40, variant) for variant in ("in pieces", "ours", "reference"))
    assert pieces < ours - 50_000_000
    assert ours < plain - 400_000_000


def test_a_process_that_fails_says_why():
    with pytest.raises(OSError, match=r"measures mhd, 1, oours ended with 1: KeyError: 'oours'"):
        memory.peak("mhd", 1, "oours")


def test_memory_is_measured_on_the_papers_shapes_and_along_two_curves():
    found = memory.points(list(SHAPES))
    assert {(name, shape.draws) for name, shape in SHAPES.items()} <= set(found)
    assert [k for name, k in found if name == "polymnist"] == [10, 1, 5, 20, 40]
    assert [len(find_shape(name).modalities) for name, _ in found if "pictures" in name] == [4, 16, 64]
    assert memory.points(["mhd"]) == [("mhd", 10)]
    assert set(memory.points(list(SHAPES), quick=True)) < set(found)


def test_a_part_alone_shows_its_own_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(startup, "TORCH", ["-c", "pass"])
    monkeypatch.setattr(startup, "PROGRAMS", {"nothing": ["-c", "pass"]})
    monkeypatch.setattr(memory, "peak", lambda shape, draws, variant: BYTES[variant])
    monkeypatch.setattr(curves, "curves", lambda quick: TINY[:1])
    for part, arguments in ((startup, []), (memory, ["--shapes", "mhd"]), (curves, ["--quick"])):
        name = part.__name__.rpartition(".")[2]
        out = tmp_path / f"{name}.json"
        assert part.main([*arguments, "--budget", "0.1", "--threads", "1", "--out", str(out)]) == 0
        assert json.loads(out.read_text())["benchmark"] == name
        assert capsys.readouterr().out.splitlines()[-1] == f"Numbers: {out}"


def test_the_papers_cases_are_those_at_its_k():
    assert step.is_papers({"shape": "cub", "draws": 5})
    assert not step.is_papers({"shape": "cub", "draws": 10})
    assert not step.is_papers({"shape": "16 labels", "draws": 10})
