"""Imputed cells are written as the column writes its cells: numbers, codes, classes, dates and texts."""

import datetime
import random
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import polymodal as pm
from polymodal import imputation
from polymodal.inference.imputer import Imputer
from polymodal.modalities import Label, Text, Vector
from polymodal.modalities.cell_texts import keep_texts
from polymodal.modalities.dates import learn_date_format, read_date, write_date
from polymodal.modalities.formats import NumberFormat
from polymodal.modalities.spelling import Spelling
from polymodal.modalities.text import UNKNOWN
from polymodal.table import frames

pytestmark = pytest.mark.slow

ROWS = 30


def scientific(digits, letter="e", width=2, plus=True):
    """What writes a number with so many decimals, the letter, and digits of the exponent."""

    def write(x):
        mantissa, power = f"{x:.{digits}e}".split("e")
        sign = "-" if int(power) < 0 else "+" * plus
        return f"{mantissa}{letter}{sign}{abs(int(power)):0{width}}"

    return write


def tiny(x):
    return np.format_float_positional(float(f"{x:.2e}"), trim="-")


MODEST, SMALL, COUNTS = (-300.0, 300.0), (4e-8, 9e-7), (0.0, 950.0)
NUMBERS = {
    "two decimals": (lambda x: f"{x:.2f}", MODEST, r"-?\d+\.\d\d"),
    "ten decimals": (lambda x: f"{x:.10f}", MODEST, r"-?\d+\.\d{10}"),
    "whole": (lambda x: f"{x:.0f}", MODEST, r"-?\d+"),
    "without zeros at the end": (lambda x: f"{x:.3f}".rstrip("0").rstrip("."), MODEST, r"-?\d+(\.\d{0,2}[1-9])?"),
    "as Python": (lambda x: repr(round(x, 2)), MODEST, r"-?\d+\.(\d|\d[1-9])"),
    "a plus": (lambda x: f"{x:+.1f}", MODEST, r"[+-]\d+\.\d"),
    "a point at the end": (lambda x: f"{x:.0f}.", MODEST, r"-?\d+\."),
    "no zero before the point": (lambda x: f"{x:.2f}".replace("0.", ".", 1), (0.1, 0.9), r"\.\d\d"),
    "a fixed width": (lambda x: f"{x:07.2f}", COUNTS, r"\d{4}\.\d\d"),
    "e-07": (scientific(2), SMALL, r"\d\.\d\de[+-]\d\d"),
    "E-07": (scientific(4, "E"), SMALL, r"\d\.\d{4}E[+-]\d\d"),
    "e-7": (scientific(1, width=1), SMALL, r"\d\.\de[+-]\d"),
    "e-007": (scientific(1, width=3), SMALL, r"\d\.\de[+-]\d{3}"),
    "e12 without a plus": (scientific(3, plus=False), (2e12, 8e14), r"\d\.\d{3}e\d\d"),
    "e+12": (scientific(0), (2e12, 8e14), r"\de\+\d\d"),
    "small numbers written out": (tiny, SMALL, r"0\.0*[1-9]\d{0,2}"),
    "as pandas writes small ones": (lambda x: repr(float(f"{x:.2e}")), SMALL, r"\d(\.\d{1,2})?e-0\d"),
}


def rounded(text, number):
    """Whether a text is a number as exactly as its last digit says."""
    mantissa, _, power = text.lower().partition("e")
    unit = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
    return abs(float(text) - number) <= 0.501 * unit + 1e-12 * abs(number)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_written_as_the_column_writes_them(name):
    write, span, pattern = NUMBERS[name]
    draw = random.Random(0)
    column = [write(draw.uniform(*span)) for _ in range(2000)]
    assert all(re.fullmatch(pattern, text) for text in column)
    learned = NumberFormat.parse(str(NumberFormat.learn(column)))
    assert learned == NumberFormat.learn(column)
    for number in (draw.uniform(*span) for _ in range(200)):
        text = learned.write(number)
        assert re.fullmatch(pattern, text), (text, number)
        assert rounded(text, number)
        assert float(text) != 0 or abs(number) < 0.5 * 10**-learned.fixed.most


def test_no_more_digits_than_a_float_has():
    learned = NumberFormat.learn([repr(number / 7) for number in range(60)])
    for text in map(learned.write, (4.31658192543258856, 0.1428571428571428, 23.0)):
        assert float(repr(float(text))) == float(text)
        assert len(text.replace(".", "").lstrip("0")) <= 17
    assert NumberFormat.learn(["12345678901234567.25", "1.50"]).write(12345678901234568) == "12345678901234568.00"


@pytest.mark.parametrize("text", ["owl", "0.0e", "%d", "0" * 1000, "0.0|0.0", "0.0e-00<x", "@3x", "0.0=x", "0@1@2"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(ValueError, match="number's format must be a pattern"):
        NumberFormat.parse(text)
    with pytest.raises(ValueError, match="number's format must be a pattern"):
        Vector(1, formats=(text,))


def write_csv(path, texts, name="p"):
    """A file with a column of these texts beside a class and a number."""
    rows = (f"{'oak' if row % 2 else 'elm'},{row / 4:.2f},{text}" for row, text in enumerate(texts))
    path.write_text("\n".join([f"kind,height,{name}", *rows]) + "\n", encoding="utf-8")
    return path


def model_of(table, tmp_path):
    """A model that was saved and loaded."""
    model = pm.build("mac-wae", table.schema.replace(hidden=(8,)), latent_dim=4, hidden=(8,), seed=0)
    return pm.load(model.save(tmp_path / "model"))


def imputed_texts(model, path, column="p"):
    """What is written into the holes of a file's column, and what the model predicted."""
    imputer = Imputer(model)
    cells = imputer.impute_chunk(frames.read_csv(path))[column].cells
    return imputer.format_cells(column, cells), cells


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_a_file_are_imputed_as_it_writes_them(name, tmp_path):
    write, span, pattern = NUMBERS[name]
    draw = random.Random(0)
    texts = [write(draw.uniform(*span)) for _ in range(ROWS)] + ["", "NA"]
    table = pm.Table.from_csv(write_csv(tmp_path / "a.csv", texts), say=None)
    assert isinstance(table.schema["p"], Vector)
    model = model_of(table, tmp_path)
    new = write_csv(tmp_path / "new.csv", ["", "", ""])  # nothing in the file says how it writes
    for path, holes in ((tmp_path / "a.csv", 2), (new, 3)):
        made, cells = imputed_texts(model, path)
        assert len(made) == holes
        for text, cell in zip(made, cells, strict=True):
            assert re.fullmatch(pattern, text), text
            assert rounded(text, cell)


@pytest.mark.parametrize(("here", "written"), [("120", "00[17]|010|120"), ("7", "7|10|120"), ("", "00[17]|010|120")])
def test_codes_keep_their_zeros_in_a_file_that_has_only_codes_without(here, written, tmp_path):
    table = pm.Table.from_csv(write_csv(tmp_path / "a.csv", ["007", "010", "120"] * 10), say=None)
    made, _ = imputed_texts(model_of(table, tmp_path), write_csv(tmp_path / "new.csv", ["", here, ""]))
    assert all(re.fullmatch(written, text) for text in made), made


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *zip(NUMBERS, [object, "str", "string", "string[pyarrow]"] * 5, strict=False),
        ("e-07", "str"),
        ("e-07", "string"),
    ],
)
def test_numbers_in_frames_of_texts_are_written_as_the_texts_are(name, kind, tmp_path):
    write, span, pattern = NUMBERS[name]
    draw = random.Random(0)
    texts = [*(write(draw.uniform(*span)) for _ in range(ROWS)), None]
    frame = pd.DataFrame({"height": np.arange(ROWS + 1) / 4, "p": pd.Series(texts, dtype=kind)})
    schema = pm.Schema.infer(frame, modalities={"p": "number"}, say=None)
    model = model_of(pm.Table.from_frame(frame, schema, say=None), tmp_path)
    for one in (frame, frame.assign(p=pd.Series([None] * len(frame), dtype=kind))):
        made = pm.impute(model, one)
        assert made["p"].dtype == one["p"].dtype
        assert all(re.fullmatch(pattern, text) for text in made["p"])
        assert made["p"][one["p"].notna()].equals(one["p"].dropna())
    batches = pa.Table.from_pandas(frame).to_batches(7)
    imputer = Imputer(model)
    arrow = pa.Table.from_batches(
        imputation.impute_batches(imputer, batches, imputation.extend_arrow_schema(imputer, batches[0].schema))
    )
    assert all(re.fullmatch(pattern, text) for text in arrow["p"].to_pylist())


def test_numbers_of_frames_stay_numbers(tmp_path):
    table = pm.Table.from_csv(write_csv(tmp_path / "a.csv", [f"{row}.5e-08" for row in range(1, ROWS)]), say=None)
    model = model_of(table, tmp_path)
    for kind in (object, "float64", "Float64"):
        frame = pd.DataFrame({"height": [1.0, 2.0], "p": pd.Series([None, None], dtype=kind)})
        assert all(isinstance(cell, float) for cell in pm.impute(model, frame)["p"])


@pytest.mark.parametrize(
    ("known", "own", "expected"),
    [
        (["5.25", "8.10"], ["7.1", "8.2"], r"\d+\.\d"),  # the file's own cells say how it writes
        (["5.25", "8.1", "20"], ["7.1"], r"\d+(\.\d{1,2})?"),  # few cells say less than those of training
        (["4.5e-08", "3.1e-07"], ["0.000002"], r"0\.\d{6}"),
    ],
)
def test_the_cells_of_the_file_say_more_than_those_of_training(known, own, expected, tmp_path):
    model = model_of(pm.Table.from_csv(write_csv(tmp_path / "a.csv", known * 10), say=None), tmp_path)
    made, _ = imputed_texts(model, write_csv(tmp_path / "b.csv", [*own, ""]))
    assert re.fullmatch(expected, made[0]), made


CODES = {
    "three digits": [f"{row * 7 % 500:03}" for row in range(ROWS)],
    "zip codes": [f"{row * 331:05}" for row in range(1, ROWS + 1)],
    "a zero alone": ["01", *map(str, range(10, 10 + ROWS))],
    "signs": [f"{'-' if row % 2 else '+'}0{row % 9}00" for row in range(ROWS)],
    "telephones": [f"+4930{row:06}" for row in range(ROWS)],
    "cards": [str(4_000_123_412_341_231 + 12 * row) for row in range(ROWS)],
    "beyond 64 bits": [str(10**20 + 1 + row) for row in range(ROWS)],
    "spaces around": [f" {row:03} " for row in range(ROWS)],
}


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("each", [1, 3])
def test_codes_are_no_numbers_without_a_word(name, each, tmp_path):
    texts = CODES[name] * each + [""] * each
    path = write_csv(tmp_path / "a.csv", texts, "code")
    frame = frames.read_csv(path)
    assert frame["code"].dropna().tolist() == [text.strip() for text in texts if text]
    told = []
    schema = pm.Schema.infer(frame, say=told.append)
    assert "--modality code=number" in told[0]
    assert "these look like codes, not numbers" in " ".join(told[0].split())
    assert not isinstance(schema.get("code"), Vector)
    if "code" not in schema:
        return
    model = model_of(pm.Table.from_frame(frame, schema, say=None), tmp_path)
    for new in (path, write_csv(tmp_path / "b.csv", ["", ""], "code")):
        made, _ = imputed_texts(model, new, "code")
        assert {*made} <= {text.strip() for text in texts}


@pytest.mark.parametrize("name", ["three digits", "zip codes"])
def test_codes_as_numbers_keep_their_width(name, tmp_path):
    path = write_csv(tmp_path / "a.csv", [*CODES[name], ""], "code")
    schema = pm.Schema.infer(frames.read_csv(path), modalities={"code": "number"}, say=None)
    model = model_of(pm.Table.from_csv(path, schema, say=None), tmp_path)
    made, cells = imputed_texts(model, path, "code")
    assert len(made[0]) == len(CODES[name][0])
    assert int(made[0]) == round(float(cells[0]))


@pytest.mark.parametrize(
    "texts",
    [
        ["1.5", "007.5"],
        ["0.5", "0.25"],
        ["0", "10", "200"],
        ["1e3", "0.5"],
        ["123456789012345"],
        ["0.30000000000000004"],
    ],
)
def test_other_numbers_are_no_codes(texts):
    frame = pd.DataFrame({"x": [float(text) for text in texts]})
    assert keep_texts(frame, pd.DataFrame({"x": texts}))["x"].dtype == float


def test_a_model_of_whole_numbers_reads_codes_as_before():
    label = Label(3, names=("7", "10", "120"))
    read = label.read_cells(pd.Series(["007", "010", "120", "7", "8", None]), root=None)
    assert read.values.tolist() == [0, 1, 2, 0, -1, -1]
    assert read.odd == (("8", 1),)
    again = Label(3, names=("007", "010", "10")).read_cells(pd.Series([7, 10]), root=None)
    assert again.values.tolist() == [0, 2]


SPELLINGS = {
    "TRUE": (["TRUE", "FALSE"], {"TRUE", "FALSE"}),
    "true": (["true", "false"], {"true", "false"}),
    "1.0": (["1.0", "2.0", "3.0"], {"1.0", "2.0", "3.0"}),
    "1": (["1", "2", "3"], {"1", "2", "3"}),
    "+1": (["+1", "-1"], {"+1", "-1"}),
    "1e3": (["1e3", "2e3"], {"1e3", "2e3"}),
    "007": (["007", "010", "120"], {"007", "010", "120"}),
    "words": (["Oak", "Elm"], {"Oak", "Elm"}),
    "dates": (["01.03.2021", "24.12.2021"], {"01.03.2021", "24.12.2021"}),
}


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("holes", ["with holes", "whole"])
def test_classes_keep_their_spelling(name, holes, tmp_path):
    texts, expected = SPELLINGS[name]
    path = write_csv(tmp_path / "a.csv", texts * 12 + ([""] * 3 if holes == "with holes" else []), "code")
    schema = pm.Schema.infer(frames.read_csv(path), modalities={"code": "label"}, say=None)
    model = model_of(pm.Table.from_csv(path, schema, say=None), tmp_path)
    for new in (
        path,
        write_csv(tmp_path / "b.csv", ["", texts[0]], "code"),
        write_csv(tmp_path / "c.csv", [""], "code"),
    ):
        if new == path and holes == "whole":
            continue
        assert {*imputed_texts(model, new, "code")[0]} <= expected


DATES = [
    "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%m/%d/%Y %H:%M", "%-d/%-m/%Y", "%-m/%-d/%y", "%d %b %Y",
    "%d-%^b-%Y", "%B %-d, %Y",
    "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S.%3f", "%H:%M", "%-I:%M %p", "%-m/%-d/%Y %-I:%M:%S %p", "%b %Y", "%Y/%m",
    "%d.%m.%y", "%a %d %b %Y", "%Y/%m/%d %H:%M:%S", "%d. %B %Y",
]  # fmt: skip


def days(form, rows=60):
    start = datetime.datetime(2021, 1, 2, 3, 4, 5, 250_000)
    step = datetime.timedelta(days=37, hours=5, minutes=7)
    return [write_date(form, start + row * step) for row in range(rows)]


@pytest.mark.parametrize("form", DATES)
def test_dates_are_imputed_as_dates_or_not_at_all(form, tmp_path):
    texts = days(form)
    assert learn_date_format(texts) == form
    frame = pd.DataFrame({"when": [*texts, None]})
    text = Text.learn(texts, width=8, layers=1, hidden=(8,)).learn_cells(frame["when"])
    text = pm.Schema.from_json(pm.Schema({"when": text}).to_json())["when"]
    tokens = torch.stack([text.read(one) for one in texts])
    assert text.write_cells(tokens)[0] == texts
    mixed = tokens[torch.randint(len(tokens), (100, text.length), generator=torch.Generator().manual_seed(0)),
                   torch.arange(text.length)]  # fmt: skip
    made = text.write_cells(mixed)[0]
    assert any(made)
    for one in {*made} - {""}:  # each is a date of this form, or the hole stays
        assert write_date(form, read_date(form, one)) == one
    odd = tokens[0].clone()
    odd[0] = UNKNOWN
    assert text.write_cells(torch.stack([odd, text.blank]))[0] == ["", ""]


def test_dates_of_times_in_frames_are_filled_as_times(tmp_path):
    frame = pd.DataFrame({"day": pd.date_range("2021-03-01", periods=ROWS), "height": np.arange(ROWS) / 4})
    frame.loc[::7, "day"] = pd.NaT
    made = pm.impute(model_of(pm.Table.from_frame(frame, say=None), tmp_path), frame)
    assert made["day"].dtype == frame["day"].dtype


TEXTS = {
    "punctuation": ["The 3.5L V-8 (NEW)", "A red bird, sings. It flies!", "The V-6 (USED), red"],
    "lower case": ["a bird", "the owl", "a red owl"],
    "names": ["New York, USA", "Paris, France", "Bern, Switzerland"],
    "lists": ["owl/emu; hen", "hen; owl/emu"],
    "amounts": ["$3.50 each", "$12.00 or so"],
    "shares": ["50 % of it", "12 % there"],
    "capitals": ["RED BIRD", "BLUE BOAT"],
    "mail": ["jo@home.org", "al@work.org"],
    "apostrophes": ["Don't sing", "Isn't it"],
    "times": ["at 08:30-09:15", "at 10:00-11:45"],
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_put_together_as_they_were(name):
    texts = TEXTS[name]
    cells = pd.Series(texts * 5)
    text = Text.learn(texts, width=8, layers=1).learn_cells(cells)
    text = pm.Schema.from_json(pm.Schema({"it": text}).to_json())["it"]
    assert [text.write(text.read(one)) for one in texts] == texts


def test_a_text_that_was_not_learned_has_spaces_between_words_as_before():
    text = Text.learn(["The 3.5L V-8"])
    assert text.write(text.read("The 3.5L V-8")) == "the 3 . 5l v - 8"
    assert (text.spellings, text.dates) == (None, None)
    with pytest.raises(ValueError, match="spellings must be of all"):
        Text(3, ("a", "b"), spellings=("a",))


def test_spelling_of_what_was_never_seen():
    assert Spelling.learn([], ("a",)) == (("a",), (), False)


COUNTS_OF = pd.DataFrame(
    {
        "visits": [0, 0, 3, 0, 9, 0] * 5,
        "income": np.exp(np.arange(ROWS) / 6),
        "change": np.linspace(-2, 2, ROWS),
        "kind": ["oak", "elm"] * 15,
    }
)


@pytest.mark.parametrize("bounds", ["observed", "non-negative", "none"])
@pytest.mark.parametrize("log", [False, True])
def test_numbers_stay_within_bounds(bounds, log, tmp_path):
    said = {"visits": "number", "income": "log" if log else "number"}
    schema = pm.Schema.infer(COUNTS_OF, modalities=said, say=None)
    model = model_of(pm.Table.from_frame(COUNTS_OF, schema, say=None), tmp_path)
    for name, low, high in (("visits", 0, 9), ("income", COUNTS_OF["income"].min(), COUNTS_OF["income"].max())):
        modality = model.schema[name]
        values = torch.tensor([[-9.0], [0.3], [9.0]])
        raw = modality.write(modality.bound(values, bounds)).flatten().tolist()
        free = modality.write(values).flatten().tolist()
        if bounds == "observed":
            assert (raw[0], raw[2]) == (low, high)  # to the bit
        elif bounds == "non-negative":
            assert (raw[0], raw[2]) == (max(0.0, free[0]), free[2])
        else:
            assert raw == free
        assert raw[1] == free[1]
    change = model.schema["change"]
    assert torch.equal(change.bound(values, bounds), values)  # it has negative ones


@pytest.mark.parametrize("bounds", ["observed", "non-negative", "none"])
def test_imputed_numbers_stay_within_bounds(bounds, tmp_path, monkeypatch):
    schema = pm.Schema.infer(COUNTS_OF, modalities={"visits": "number"}, say=None)
    model = model_of(pm.Table.from_frame(COUNTS_OF, schema, say=None), tmp_path)
    monkeypatch.setattr(Vector, "value", lambda self, distribution: distribution.mean - 5)
    made = pm.impute(model, COUNTS_OF.astype({"visits": float}).assign(visits=np.nan, income=np.nan), bounds=bounds)
    assert (made["visits"].min() >= 0) == (bounds != "none")
    assert (made["income"].min() >= COUNTS_OF["income"].min()) == (bounds == "observed")
    with pytest.raises(ValueError, match="bounds must be one of observed, non-negative, none; got 'all'"):
        pm.impute(model, COUNTS_OF, bounds="all")


def test_what_is_known_of_cells_changes_no_training(tmp_path):
    """Neither equality, fingerprint and repr of a schema, nor its file where nothing is known."""
    plain = pm.Schema({"x": Vector(1, center=(1.0,), scale=(2.0,)), "y": Label(2), "z": Text(3, ("a",))})
    frame = pd.DataFrame({"x": [1.5, 2.0], "y": [0, 1], "z": ["A", "a"]})
    table = pm.Table.from_frame(frame, plain, say=None)
    assert table.schema["x"].limits == ((1.5, 2.0),)
    assert table.schema == plain
    assert repr(table.schema) == repr(plain)
    assert pm.Table(table.values, table.observed, plain).fingerprint() == table.fingerprint()
    assert not {"formats", "limits", "spellings", "dates", "glued"} & {
        key for modality in plain.to_json()["modalities"] for key in modality
    }
    with pytest.raises(ValueError, match="limits must have 2 pairs"):
        Vector(2, limits=((0.0, 1.0),))


def test_a_run_of_an_earlier_version_goes_on(tmp_path):
    """Its state says nothing of formats and bounds."""
    frame = pd.DataFrame({"x": np.arange(20.0), "kind": ["owl", "emu"] * 10})
    table = pm.Table.from_frame(frame, say=None)
    bare = {name: type(m)(**{k: v for k, v in vars(m).items() if k in m.__dataclass_fields__ and k not in
            ("limits", "formats")}) for name, m in table.schema.items()}  # fmt: skip
    earlier = pm.Table(table.values, table.observed, pm.Schema(bare))
    options = {"epochs": 2, "batch_size": 8, "progress": False, "folder": tmp_path / "run"}
    build = {"latent_dim": 4, "hidden": (8,)}
    pm.fit(pm.build("mac-wae", earlier.schema, **build), earlier, earlier, **options)
    again = {**options, "epochs": 3, "resume": True}
    assert len(pm.fit(pm.build("mac-wae", table.schema, **build), table, table, **again).history) == 3
