"""YAML that anybody may have written: read in time that its length bounds, or one clear error."""

import itertools
import os
import time
import tracemalloc

import pytest

from polymodal.io import yaml

MULTIPLIED = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in itertools.pairwise("abcdefgh")
)

SLOW = {
    "aliases": (MULTIPLIED, "the alias *a; write out what it stands for, in line 2"),
    "one alias": ("a: &x 1\nb: *x", "the alias *x"),
    "alias in itself": ("a: &a [*a]", "the alias *a"),
    "alias as a name": ("a: &x b\n*x : 1", "the alias *x"),
    "merged alias": ("a: &x {b: 1}\nc:\n  <<: *x", "the alias *x"),
    "unknown alias": ("a: *b", "the alias *b"),
    "deep list": ("a: " + "[" * 900, "so deep; write it flatter"),
    "deep mapping": ("{a: " * 300, "so deep; write it flatter"),
    "deep block": ("- " * 500, "so deep; write it flatter"),
    "deep names": ("? " * 500, "so deep; write it flatter"),
    "deep whole list": ("a: " + "[" * 33 + "]" * 33, "so deep; write it flatter"),
    "deep merges": ("{<<: " * 40 + "{}" + "}" * 40, "so deep; write it flatter"),
    "long number": ("a: 1" + "0" * 400, "whole numbers have at most 40 decimal digits"),
    "very long number": ("a: " + "9" * 5000, "whole numbers have at most 40 decimal digits"),
    "long negative number": ("a: -1" + "0" * 41, "whole numbers have at most 40 decimal digits"),
    "number in base 2": ("a: !!int 0b" + "1" * 990, "whole numbers have at most 40 decimal digits"),
    "number in base 60": ("a: !!int 1" + ":59" * 330, "whole numbers have at most 40 decimal digits"),
    "huge number": ("a: 1e999", "numbers must be below 1.8e308"),
    "huge negative number": ("a: -1.0e+400", "numbers must be below 1.8e308"),
    "huge plain number": ("a: 1" + "0" * 400 + ".0", "numbers must be below 1.8e308"),
    "float in base 60": ("a: !!float 1" + ":59" * 330 + ".0", "write a decimal number"),
    "python": ("a: !!python/object/apply:os.system [touch owned]", "must be YAML"),
    "python name": ("a: !!python/name:os.system", "must be YAML"),
    "unknown tag": ("a: !x 1", "must be YAML"),
    "date of no day": ("a: !!timestamp 2021-99-99", "must be plain YAML"),
    "bytes that are none": ("a: !!binary é", "must be YAML"),
    "list as a name": ("[1, 2]: 3", "must be YAML"),
    "list": ("[1, 2]", "must hold settings"),
    "number": ("5", "must hold settings"),
    "several documents": ("a: 1\n---\nb: 2", "must be YAML"),
    "tabs": ("a:\n\t- 1", "must be YAML"),
    "open quotes": ("a: '" + "x" * 900, "must be YAML"),
    "directives": ("%YAML 9.9\n---\na: 1", "must be YAML"),
    "many directives": ("%TAG ! tag:x,2000:\n" * 40 + "---\na: 1", "must be YAML"),
}


@pytest.mark.parametrize("kind", SLOW)
def test_one_error_in_no_time(kind, tmp_path):
    text, said = SLOW[kind]
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ValueError, match=r"x\.yaml") as error:
        yaml.read(tmp_path / "x.yaml")
    took, (_, most) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert took < 1
    assert most < 20 * 2**20


PARTS = ["[", "{", "- ", "? ", "a: ", "&a ", "!!int ", "*a", ",", "\n ", "<<: ", "'", '"', "|\n", ">\n", "%", "0", "#"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("other", ["", "x", "]", " "])
def test_any_kilobyte_is_read_or_refused_in_no_time(part, other, tmp_path):
    for text in ((part + other) * 1000, "a: " + (part + other) * 1000):
        (tmp_path / "x.yaml").write_text(text[:1000])
        start = time.process_time()
        try:
            made = yaml.read(tmp_path / "x.yaml")
        except ValueError as error:
            made = str(error)
        assert time.process_time() - start < 1
        assert isinstance(made, dict) or "x.yaml" in made


def test_documents_that_are_too_long_are_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "x.yaml").write_text("# " + "x" * 2**21)
    with pytest.raises(ValueError, match="must be at most 1048576 characters of YAML"):
        yaml.read(tmp_path / "x.yaml")
    monkeypatch.setattr(yaml, "MOST", 1000)
    (tmp_path / "y.yaml").write_text("a: [" + "[]," * 1200 + "]")
    with pytest.raises(ValueError, match="more than 1,000 values"):
        yaml.read(tmp_path / "y.yaml")


@pytest.mark.parametrize("there", ["nothing", "folder", "pipe", "device", "circle"])
def test_what_is_no_file_is_never_read(there, tmp_path):
    path = tmp_path / "x.yaml"
    {
        "nothing": lambda: None, "folder": path.mkdir, "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"), "circle": lambda: path.symlink_to(path),
    }[there]()  # fmt: skip
    with pytest.raises(FileNotFoundError if there == "nothing" else ValueError, match=r"x\.yaml"):
        yaml.read(path)


@pytest.mark.parametrize("value", ["*a", "&a 1" + "0" * 50, "1e999", "1" + "0" * 41, "[" * 40 + "]" * 40])
def test_settings_on_the_command_line_are_bounded_likewise(value):
    with pytest.raises(ValueError, match="beta must"):
        yaml.assignments([f"beta={value}"])


def test_what_people_write_is_read_as_ever():
    text = "a: 1\nb: [-2, 3.5, 1e-4, .inf, 1.7e308, 18446744073709551615]\nc: {d: null, e: [x, 'y']}\nf: !!int '7'\n"
    made = yaml._load(text, "x")
    assert made == {
        "a": 1, "b": [-2, 3.5, 1e-4, float("inf"), 1.7e308, 2**64 - 1], "c": {"d": None, "e": ["x", "y"]}, "f": 7,
    }  # fmt: skip
    assert yaml._load(yaml.dump(made), "x") == made
