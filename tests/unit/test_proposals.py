"""What columns of data frames are taken for, and what is said of it."""

import datetime
import io
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch

from polymodal.modalities import Audio, Image, Label, Modality, Text, Vector
from polymodal.tabular import Proposal, format_proposals, propose

ADULT = [
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
]


def one(cells, **options) -> Proposal:
    """What a column of these cells is taken for."""
    (proposal,) = propose(pd.DataFrame({"x": cells}), **options)
    return proposal


def made(cells, **options) -> Modality:
    modality = one(cells, **options).modality
    assert modality is not None
    return modality


def png(side: int = 8, mode: str = "RGB", colour: object = None) -> bytes:
    PIL.Image.new(mode, (side, side), colour or ("red" if mode == "RGB" else 90)).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (pd.DataFrame(index=range(3)), "at least one column"),
        (pd.DataFrame({"x": []}), "at least one row"),
        (pd.DataFrame([[1, 2]]), "texts for names; got 0"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "'x' occurs twice"),
    ],
)
def test_frames_that_cannot_be_looked_at(frame, why):
    with pytest.raises(ValueError, match=why):
        propose(frame)


@pytest.mark.parametrize("cells", [[None, None], [math.nan, math.nan], ["", " "], [pd.NaT, pd.NaT], [None, ""]])
def test_no_value_at_all(cells):
    assert one(cells)[2:4] == (None, "no row has a value")


@pytest.mark.parametrize("cells", [["a", None, "a"], [2.5, 2.5, None], [True, True, None], pd.Categorical(["a", "a"])])
def test_one_value_in_every_row(cells):
    proposal = one(cells)
    assert proposal.modality is None
    assert "the same value in every row that has one" in proposal.why
    assert "--modality x=" in proposal.doubt


def test_the_same_as_an_earlier_column():
    words = ["a", "b", None] * 10
    frame = pd.DataFrame({"first": words, "again": pd.Series(words, dtype=object), "moved": [None, "a", "b"] * 10})
    first, again, moved = propose(frame)
    assert first.modality == moved.modality == Label(2, names=("a", "b"))
    assert again[2:4] == (None, "the same as first")
    assert propose(frame, ignore=["first"])[1].modality == first.modality
    assert propose(frame, modalities={"again": "label"})[1].modality == first.modality


def test_missing_values_do_not_count():
    proposal = one(["a", "b", None, "", " ", math.nan, pd.NA] * 5)
    assert proposal.modality == Label(2, names=("a", "b"))
    assert proposal.why == "2 different texts in 10 of 35 rows"


@pytest.mark.parametrize(
    "cells",
    [
        [True, False] * 3,
        pd.array([True, None, False], dtype="boolean"),
        pd.Series([True, None, False], dtype=object),
    ],
)
def test_true_and_false(cells):
    assert one(cells)[2:] == (Label(2, names=("False", "True")), one(cells).why, "")


@pytest.mark.parametrize("dtype", ["int64", "Int64", "uint8", "float64", "float32", object])
def test_few_whole_numbers_are_a_label(dtype):
    proposal = one(pd.Series([10, 2, 3] * 5).astype(dtype))
    assert proposal.modality == Label(3, names=("2", "3", "10"))
    assert proposal.doubt == "for a number write --modality x=number"


def test_two_whole_numbers_are_a_label_and_neighbours_leave_no_doubt():
    assert one([0, 1, 1])[2::2] == (Label(2, names=("0", "1")), "")
    assert one([0, 7, 7]).modality == Label(2, names=("0", "7"))
    assert "x=number" in one([0, 7, 7]).doubt


def test_more_whole_numbers_are_a_number():
    assert isinstance(made([5, 1, 3] * 4), Vector)  # in 4 rows each
    fifteen = one([*range(0, 30, 2)] * 9)
    assert isinstance(fifteen.modality, Vector)
    assert fifteen.doubt == "for classes write --modality x=label"
    assert one([*range(0, 60, 2)] * 9).doubt == ""


def test_whole_numbers_one_per_row():
    shuffled = np.random.default_rng(0).permutation(50) + 7
    assert one(shuffled).why.startswith("an identifier: consecutive whole numbers from 7 to 56")
    assert "--modality x=number" in one(shuffled).doubt
    apart = one(3 * np.arange(200))
    assert isinstance(apart.modality, Vector)
    assert "--modality x=ignore" in apart.doubt


@pytest.mark.parametrize("of", [float, Decimal, np.float32])
def test_other_numbers_have_their_mean_and_deviation_as_units(of):
    values = pd.Series([*map(of, ("1.5", "2.5", "6.5")), None], dtype=np.float32 if of is np.float32 else object)
    assert made(values) == Vector(1, center=(3.5,), scale=(np.std([1.5, 2.5, 6.5]),))
    assert one(values).why == "numbers from 1.5 to 6.5 in 3 of 4 rows"


@pytest.mark.parametrize("size", [1e300, 1e-300, 1.0])
def test_units_of_huge_and_tiny_numbers(size):
    vector = made([1.5 * size, 2.5 * size, -6.5 * size])
    assert isinstance(vector, Vector)
    np.testing.assert_allclose(vector.center, np.mean([1.5, 2.5, -6.5]) * size, rtol=1e-14)
    np.testing.assert_allclose(vector.scale, np.std([1.5, 2.5, -6.5]) * size, rtol=1e-14)


def test_numbers_that_are_all_the_same_have_a_scale_of_one():
    assert made([0.1, 0.1], modalities={"x": "number"}) == Vector(1, center=(0.1,), scale=(1.0,))
    vector = made([0.1, 0.1, 0.1], modalities={"x": "number"})  # whose rounded mean is another number
    assert isinstance(vector, Vector)
    assert vector.scale == (1.0,)


def test_numbers_far_above_the_others():
    cells = [0.5] * 95 + [3.5, 100.0, 2000.0, 0.0, 1.0]
    assert one(cells).doubt.endswith("to take logarithms write --modality x=log")
    assert one([*cells, -2.0]).doubt == ""  # which has no logarithm
    assert one([cell / 1000 for cell in cells]).doubt == ""  # whose logarithms are the numbers
    assert one(np.random.default_rng(0).normal(50, 10, 1000)).doubt == ""


def test_an_infinite_number_is_named_by_its_row():
    with pytest.raises(ValueError, match="x, row 2: numbers must be finite; got inf"):
        one([None, 1.5, math.inf])
    assert one([None, 1.5, math.inf], ignore=["x"]).modality is None


def test_few_texts_are_a_label():
    assert made(["b", "a"] * 2) == Label(2, names=("a", "b"))
    many = [f"class {i:03}" for i in range(150)]
    assert made(many * 5) == Label(150, names=tuple(many))
    assert one([*["a", "b"] * 9, "c"]).why == "3 different texts in 19 rows, 1 in a single row"
    assert made(["10", "2", "3"] * 5) == Label(3, names=("2", "3", "10"))  # as `Label.fitted` orders them


def test_many_classes_leave_a_doubt():
    proposal = one([f"town{i}" for i in range(300)] * 2)
    assert proposal.modality is not None
    assert proposal.modality.levels == 300
    assert "--modality x=text" in proposal.doubt


def test_texts_one_per_row_are_identifiers():
    keys = [f"N{i}A{i * i}" for i in range(12)]
    assert one(keys)[2::2] == (None, "to use it anyway write --modality x=text")
    assert isinstance(made(keys[:9]), Text)  # too few to know
    assert isinstance(made([*keys, keys[0]]), Text)
    assert isinstance(made([f"{'long' * 10}{key}" for key in keys]), Text)


def test_wordy_texts():
    texts = [f"a red bird number {i}" for i in range(30)]
    text = made(texts)
    assert isinstance(text, Text)
    assert text == Text.learn(texts, 6, width=64, layers=1, heads=4, feedforward=128, dropout=0.1, hidden=(128,))
    assert one(texts).doubt == ""
    assert made([f"{text} {'so ' * 90}" for text in texts]).shape == (64,)


def test_a_rare_long_text_is_cut():
    assert made([*(f"bird {i}" for i in range(199)), "word " * 40]).shape == (3,)


def test_dates_as_texts_are_no_identifiers():
    dates = [f"2007-11-{day:02}" for day in range(1, 25)]
    assert isinstance(made(dates), Text)
    assert one(dates).doubt.startswith("dates are used as texts")
    assert made(dates[:3] * 5) == Label(3, names=tuple(dates[:3]))
    assert one(dates[:3] * 5).doubt == "dates are used as classes: for texts write --modality x=text"
    assert one([datetime.date(2007, 11, day) for day in (1, 2)] * 3).modality == Label(2, names=tuple(dates[:2]))


def test_dates():
    days = pd.Series(pd.date_range("2007-11-11", periods=30))
    proposal = one(days)
    assert isinstance(proposal.modality, Text)
    assert proposal.modality.write(proposal.modality.read("2007-11-11")) == "2007 - 11 - 11"
    assert "for a number of days write --modality x=number" in proposal.doubt
    assert "t00" not in proposal.modality.vocabulary
    assert isinstance(timed := made(days + pd.Timedelta(hours=3)), Text)
    assert "11t03" in timed.vocabulary
    assert made(pd.concat([days[:3]] * 5)).levels == 3
    assert made(pd.Series(pd.to_datetime(["1970-01-02", None, "1970-01-04"])), modalities={"x": "number"}) == Vector(
        1, center=(2.0,), scale=(1.0,)
    )


def test_texts_of_numbers_are_told():
    assert "these texts are numbers" in one(["1.5", "2.5", "3.5"] * 5).doubt
    assert "if '?' is for an empty cell" in one(["1.5", "2.5", "3.5", "?"] * 5).doubt
    assert "if '?' is for an empty cell" in one(["two", "four", "?"] * 5).doubt
    assert made(["1.5", "2.5", "6.5"], modalities={"x": "number"}) == made([1.5, 2.5, 6.5])
    with pytest.raises(ValueError, match=r"x, row 1: the value must be a number; got '\?'"):
        one(["1.5", "?"], modalities={"x": "number"})


def test_categories():
    cells = pd.Categorical(["low", "high", "low", None], categories=["low", "mid", "high"], ordered=True)
    assert made(cells) == Label(2, names=("low", "high"))
    assert made(pd.Categorical([3, 10, 3])) == Label(2, names=("3", "10"))


@pytest.mark.parametrize("wrap", [lambda b: b, lambda b: {"bytes": b, "path": None}, lambda b: open_png(b)])
def test_pictures_in_cells(wrap):
    assert made([wrap(png()), None, wrap(png())]) == Image(3, 8, 8)
    assert made([wrap(png(mode="L"))] * 2) == Image(1, 8, 8)
    assert made([wrap(png(colour="#777777"))] * 2) == Image(1, 8, 8)


def open_png(content: bytes) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(content))


def test_arrays_as_pictures():
    grey, colour = np.zeros((5, 7), np.uint8), np.arange(105, dtype=np.uint8).reshape(5, 7, 3)
    assert made([grey, grey]) == made([grey[..., None]] * 2) == Image(1, 5, 7)
    assert made([grey, None, colour]) == Image(3, 5, 7)


def test_pictures_are_made_smaller():
    large = one([png(8), png(200)])
    assert large.modality == Image(3, 64, 64)
    assert "--modality x=image:3x128x128" in large.doubt
    assert made([np.zeros((100, 200), np.uint8)] * 2) == Image(1, 32, 64)


def test_a_picture_that_is_looked_at_stays_as_it_is():
    picture = PIL.Image.new("RGB", (200, 100))
    one([picture, picture])
    assert picture.size == (200, 100)


@pytest.mark.parametrize("kind", [str, Path, lambda name: {"path": name}])
def test_files_of_pictures(tmp_path, kind):
    (tmp_path / "a.png").write_bytes(png(9))
    cells = [kind("absent.PNG"), kind("a.png"), None]
    assert one(cells, root=tmp_path).modality == Image(3, 9, 9)
    unread = one(cells, root=tmp_path / "elsewhere")
    assert unread.modality is None
    assert "none of the images in 'x' can be read" in unread.why
    assert "x=image:3x64x64" in unread.doubt


def test_files_of_sounds():
    proposal = one([f"{i}.wav" for i in range(9)])
    assert proposal.modality == Audio(32, 128)
    assert proposal.why == "audio files in 9 rows"
    assert proposal.doubt == "only the first second is used: for 3 seconds write --modality x=audio:96x128"


@pytest.mark.parametrize("of", [list, tuple, np.array])
def test_lists_of_numbers(of):
    assert made([of([1.0, 5.0]), None, of([3.0, 5.0])]) == Vector(2, center=(2.0, 5.0), scale=(1.0, 1.0))


def test_lists_must_be_numbers_of_one_length():
    with pytest.raises(ValueError, match="x, row 2: lists must be as long as in row 0, 2; got 1"):
        one([[1, 2], None, [3]])
    with pytest.raises(ValueError, match="x, row 1: numbers must be finite"):
        one([[1, 2], [3, math.inf]])
    assert one([["a"], ["a", "b"]]).why == "lists of something else than numbers"


def test_anything_else_is_left_out():
    assert one([{"a": 1}, {"a": 2}])[2:4] == (None, "it holds dict")
    assert one([1, "a", 2.5]).why == "it holds float, int, str"
    assert one([b"abc", b"def"]).why == "it holds bytes"
    assert one(pd.to_timedelta([1, 2], "D")).modality is None


FRAME = pd.DataFrame(
    {
        "kind": ["a", "b"] * 10,
        "bill_long": np.arange(20) / 8,
        "year": [2007, 2008, 2009, 2010] * 5,
        "bill_deep": [1, 2] * 10,
        "bill_side": ["left", "right"] * 10,
    }
)


def test_a_group_is_one_vector():
    kind, bill, year, side = propose(FRAME, groups=["bill_"])
    assert (bill.name, bill.columns) == ("bill", ("bill_long", "bill_deep"))
    assert bill.modality == Vector(
        2, names=bill.columns, center=(FRAME.bill_long.mean(), 1.5), scale=(FRAME.bill_long.std(ddof=0), 0.5)
    )
    assert [kind.name, year.name, side.columns] == ["kind", "year", ("bill_side",)]
    with pytest.raises(ValueError, match="at least 2 columns of numbers; 'bill_l' begins bill_long of"):
        propose(FRAME, groups=["bill_l"])
    with pytest.raises(ValueError, match="at least 2 columns"):
        propose(FRAME, groups=["bill_"], ignore=["bill_deep"])
    with pytest.raises(ValueError, match="'bill' is a group's and a column's"):
        propose(FRAME.assign(bill=FRAME.kind), groups=["bill_"])


def test_ignored_columns():
    assert [made.name for made in propose(FRAME, ignore=["year"]) if made.modality] == [*FRAME.columns.drop("year")]
    with pytest.raises(ValueError, match="unknown column 'yaer'; known are year, "):
        propose(FRAME, ignore=["yaer"])


@pytest.mark.parametrize(
    ("column", "word", "modality"),
    [
        ("year", "label", Label(4, names=("2007", "2008", "2009", "2010"))),
        ("year", "number", Vector(1, center=(2008.5,), scale=(math.sqrt(1.25),))),
        ("year", "vector", Vector(1, center=(2008.5,), scale=(math.sqrt(1.25),))),
        ("year", "ignore", None),
        ("kind", "image:3x8x9", Image(3, 8, 9)),
        ("kind", "audio", Audio(32, 128)),
        ("kind", "audio:8x9", Audio(8, 9)),
        ("kind", Label(3), Label(3)),
    ],
)
def test_what_people_say_holds(column, word, modality):
    said = {made.name: made.modality for made in propose(FRAME, modalities={column: word})}
    assert said[column] == modality
    assert [*said] == [*FRAME.columns]


def test_what_people_say_of_texts_and_pictures():
    assert made(["a b", "c"], modalities={"x": "text"}).shape == (3,)
    assert made(["a b", "c"], modalities={"x": "text:24"}).shape == (24,)
    assert made([1, 2], modalities={"x": "text"}).levels == 5
    assert made([png(), png()], modalities={"x": "image"}) == Image(3, 8, 8)
    assert made([png(), png()], modalities={"x": "image:16"}) == Image(3, 16, 16)


def test_logarithms():
    vector = made([0.0, math.e - 1, 0.0, math.e - 1], modalities={"x": "log"})
    assert isinstance(vector, Vector)
    assert vector.log
    torch.testing.assert_close(torch.tensor([vector.center, vector.scale]), torch.full((2, 1), 0.5))
    with pytest.raises(ValueError, match="x, row 1: numbers with log must be above -1; got -1;"):
        one([None, -1.0, 2.5], modalities={"x": "log"})


def test_a_vector_of_several_columns_stands_where_its_first_one_does():
    bill = Vector(2, names=("bill_long", "bill_deep"))
    assert [made[:3] for made in propose(FRAME, modalities={"bill": bill})][1] == ("bill", bill.names, bill)
    with pytest.raises(ValueError, match="unknown column 'bill_deap'"):
        propose(FRAME, modalities={"bill": Vector(2, names=("bill_long", "bill_deap"))})


@pytest.mark.parametrize("word", ["lable", "label:3", "text:", "text:a", "text:0", "image:3x8", "audio:8", ""])
def test_words_that_name_no_modality(word):
    with pytest.raises(ValueError, match="modality of 'kind' must be one of label, number"):
        propose(FRAME, modalities={"kind": word})


@pytest.mark.parametrize(
    ("cells", "word", "why"),
    [
        ([None, None], "label", "must have a value"),
        ([[1], [2]], "label", "to be a label; got list"),
        ([[1], [2]], "text", "to be a text; got list"),
        (["a", "b"], "vector", "the value must be a number"),
        ([{}, {"a": 1}], "vector", "to be a vector; got dict"),
        (["a", "b"], "image", "none of the images"),
    ],
)
def test_what_a_column_cannot_be(cells, word, why):
    with pytest.raises(ValueError, match=why):
        one(cells, modalities={"x": word})


def test_names_are_quoted_where_a_shell_needs_it():
    (proposal,) = propose(pd.DataFrame({"Body Mass (g)": [1, 5, 9] * 5}))
    assert proposal.doubt == "for a number write --modality 'Body Mass (g)=number'"


def test_what_is_told_fits_a_hundred_columns_and_cuts_no_command():
    long = [
        Proposal("a name of many words " * 2, ("a",), Label(2), "why " * 40, "say " * 17 + "--modality 'a b c=text'")
    ]
    lines = format_proposals([*long, Proposal("b", ("b",), Vector(1, log=True), "numbers")]).splitlines()
    assert max(map(len, lines)) <= 100
    assert any("--modality 'a b c=text'" in line for line in lines)
    assert lines[-1].split() == ["b", "number,", "logarithm", "numbers"]
    assert format_proposals([]) == ""


def read(shared_data: Path, name: str, **options) -> dict[str, Proposal]:
    if not (path := shared_data / "tabular" / name).is_file():
        pytest.skip(f"needs {path}")
    frame = pd.read_csv(path, skipinitialspace=True, **options)
    proposals = propose(frame)
    assert max(map(len, format_proposals(proposals).splitlines())) <= 100
    for proposal in proposals:
        if proposal.modality is not None:
            column = proposal.modality.read_cells(frame[proposal.name], root=path.parent)
            assert column.observed.tolist() == frame[proposal.name].notna().tolist()
    return {proposal.name: proposal for proposal in proposals}


def test_penguins(shared_data):
    found = read(shared_data, "penguins.csv")
    labels = {"species": 3, "island": 3, "sex": 2, "year": 3}
    assert {name: p.modality.classes for name, p in found.items() if isinstance(p.modality, Label)} == labels
    assert all(isinstance(found[name].modality, Vector) for name in found.keys() - labels.keys())
    assert [name for name, proposal in found.items() if proposal.doubt] == ["year"]


def test_raw_penguins(shared_data):
    found = read(shared_data, "penguins_raw.csv")
    assert [name for name, proposal in found.items() if proposal.modality is None] == ["Region", "Stage"]
    assert "dates are used as classes" in found["Date Egg"].doubt
    assert isinstance(found["Individual ID"].modality, Text)


def test_adult(shared_data):
    found = read(shared_data, "adult_train.csv", header=None, names=ADULT, na_values="?")
    doubted = [name for name, proposal in found.items() if proposal.doubt]
    assert doubted == ["education-num", "capital-gain", "capital-loss"]
    numbers = [name for name, proposal in found.items() if isinstance(proposal.modality, Vector)]
    assert numbers == ["age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"]


def test_imported_cars(shared_data):
    plain = {"header": None, "names": [f"column {i}" for i in range(26)]}
    found = read(shared_data, "auto_imports.csv", na_values="?", **plain)
    assert sum(isinstance(proposal.modality, Label) for proposal in found.values()) == 11
    assert (
        sum("if '?' is for an empty cell" in p.doubt for p in read(shared_data, "auto_imports.csv", **plain).values())
        == 6
    )


@pytest.mark.parametrize("gap", [None, math.nan])
def test_lists_with_missing_numbers_are_partly_observed_vectors(gap):
    """Units come from the numbers that are there; a list without any number is missing."""
    found = one([[1.0, gap], None, [3.0, 5.0], [gap, gap], [2.0, 9.0]])
    assert found.modality == Vector(2, center=(2.0, 7.0), scale=((2 / 3) ** 0.5, 2.0), partial=True)
    assert "1 of 5 rows has only some of them" in found.why
    assert made([[1.0, 5.0], [gap, gap], [3.0, 6.0]]).partial is False


def test_a_group_with_missing_numbers_is_a_partly_observed_vector():
    frame = pd.DataFrame({"a_1": [1.5, None, 3.25, None], "a_2": [2.5, 4.25, None, None], "b": list("xyxy")})
    group = propose(frame, groups=["a_"])[0]
    assert isinstance(group.modality, Vector)
    assert group.modality.partial
    assert "2 of 4 rows have only some of them" in group.why
    whole = propose(frame.dropna(how="any", subset=["a_1", "a_2"]).assign(a_1=1.5), groups=["a_"])[0]
    assert isinstance(whole.modality, Vector)
    assert not whole.modality.partial
    assert whole.why == "2 columns of numbers begin with 'a_'"


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_a_list_with_an_infinite_number_says_what_helps(number):
    frame = pd.DataFrame({"v": [[1.0, 2.0], [1.0, number], [0.5, 1.5]] * 10, "k": list("abc") * 10})
    with pytest.raises(ValueError, match=r"v, row 1: .*must be finite.*leave the whole cell empty.*v=ignore"):
        propose(frame)
    propose(frame, modalities={"v": "ignore"})
