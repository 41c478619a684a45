"""CSV files of every dialect: read as they are meant or refused by line, and written with the same characters."""

import csv
import gzip
import io
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES

from benchmarks import csv_files
from polymodal import csvfiles
from polymodal.csvfiles import Added, Options

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def write(tmp_path):
    def file(content, name="trees.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return file


@pytest.fixture
def read(write):
    def document(content, *, name="trees.csv", **options):
        return csvfiles.read(write(content, name), Options(**options))

    return document


def same(frame, **columns):
    expected = pd.DataFrame(columns)
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False)


def test_missing_texts_are_those_of_pandas():
    assert {*csvfiles.NOTHING, ""} == STR_NA_VALUES


# What lines and header must have in common


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_a_separator_behind_every_line_counts_for_nothing(read, mark, end):
    content = "kind,height,rings^oak,5.25,20,^elm,,31,^".replace(",", mark).replace("^", end)
    document = read(content)
    same(document.frame, kind=["oak", "elm"], height=[5.25, None], rings=[20, 31])
    assert any("ends with a separator" in sentence for sentence in document.messages)
    filled = document.fill({"height": ([1], ["8.1"])}, [Added("more", None, ["x", "y"])])
    expected = "kind,height,rings,more^oak,5.25,20,x,^elm,8.1,31,y,^"
    assert filled.decode() == expected.replace(",", mark).replace("^", end)


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        ("kind,height\noak,5.25,\nelm,8.1\n", 2, "must be 2 cells"),
        ("kind,height\noak,5.25\nelm,8.1,\n", 3, "must be 2 cells"),
        ("kind,height\noak,5.25\nelm,8.1,3\n", 3, "got 3: 'elm,8.1,3'"),
        ("kind,height,rings\noak,5.25,3\nelm,8.1\n", 3, "got 2: 'elm,8.1'"),
        ('kind,height\n"oak\noak",5.25\n\nelm\n', 5, "got 1: 'elm'"),
        ("kind,height\r\noak,5.25\r\n\r\nelm,8,1\r\n", 4, "got 3"),
        ("\nkind,height\roak,5.25\relm,8,1", 4, "got 3"),
        ("age,weight,height\nann,30,70,170\nbob,,71,171\n", 2, "that of the row names"),
        ("kind,height\noak,5,25\nelm,8,1\n", 2, "got 3"),
        ('kind,height\noak,"5.25\nelm,8.1\n', 2, "a quote opens and does not close"),
        ('kind,height\noak,5.25\n"elm","8.1""\n', 3, "a quote opens and does not close"),
        ("kind,height\noak,5\0\n", 2, "NUL"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_line(write, content, line, why):
    with pytest.raises(ValueError, match=r"trees.csv.*line " + str(line)) as refused:
        csvfiles.read(write(content))
    assert why in str(refused.value)


@pytest.mark.parametrize("columns", [["a"], ["a", "b", "c"]])
def test_a_name_for_each_column(read, columns):
    with pytest.raises(ValueError, match="a name for each of the 2 columns"):
        read("1,2\n3,4\n", columns=columns)


def test_an_empty_file_and_one_of_names_alone(read):
    with pytest.raises(ValueError, match="empty"):
        read("")
    with pytest.raises(ValueError, match="empty"):
        read("\n \n")
    document = read("kind,height")
    assert document.frame.shape == (0, 2)
    assert document.fill({}, [Added("more", None, [])]) == b"kind,height,more"


def test_names_are_made_different_and_the_header_stays(read):
    content = "a,a,,a.1,\n1,2,3,4,5\n"
    document = read(content)
    assert document.names == ["a", "a.2", "Unnamed: 2", "a.1", "Unnamed: 4"]
    assert any("another column is called 'a'" in sentence for sentence in document.messages)
    assert document.fill({}) == content.encode()


# Separators and decimal marks


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("kind;height\noak;5,25\nelm;8,1\n", "--separator ';' --decimal ,"),
        ("kind;height\noak;5.25\nelm;8.1\n", "--separator ';'"),
        ("kind\theight\noak\t5.25\nelm\t8.1\n", "--separator tab"),
        ("kind|height\noak|5.25\nelm|8.1\n", "--separator '|'"),
        ("sep=;\nkind;height\noak;5,25\nelm;8,1\n", "--separator ';' --decimal ,"),
        ('"kind";"height"\n"oak";"5,25"\n"elm";"8,1"\n', "--separator ';' --decimal ,"),
        ("kind ; height\noak ; 5,25\n elm; 8,1\n", "--separator ';' --decimal ,"),
    ],
)
def test_separator_and_decimal_mark_are_found_and_said(read, content, said):
    document = read(content)
    same(document.frame, kind=["oak", "elm"], height=[5.25, 8.1])
    assert document.messages == [f"trees.csv is read by {said}, as its first lines suggest"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("trees.csv", "kind,height\noak,5.25\nelm,8.1\n"),
        ("trees.tsv", "kind\theight\noak\t5.25\nelm\t8.1\n"),
        ("trees.csv.gz", gzip.compress(b"kind,height\noak,5.25\nelm,8.1\n", mtime=0)),
        ("trees.csv", 'kind,height\n"oak",5.25\nelm,8.1'),
        ("trees.csv", b"\xef\xbb\xbfkind,height\r\noak,5.25\r\nelm,8.1\r\n"),
    ],
)
def test_of_what_is_usual_nothing_is_said(read, name, content):
    document = read(content, name=name)
    same(document.frame, kind=["oak", "elm"], height=[5.25, 8.1])
    assert document.messages == []


@pytest.mark.parametrize(
    "content", ["note\na; b\nc\nd; e; f\n", "note\na, b".replace(",", "|"), "note\n1;2\n3;4;5\n"], ids=repr
)
def test_a_lone_column_of_texts_stays_one(read, content):
    assert read(content).names == ["note"]


@pytest.mark.parametrize("content", ["a;b;c\n1;2\n3;4;5;6\n", "a\tb\n1\t2\t3\n4\n", "a|b\n1|2|3\n4|5\n"], ids=repr)
def test_a_lone_column_with_separators_in_its_name_is_refused(write, read, content):
    with pytest.raises(ValueError, match=r"would be the name of a single column.*write --separator"):
        csvfiles.read(write(content))
    assert len(read(content, separator="comma").names) == 1


@pytest.mark.parametrize(("mark", "word"), [(" ", "space"), (":", ":"), ("^", "^")])
def test_a_lone_column_that_may_be_several_is_a_doubt(read, mark, word):
    content = "kind height\noak 5\nelm 6\n".replace(" ", mark)
    assert any(sentence.endswith(f"write --separator {word}") for sentence in read(content).messages)
    assert read(content, separator=word).frame["height"].tolist() == [5, 6]


def test_a_lone_column_of_aligned_columns_is_a_doubt(read):
    assert any("if blanks separate cells" in one for one in read("kind x\noak   5.25\nelm     6\n").messages)
    assert not read("note\na red bird\nowls  sing\n").messages


def test_a_title_above_the_names_is_a_doubt(read):
    assert any("names 1 of 3 columns (My trees)" in one for one in read("My trees,,\nkind,x,y\noak,5,6\n").messages)
    assert not any("title" in one for one in read(",kind,x\n4,oak,5\n2,elm,6\n").messages)


@pytest.mark.parametrize(
    ("content", "way"),
    [
        ("kind,note\n'oak','a, b'\n'elm','c'\n", """write --quote "'" if cells are in such quotes"""),
        ("# made by me\nkind,note\noak,a\n", "remove lines of comments"),
        ("kind,note\noak,a\n# elm\n", "remove lines of comments"),
    ],
)
def test_a_line_that_does_not_fit_comes_with_a_likely_way(read, content, way):
    with pytest.raises(ValueError, match=re.escape(way)):
        read(content)


def test_numbers_with_marks_of_thousands(read):
    content = "kind;price\noak;1.234,50\nelm;12\nash;1.000.000,0\n"
    document = read(content)
    assert document.frame["price"].tolist() == [1234.5, 12, 1e6]
    assert "--separator ';' --decimal , --thousands ." in document.messages[0]
    document = read('kind,price\noak,"1,234.50"\nelm,12\nash,-3\n', thousands=",")
    assert document.frame["price"].tolist() == [1234.5, 12, -3]
    assert read("a;b\n1.000;5,2\n2.500;8,1\n").frame["a"].tolist() == [1000, 2500]
    assert read("a;b\n0.500;5\n2.500;8,1\n").frame["a"].tolist() == [0.5, 2.5]
    assert read("a;b\n0.500;5\n2.500;8,1\n", thousands=".", decimal=",").frame["a"].tolist() == ["0.500", "2.500"]
    document = read("when;price\n01.02.2020;1.234\n03.04.2021;5.678\n", thousands=".", decimal=",")
    assert document.frame["when"].tolist() == ["01.02.2020", "03.04.2021"]
    assert document.frame["price"].tolist() == [1234, 5678]


@pytest.mark.parametrize("space", [" ", "\u00a0", "\u202f"])
def test_spaces_between_thousands_go_with_a_decimal_comma(read, space):
    document = read(f"kind;price\noak;1{space}234,50\nelm;12,00\nash;1{space}000{space}000,00\n")
    assert document.frame["price"].tolist() == [1234.5, 12, 1e6]
    assert document.localize("price", ["2345678.90", "12.50", "-1234", "oak"]) == [
        f"2{space}345{space}678,90", "12,50", f"-1{space}234", "oak"
    ]  # fmt: skip
    assert read(f"kind;price\n12{space}345;5,2\n").frame["kind"].tolist() == [f"12{space}345"]


def test_a_decimal_comma_behind_the_first_lines_is_seen(read):
    content = "kind;height\n" + "oak;5\nelm;6\n" * 400 + "oak;5,5\nelm;\n"
    assert read(content).frame["height"].max() == 6
    assert read(content).frame["height"].iloc[-2] == 5.5
    assert read(content + "elm;5.25\n").frame["height"].dtype != float  # both marks: nothing is guessed


def test_marks_of_thousands_at_training_hold_where_numbers_have_them(write):
    trained = Options(thousands=",")
    document = csvfiles.read(write('a,b\nx,"1,234"\ny,"12,500"\n'), preferred=trained)
    assert document.frame["b"].tolist() == [1234, 12500]
    assert document.fill({"b": ([0], document.localize("b", ["9876"]))}) == b'a,b\nx,"9,876"\ny,"12,500"\n'
    assert csvfiles.read(write("a,b\nx,1234\ny,12\n"), preferred=trained).options.thousands is None
    assert csvfiles.read(write("a;b\nx;1,25\ny;12,5\n"), preferred=trained).frame["b"].tolist() == [1.25, 12.5]


def test_a_column_without_marks_of_thousands_gets_none(read):
    document = read("kind;price;other\noak;1.234,50;1234\nelm;2.345,25;4567\n")
    assert document.localize("price", ["9876.50"]) == ["9.876,50"]
    assert document.localize("other", ["9876", "1e5"]) == ["9876", "1e5"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"separator": ";;"}, "--separator must be a single character"),
        ({"separator": "a"}, "--separator must be a single character"),
        ({"quote": "''"}, "--quote must be a single character"),
        ({"decimal": ",", "thousands": ","}, "--decimal and --thousands must be different"),
        ({"separator": "'", "quote": "'"}, "--separator and --quote must be different"),
        ({"encoding": "utf-9"}, "--encoding must be the name of a text encoding.*'utf-9'"),
        ({"encoding": "hex"}, "--encoding must be the name of a text encoding"),
        ({"present": ["oak"]}, "--present must be a text that is read as missing.*'oak'"),
        ({"present": ["kin=NA"]}, "there is no column 'kin'"),
        ({"columns": ["a", "b"], "header": True}, "--columns must be left out"),
    ],
)
def test_an_option_that_cannot_be(read, options, why):
    with pytest.raises(ValueError, match=why):
        read("kind,height\noak,5\n", **options)


@pytest.mark.parametrize(
    ("content", "decimal", "separator"),
    [
        ("kind;height\noak;5\nelm;\n", ",", ";"),
        ("kind;height\noak;5.25\nelm;\n", ".", ";"),
        ("kind,height\noak,5\nelm,\n", ".", ","),
        ("kind,height\noak,5.25\nelm,\n", ".", ","),
        ("kind\theight\noak\t5\nelm\t\n", ",", "\t"),
        ("kind\n5\n6\n", ".", ","),
    ],
)
def test_what_a_file_leaves_open_is_as_it_was_before(write, content, decimal, separator):
    document = csvfiles.read(write(content), None, Options(separator=";", decimal=","))
    assert (document.options.decimal, document.options.separator) == (decimal, separator)


def test_other_quotes_and_none(read):
    same(read("kind,height\n'oak,\n''s',5\n", quote="'").frame, kind=["oak,\n's"], height=[5])
    same(read('kind,height\n"oak,5\n6" nail,7\n', quote="none").frame, kind=['"oak', '6" nail'], height=[5, 7])


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "cp1252", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings(read, encoding, end):
    content = f"kind,note{end}chêne,{end}orme,é{end}".encode(encoding)
    document = read(content, encoding=encoding)
    same(document.frame, kind=["chêne", "orme"], note=[None, "é"])
    assert document.fill({"note": ([0], ["ü"])}) == f"kind,note{end}chêne,ü{end}orme,é{end}".encode(encoding)


def test_big_endian_marks_are_seen(read):
    content = b"\xfe\xff" + "kind,note\nchêne,é\n".encode("utf-16-be")
    document = read(content)
    same(document.frame, kind=["chêne"], note=["é"])
    assert document.messages == ["trees.csv is read by --encoding utf-16, as its first lines suggest"]
    assert document.fill({}) == content


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            "kind,height\nelm,2\nchêne,5\n".encode("cp1252"),
            "line 3 is not; write --encoding cp1252 if 'chêne,5'",
        ),
        ("kind,height\nchêne,5\n".encode("utf-16-le"), "line 1; write --encoding utf-16-le"),
        ("kind,height\nchêne,5\n".encode("utf-16-be"), "line 1; write --encoding utf-16-be"),
        (b"kind,height\nch\x81\xeane,5\n", "write --encoding latin-1"),
    ],
)
def test_another_encoding_is_proposed(write, content, why):
    with pytest.raises(ValueError, match=r"trees\.csv must be text") as refused:
        csvfiles.read(write(content))
    assert why in str(refused.value)


def test_a_character_that_the_encoding_lacks(read):
    document = read("kind,height\nchêne,5\n,3\n".encode("cp1252"), encoding="cp1252")
    with pytest.raises(ValueError, match=r"cp1252, must have every character.*'č'"):
        document.fill({"kind": ([1], ["č"])})


def test_a_damaged_compressed_file(write):
    with pytest.raises(ValueError, match="must be a complete compressed file"):
        csvfiles.read(write(gzip.compress(b"kind,height\n" * 99)[:-9], "trees.csv.gz"))


# Missing and present


def test_what_is_read_as_missing_is_said(read):
    content = "kind,country,n\noak,NA,1\nelm,ZA,NA\noak,NA,3\nash,null,4\n"
    document = read(content)
    assert document.frame["country"].isna().tolist() == [True, False, True, True]
    said = "\n".join(document.messages)
    assert "3 cells contain 'NA' and are read as missing (country: 2, n: 1)" in said
    assert "other codes of two letters, and --present country=NA keeps it" in said
    assert "1 cell contains 'null'" in said


@pytest.mark.parametrize(
    ("present", "kept"),
    [(["NA"], [0, 2]), (["country=NA"], [0, 2]), (["n=NA"], []), (["NA", "null"], [0, 2, 3]), (["country=null"], [3])],
)
def test_present_keeps_a_text(read, present, kept):
    document = read("kind,country,n\noak,NA,1\nelm,,NA\noak,NA,3\nash,null,4\n", present=present)
    assert np.flatnonzero(document.frame["country"].notna()).tolist() == kept


def test_what_is_present_is_no_number(read):
    document = read("kind,n\noak,1\nNA,NA\nelm,3\n", present=["NA"])
    assert document.frame["n"].isna().tolist() == [False, True, False]
    assert document.frame["kind"].tolist() == ["oak", "NA", "elm"]
    document = read("kind,n\noak,1\nNA,NA\nelm,3\n", present=["n=NA"])
    assert document.frame["n"].tolist() == ["1", "NA", "3"]
    assert document.frame["kind"].isna().tolist() == [False, True, False]


def test_missing_texts_may_stand_between_blanks(read):
    document = read("kind, height\noak, ?\n -, 5\n", missing=["?", " -"])
    same(document.frame, kind=["oak", None], height=[None, 5])
    assert document.fill({"height": ([0], ["7"]), "kind": ([1], ["ash"])}) == b"kind, height\noak, 7\n ash, 5\n"


# White space, index, header


@pytest.mark.parametrize("blank", [" ", "  ", "\t", "\u00a0"])
def test_blanks_around_classes_make_no_other_class(read, blank):
    content = f'sex,n\nm{blank},1\nf,2\n{blank}m,{blank}3\n"f{blank}",{blank}\n'
    document = read(content)
    assert document.frame["sex"].tolist() == ["m", "f", "m", "f"]
    assert document.frame["n"].tolist()[:3] == [1, 2, 3]
    assert document.fill({}) == content.encode()


@pytest.mark.parametrize("first", [0, 1, 17])
@pytest.mark.parametrize("head", ["", '""', " "])
def test_an_index_is_seen_and_its_empty_name_stays(read, first, head):
    rows = "".join(f"{first + row},oak,{row % 3}\n" for row in range(5))
    document = read(f"{head},kind,height\n{rows}")
    assert document.index == "Unnamed: 0"
    assert document.fill({"kind": ([0], ["elm"])}).decode() == f"{head},kind,height\n{rows}".replace("oak", "elm", 1)


@pytest.mark.parametrize("content", ["n,kind\n0,a\n1,b\n", ",kind\n0,a\n2,b\n", ",kind\na,a\nb,b\n", ",kind\n0,a\n"])
def test_other_first_columns_are_no_index(read, content):
    assert read(content).index is None


@pytest.mark.parametrize(
    "content",
    ["oak,1.5\nelm,2.5\noak,3.5\noak,4\n", "1.5,2\n2.5,4\n3.5,4\n", "m,f\nm,f\nf,m\nm,m\n", "a,5.25\noak,1\nelm,2\n"],
)
def test_a_first_line_like_the_others_is_a_doubt(read, content):
    assert any("looks like data" in sentence and "--no-header" in sentence for sentence in read(content).messages)
    document = read(content, header=False)
    assert document.names == ["column_0", "column_1"]
    assert len(document.frame) == content.count("\n")
    assert not any("looks like data" in sentence for sentence in document.messages)
    assert document.fill({}) == content.encode()


@pytest.mark.parametrize("content", ["kind,2019,2020,2021\noak,1.5,2,3\nelm,2,3.5,4\n", "a,b\noak,1\nelm,2\n"])
def test_names_that_are_no_data(read, content):
    assert read(content).messages == []


# Writing


def apart(text, separator, quote='"'):
    """Cells of lines as they are written, each with what ends it, character by character."""
    cells, cell, within, place = [], "", False, 0
    while place < len(text):
        one = text[place]
        if quote and one == quote and (within or not cell.strip(" \t".replace(separator, ""))):
            if within and text[place + 1 : place + 2] == quote:
                cell, place = cell + one, place + 1
            else:
                within = not within
        if not within and (one == separator or one in "\r\n"):
            cells.append(cell)
            cells.append(one)
            cell = ""
        else:
            cell += one
        place += 1
    return [*cells, cell]


CELL = st.one_of(
    st.sampled_from(
        ["", " ", "NA", "oak", " elm", "ash  ", "5.25", "-1", "1e-7", "007", "é", "x y", "it's", "True", "?"]
    ),
    st.text("abc1,;|\t\"'\n\r .é=", max_size=6),
)


FILLED = ["oak", "5,25", "a;b", "x|y", "é", '6"', "it's"]


@st.composite
def tables(draw):
    """A CSV file of any dialect, as bytes, with the options by which it is read."""
    separator, quote = draw(st.sampled_from(",;\t|")), draw(st.sampled_from("\"'"))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]))
    width = draw(st.integers(1, 4))
    grid = draw(st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=2, max_size=6))
    every, surplus = draw(st.booleans()), draw(st.booleans()) and width > 1
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))

    def cell(text):
        must = (
            every or any(mark in text for mark in (separator, quote, "\n", "\r")) or (width == 1 and not text.strip())
        )
        blank = draw(st.sampled_from(["", "", " "]))
        return blank + (quote + text.replace(quote, quote * 2) + quote if must else text)

    lines = [separator.join(map(cell, row)) for row in grid]
    lines = [lines[0], *(line + separator * surplus for line in lines[1:])]
    text = end.join(lines) + draw(st.sampled_from(["", end, end * 2]))
    return text, encoding, Options(separator=separator, quote=quote, encoding=encoding)


@QUICK
@given(tables(), st.data())
def test_no_character_changes_but_those_of_filled_cells(tmp_path, table, data):
    text, encoding, options = table
    path = tmp_path / "any.csv"
    path.write_bytes(text.encode(encoding))
    try:
        document = csvfiles.read(path, options)
    except ValueError:
        assume(False)
    assert document.fill({}) == path.read_bytes()
    empty = document.frame.isna().to_numpy()
    assume(empty.any())
    holes = [hole for hole in np.argwhere(empty).tolist() if data.draw(st.booleans())]
    made = {name: ([], []) for name in document.names}
    for row, place in holes:
        made[document.names[place]][0].append(row)
        made[document.names[place]][1].append(
            data.draw(st.sampled_from(["oak", "5,25", "a;b", "x|y", "é", '6"', "it's"]))
        )
    out = tmp_path / "out.csv"
    out.write_bytes(document.fill(made))
    filled = csvfiles.read(out, options._replace(decimal=document.options.decimal))
    texts, before = filled.texts(filled.names), document.texts(document.names)
    expected = before.copy()
    for name, (rows, cells) in made.items():
        expected.loc[rows, name] = np.array(cells, dtype=object)
    pd.testing.assert_frame_equal(texts, expected, check_dtype=False)
    old = apart(text, options.separator, options.quote)
    new = apart(out.read_bytes().decode(encoding), options.separator, options.quote)
    assert len(old) == len(new)
    assert sum(one != other for one, other in zip(old, new, strict=True)) == len(holes)


@QUICK
@given(st.text('ab1,;|\t"\n\r .N\u00a0\u2028', max_size=40))
def test_any_text_is_read_without_loss_or_refused(tmp_path, text):
    path = tmp_path / "any.csv"
    path.write_bytes(text.encode())
    try:
        document = csvfiles.read(path)
    except ValueError as refused:
        named = "any.csv" in str(refused)
        assert named
        return
    assert document.fill({}) == path.read_bytes()
    assert document.frame.shape == (len(document.rows), len(document.names))
    assert all(isinstance(sentence, str) for sentence in document.messages)


@QUICK
@given(st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_texts_are_those_that_python_reads(tmp_path, grid, end):
    content = io.StringIO()
    quoting = csv.QUOTE_ALL if any("\r" in cell for row in grid for cell in row) else csv.QUOTE_MINIMAL
    csv.writer(content, lineterminator=end, quoting=quoting).writerows([["first", "second"], *grid])
    path = tmp_path / "any.csv"
    path.write_bytes(content.getvalue().encode())
    document = csvfiles.read(path, Options(separator=","))
    rows = [*csv.reader(io.StringIO(content.getvalue(), newline=""))][1:]
    assert document.texts(document.names).to_numpy().tolist() == [[cell.strip() for cell in row] for row in rows]


@QUICK
@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**12), 10**12),
                          st.sampled_from(["oak", "elm ash", "x,y"])), min_size=1, max_size=9))  # fmt: skip
def test_values_are_those_that_pandas_reads(tmp_path, rows):
    path = tmp_path / "any.csv"
    pd.DataFrame(rows, columns=["a", "b", "c"]).to_csv(path, index=False)
    pd.testing.assert_frame_equal(csvfiles.read(path).frame, pd.read_csv(path, low_memory=False), check_exact=True)


def test_columns_are_added_beside_and_quotes_are_kept(read):
    content = '"kind","height"\n"oak",""\n"elm","8,1"\n'
    document = read(content, decimal=",")
    added = [Added("height_sure", "height", ["0.5", ""]), Added("filled", None, ["kind,height", ""])]
    assert document.fill({"height": ([0], ["5,25"])}, added).decode() == (
        '"kind","height",height_sure,filled\n"oak","5,25",0.5,"kind,height"\n"elm","8,1",,\n'
    )
    document = read('kind,height\n"oak",1\n,2\n')
    assert document.fill({"kind": ([1], ["elm"])}) == b'kind,height\n"oak",1\n"elm",2\n'
    document = read("kind,height\noak,1\n,2\n", quote="none")
    with pytest.raises(ValueError, match="must contain no separator"):
        document.fill({"kind": ([1], ["a,b"])})


def test_the_benchmark_times_both_kinds(capsys):
    csv_files.main(["--rows", "40"])
    assert re.fullmatch(r" +40 rows: CSV \d+\.\d\d s, Parquet \d+\.\d\d s, ratio \d+\.\d\d\n", capsys.readouterr().out)
