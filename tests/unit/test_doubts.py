"""What is ambiguous about a column is said, with what to do; of plain tables nothing is."""

import shlex
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from polymodal import Schema, Table
from polymodal.modalities import Label, Text, Vector
from polymodal.modalities.text import UNKNOWN
from polymodal.tabular import Proposal, format_proposals, propose

ROWS = 200
RANDOM = np.random.default_rng(0)


def one(cells, name="x", **options) -> Proposal:
    """What a column of these cells is taken for."""
    (proposal,) = propose(pd.DataFrame({name: cells}), **options)
    return proposal


def mixed(often, rarely, share=0.05):
    """Cells of which some are others."""
    return [rarely if place < share * len(often) else cell for place, cell in enumerate(often)]


NORMAL = RANDOM.normal(20, 5, ROWS).round(1)
COUNTS = RANDOM.integers(0, 30, ROWS)

CLEAN = {
    "normal": RANDOM.normal(0, 1, ROWS),
    "exponential": RANDOM.exponential(3, ROWS),
    "uniform": RANDOM.uniform(0, 1, ROWS),
    "lognormal": np.exp(RANDOM.normal(0, 0.5, ROWS)),
    "celsius": RANDOM.normal(5, 8, ROWS).round(),
    "age": RANDOM.integers(0, 95, ROWS),
    "hours": np.clip(RANDOM.normal(40, 12, ROWS).round(), 1, 99),
    "year": RANDOM.integers(1990, 2020, ROWS),
    "percent": RANDOM.uniform(0, 100, ROWS).round(1),
    "money": [Decimal(f"{cents / 100:.2f}") for cents in RANDOM.integers(100, 9999, ROWS)],
    "colour": RANDOM.choice(["red", "green", "blue"], ROWS),
    "flag": RANDOM.random(ROWS) < 0.3,
    "rare": RANDOM.random(ROWS) < 0.05,
    "grade": pd.Categorical(RANDOM.choice(["low", "mid", "high"], ROWS), ["low", "mid", "high"], ordered=True),
    "caption": [f"a {kind} bird, number {row}" for row, kind in enumerate(RANDOM.choice(["red", "blue"], ROWS))],
    "city": RANDOM.choice(["北京", "上海", "กรุงเทพ"], ROWS),
    "city_with_gaps": mixed(RANDOM.choice(["Wien", "Graz"], ROWS), None),
    "number_with_gaps": mixed(list(NORMAL), None),
}


@pytest.mark.parametrize("name", CLEAN)
def test_plain_columns_leave_no_doubt(name):
    assert one(CLEAN[name], name).doubt == ""
    assert one(CLEAN[name], name).modality is not None


@pytest.mark.parametrize("seed", range(20))
def test_plain_random_columns_leave_no_doubt(seed):
    generator = np.random.default_rng(seed)
    rows = int(generator.integers(30, 1000))
    frame = pd.DataFrame(
        {
            "normal": generator.normal(generator.normal(0, 30), 7, rows).round(2),
            "uniform": generator.uniform(-5, 5, rows),
            "exponential": generator.exponential(10, rows).round(3),
            "age": generator.integers(18, 80, rows),
            "kind": generator.choice(["a", "b", "c", "d"], rows),
            "flag": generator.random(rows) < 0.4,
        }
    )
    assert [made.doubt for made in propose(frame)] == [""] * 6


@pytest.mark.parametrize(
    "cells",
    [
        np.arange(1, 61),
        np.arange(60)[RANDOM.permutation(60) < 48],  # the training rows of a split
        np.sort(RANDOM.permutation(250)[:200]) + 1000,
        RANDOM.permutation(250)[:200],
        np.arange(ROWS) * 1.0,
        [*range(30), None, *range(31, 60)],
    ],
)
def test_row_numbers_are_left_out(cells):
    proposal = one(cells)
    assert proposal.modality is None
    assert proposal.why.startswith("an identifier: ")
    assert proposal.doubt == "to use it anyway write --modality x=number"


@pytest.mark.parametrize("rows", [10, 12, 30, 300])
def test_row_numbers_of_some_of_the_rows_are_left_out(rows):
    frame = pd.DataFrame({"id": np.arange(1, rows + 1), "x": np.arange(rows) / 7})
    chosen = frame.sample(frac=0.8, random_state=1)
    assert propose(chosen)[0].modality is None
    assert propose(chosen.sort_index())[0].modality is None


@pytest.mark.parametrize("cells", [[5, 1, 9], RANDOM.integers(0, 60, 40), [1990, 1995, 2003, 2004] * 9, [3, 1, 2, 2]])
def test_whole_numbers_that_count_no_rows_are_kept(cells):
    assert one(cells).modality is not None


@pytest.mark.parametrize(
    ("often", "code", "shown"),
    [
        (NORMAL, -999, "-999"),
        (NORMAL, -999.0, "-999"),
        (NORMAL, -9999, "-9999"),
        (NORMAL, 9999, "9999"),
        (NORMAL, 1e20, "1e+20"),
        (NORMAL, 9.96921e36, "9.96921e+36"),
        (COUNTS, -1, "-1"),
        (COUNTS, -9, "-9"),
        (COUNTS, 99, "99"),
        (COUNTS, 999, "999"),
        (COUNTS, -2147483648, "-2147483648"),
        (RANDOM.integers(1, 6, ROWS), -999, "-999"),
    ],
)
def test_numbers_that_stand_for_a_missing_value(often, code, shown):
    doubt = one(mixed(list(often), code)).doubt
    assert doubt.startswith(f"if {shown} stands for a missing value, ")
    assert f"--missing={shown}" in doubt


@pytest.mark.parametrize("mark", ["?", "-", "n.a.", "Missing"])
def test_texts_that_stand_for_a_missing_value(mark):
    for often in (CLEAN["colour"], [f"{number:.2f}" for number in NORMAL]):
        doubt = one(mixed(list(often), mark)).doubt
        assert (
            f"if {mark!r} is for an empty cell, say so when the file is read: {shlex.quote(f'--missing={mark}')}"
            in doubt
        )


@pytest.mark.parametrize(
    ("cells", "share", "shown"),
    [
        (mixed(["a"] * ROWS, "b", 0.01), "99", "'a'"),
        (mixed([0] * ROWS, 3, 0.01), "99", "0"),
        (mixed([1.5] * ROWS, 2.5, 0.02), "98", "1.5"),
        (mixed([True] * ROWS, False, 0.01), "99", "True"),
    ],
)
def test_nearly_constant_columns(cells, share, shown):
    assert (
        f"{share} % of the rows have the same value, {shown}: to leave it out write --modality x=ignore"
        in one(cells).doubt
    )


@pytest.mark.parametrize(
    "cells", [[1.5] * 9, np.full(9, 1.5), np.full(9, np.float32(1.5)), pd.Series([1.5] * 9, dtype=object)]
)
def test_no_value_is_shown_as_numpy_writes_it(cells):
    assert one(cells).why == "the same value in every row that has one, 1.5"


@pytest.mark.parametrize("sigma", [1.2, 1.5, 2.0])
def test_skewed_numbers_are_offered_logarithms(sigma):
    income = np.exp(np.random.default_rng(1).normal(8, sigma, 300))
    assert one(income).doubt.endswith("to take logarithms write --modality x=log")
    assert one(income, modalities={"x": "log"}).modality.log


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["f", "f ", "m"], "'f' and 'f '"),
        (["Oak", "oak", "elm"], "'Oak' and 'oak'"),
        (["New York", "New  York", "Rome"], "'New  York' and 'New York'"),
        (pd.Categorical(["f", " f", "m"]), "' f' and 'f'"),
    ],
)
def test_classes_that_differ_by_nothing_that_one_sees(classes, said):
    cells = [*classes] * 20
    doubt = one(pd.Categorical(cells) if isinstance(classes, pd.Categorical) else cells).doubt
    first, second = said.split(" and ")
    assert (
        f"{first} and {second} are different classes" in doubt or f"{second} and {first} are different classes" in doubt
    )


@pytest.mark.parametrize(
    ("form", "what"),
    [
        (lambda x: f"{x:.2f}".replace(".", ","), "with a decimal comma, such as "),
        (lambda x: f"{x:.1f} €".replace(".", ","), "with a decimal comma, such as "),
        (lambda x: f"1.{abs(x) * 10:03.0f},50", "with a decimal comma and a mark between thousands, such as "),
        (lambda x: f"1 {abs(x) * 10:03.0f},50", "with a decimal comma and a mark between thousands, such as "),
        (lambda x: f"1'{abs(x) * 10:03.0f}.50", "with a mark between thousands, such as "),
        (lambda x: f"{abs(x) * 1000 + 1000:,.0f}", "with a mark between thousands, such as "),
        (lambda x: f"{abs(x) * 1000 + 1000:,.2f}", "with a mark between thousands, such as "),
        (lambda x: f"{abs(x) * 1000 + 1000:,.0f}".replace(",", "'"), "with a mark between thousands, such as "),
        (lambda x: f"({x:.2f})", "in brackets, as negative ones are in accounts, such as "),
        (lambda x: f"(${x:.2f})", "in brackets, as negative ones are in accounts, such as "),
        (lambda x: f"${x:.2f}", "with a currency or a unit, such as "),
        (lambda x: f"EUR {x:.2f}", "with a currency or a unit, such as "),
        (lambda x: f"{x:.1f} kg", "with a currency or a unit, such as "),
        (lambda x: f"{x:.2f}%", "in per cent, such as "),
        (lambda x: f"{x:.2f} %", "in per cent, such as "),
    ],
)
def test_numbers_as_people_write_them(form, what):
    texts = [form(number) for number in RANDOM.normal(20, 5, ROWS)]
    proposal = one(texts)
    assert proposal.modality is None
    assert f"look like numbers {what}{texts[0].strip()!r}" in proposal.why
    assert "for numbers " in proposal.doubt
    few = one(texts[:3] * 20)
    assert isinstance(few.modality, Label)
    assert f"look like numbers {what}" in few.doubt


def test_a_few_numbers_with_a_decimal_comma_are_no_empty_cells():
    doubt = one(["5", "6", "7"] * 60 + ["6,5"] * 3).doubt
    assert "some of these numbers are with a decimal comma, such as '6,5'" in doubt
    assert "--missing" not in doubt


def test_a_name_that_reads_as_no_number_is_a_name():
    assert "numbers" not in one(["Nan", "Nan", "Bo"] * 20).doubt


def test_whole_numbers_that_are_dates_are_a_doubt():
    days = [int(day) for day in pd.date_range("2021-03-01", periods=ROWS, freq="31h").strftime("%Y%m%d")]
    doubt = one([*days, None]).doubt
    assert "write dates as 2021-03-01" in doubt
    assert "--modality x=ignore" in doubt
    assert "dates" not in one([*days, 20_219_999, None]).doubt


def test_identifiers_by_name_in_few_rows():
    cells = [row * row * 977 + 1000 for row in range(48)]
    assert "if it is an identifier write --modality customer_id=ignore" in one(cells, "customer_id").doubt
    assert "identifier" not in one(cells, "income").doubt


def test_a_list_whose_first_number_is_missing_is_of_numbers():
    found = one([[None, 1.0]] + [[float(row), 2.0] for row in range(59)])
    assert isinstance(found.modality, Vector)
    assert found.modality.partial


@pytest.mark.parametrize("form", ["192.168.0.{}", "1.{}.3", "R{}", "AB-{}", "{}m5"])
def test_texts_that_are_no_numbers_are_still_identifiers(form):
    assert one([form.format(row) for row in range(ROWS)]).why.startswith("an identifier: short texts")


def test_texts_of_plain_numbers_are_no_identifiers():
    proposal = one([f"{number:.3f}" for number in RANDOM.normal(0, 1, ROWS)])
    assert proposal.why.startswith("texts that are numbers, such as ")
    assert "--modality x=number" in proposal.doubt
    assert one([f"{row:05}" for row in range(ROWS)]).why.startswith("an identifier: ")


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("customer_id", [*range(0, 7 * 195, 7), *range(0, 35, 7)]),
        ("ID", [*range(100_000, 100_000 + 13 * 195, 13), *[100_000] * 5]),
        ("code", [*(f"K{row}" for row in range(195)), *["K1"] * 5]),
    ],
)
def test_nearly_unique_identifiers(name, cells):
    assert f"if it is an identifier write --modality {name}=ignore" in one(cells, name).doubt


TEXTS = {
    "chinese": "一只小鸟在树上{}",
    "japanese": "木の上の小さな鳥{}です",
    "thai": "นกตัวเล็กบนต้นไม้{}",
    "khmer": "បក្សីតូចនៅលើដើមឈើ{}",
    "lao": "ນົກນ້ອຍຢູ່ເທິງຕົ້ນໄມ້{}",
}


@pytest.mark.parametrize("form", TEXTS.values(), ids=TEXTS)
def test_captions_in_scripts_without_blanks(form):
    texts = [form.format(row) for row in range(40)]
    proposal = one(texts)
    assert isinstance(proposal.modality, Text)
    assert proposal.doubt == ""
    assert max(map(len, (word for word in proposal.modality.vocabulary if not word.isdecimal()))) == 1
    tokens = proposal.modality.read(texts[7])
    assert UNKNOWN not in tokens.tolist()
    assert proposal.modality.write(tokens).replace(" ", "") == texts[7]
    assert proposal.modality.write(proposal.modality.read(texts[7].partition("7")[0])) == texts[7].partition("7")[0]


def test_a_few_foreign_letters_change_nothing():
    english = [f"a red bird number {row}" for row in range(40)]
    assert Text.learn([*english, "一只小鸟"]).vocabulary == (*Text.learn(english).vocabulary, "一只小鸟")


def test_words_that_were_learned_as_clauses_stay_so():
    clauses = Text(4, ("一只小鸟", "树"))
    assert clauses.read("一只小鸟 树").tolist() == [3, 4, 1, 0]
    assert Text(4, ("bird",)).read("一只小鸟 bird").tolist() == [UNKNOWN, 3, 1, 0]


def test_no_cell_is_imputed_with_the_unknown_token():
    text = Text(4, ("a", "bird"))
    assert text.write_cells(torch.tensor([[3, UNKNOWN, 4, 1], [UNKNOWN, UNKNOWN, 1, 0]])) == [["a bird", ""]]


@pytest.mark.parametrize("mark", ["[UNK]", "[PAD]", "[END]", "[unk]", "[UNK][PAD]"])
def test_marks_of_tokens_are_words_of_training_rows(mark):
    texts = [f"a {mark} bird number {row}" for row in range(40)]
    said: list[str] = []
    table = Table.from_frame(
        pd.DataFrame({"note": texts}), Schema.infer(pd.DataFrame({"note": texts}), say=None), say=said.append
    )
    assert said == []
    assert UNKNOWN not in table.values["note"].flatten().tolist()


@pytest.mark.parametrize(("words", "enough"), [(100, 128), (200, 256), (2000, 512)])
def test_texts_that_are_cut(words, enough):
    texts = [f"bird number {row}" for row in range(28)] + [f"{row} {'word ' * (words - 1)}" for row in range(12)]
    proposal = one(texts)
    assert proposal.modality.length == 64
    assert proposal.doubt == (
        f"12 of 40 texts are longer than 64 tokens and are cut: for more write --modality x=text:{enough}"
    )
    longer = one(texts, modalities={"x": f"text:{enough}"})
    assert longer.doubt == ("" if words < enough else "12 of 40 texts are longer than 512 tokens and are cut")


def test_lines_that_are_told_keep_within_their_width():
    frame = pd.DataFrame({name: pd.Series(CLEAN[name]) for name in CLEAN}).assign(x=mixed(list(NORMAL), -999))
    assert max(map(len, format_proposals(propose(frame)).splitlines())) <= 100
