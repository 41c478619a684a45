"""Bytes flipped, inserted, deleted and cut off: either a model or one error, never anything else."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import polymodal as pm
from attacks.guard import PAYLOAD, guarded
from polymodal.io import checkpoint

pytestmark = pytest.mark.slow

QUIET = settings(
    max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

places = st.floats(0, 1, exclude_max=True)
letters = st.one_of(
    st.binary(min_size=1, max_size=4), st.sampled_from([b"9", b"-", b"0", b".", b"e9", b'"', b"]", b"}", b","])
)
edits = st.lists(
    st.tuples(st.sampled_from(["flip", "insert", "delete", "cut", "put"]), places, letters), min_size=1, max_size=4
)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1, 2, 3, 10**3, 10**6, 10**9, 2**31, 2**63, 10**30]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from([PAYLOAD, "audio", "image", "label", "text", "vector", "l2", "mac-vae", "sum", "../../x", "NaN"]),
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
"""JSON's values."""


def replace_somewhere(document, choices, value):
    """Puts the value at the place to which the choices lead, or removes what is there where it is an empty string."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key = keys[(choices[0] if choices else 0) % len(keys)]
        choices = choices[1:]
        if not (choices and isinstance(document[key], dict | list) and document[key]):
            break
        document = document[key]
    if value == "":
        del document[key]
    else:
        document[key] = value


def edited(content: bytes, edits) -> bytes:
    """The bytes after all edits, each at its share of what there is."""
    for kind, share, letters in edits:
        place = int(share * len(content))
        if kind == "flip":
            mask = letters[0] or 1
            content = content[:place] + bytes(byte ^ mask for byte in content[place : place + 1]) + content[place + 1 :]
        elif kind == "cut":
            content = content[:place]
        else:
            end = place + {"insert": 0, "delete": len(letters), "put": len(letters)}[kind]
            content = content[:place] + (b"" if kind == "delete" else letters) + content[end:]
    return content


@pytest.fixture(scope="module")
def copy(original, tmp_path_factory):
    return shutil.copytree(original, tmp_path_factory.mktemp("fuzz") / "model")


def attempt(original, copy, name, content):
    """Loads, and reads alone, the model with this in place of one file."""
    (copy / name).write_bytes(content)
    reader = {"model.json": checkpoint.read_json, "weights.safetensors": checkpoint.read_tensors}[name]
    try:
        for read in (lambda: pm.load(copy), lambda: reader(copy / name)):
            assert trouble(read).isprintable()
    finally:
        shutil.copy(original / name, copy / name)


def trouble(read) -> str:
    """The message of its error, if any."""
    try:
        with guarded():
            read()
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return ""


@QUIET
@given(edits=edits)
def test_of_the_document(original, copy, edits):
    attempt(original, copy, "model.json", edited((original / "model.json").read_bytes(), edits))


@QUIET
@given(edits=edits)
def test_of_the_weights(original, copy, edits):
    attempt(original, copy, "weights.safetensors", edited((original / "weights.safetensors").read_bytes(), edits))


@QUIET
@given(edits=edits)
def test_of_the_header_of_the_weights(original, copy, edits):
    content = (original / "weights.safetensors").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    attempt(original, copy, "weights.safetensors", edited(content[:end], edits) + content[end:])


@QUIET
@given(choices=st.lists(st.integers(0, 40), max_size=6), value=values)
def test_of_what_the_document_says(original, copy, choices, value):
    document = json.loads((original / "model.json").read_text())
    replace_somewhere(document, choices, value)
    attempt(original, copy, "model.json", json.dumps(document).encode())
