"""`weights.safetensors`, damaged, foreign or forged."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

import polymodal as pm
from attacks.guard import PAYLOAD, guarded, refused, told
from polymodal.io import checkpoint

LEAST = "encoders.2.3.bias"
"""A tensor of the label's encoder."""


def changed(**changes):
    """Tensors added, replaced, or, where None, removed; dots are written as two underscores."""

    def attack(path):
        tensors = load_file(path) | {name.replace("__", "."): tensor for name, tensor in changes.items()}
        save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)

    return attack


def raw(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


def header(change):
    """The header changed in place; its length is made to fit."""

    def attack(path):
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        document = json.loads(content[8 : 8 + length])
        text = json.dumps(change(document) or document).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])

    return attack


def entry(**arguments):
    return header(lambda document: document[LEAST].update(arguments))


def overlapping(document):
    first, second = list(document)[1:3]
    document[second]["data_offsets"] = document[first]["data_offsets"]


def spoilt(value, name="decoders.4.0.weight"):
    def attack(path):
        tensors = load_file(path)
        tensors[name].view(-1)[1] = value
        save_file(tensors, path)

    return attack


def pickled(path):
    class Attack:
        def __reduce__(self):
            return eval, (PAYLOAD,)

    torch.save({"weight": torch.zeros(5), "owned": Attack()}, path)


NO = "weights.safetensors must be a safetensors file: "
MISFIT = "weights.safetensors does not fit the model: "
NAN = "weights.safetensors must contain finite numbers; 1 of decoders.4.0.weight are not; take another copy"

ATTACKS = {
    "empty": (raw(lambda b: b""), NO),
    "seven bytes": (raw(lambda b: b[:7]), NO),
    "header cut": (raw(lambda b: b[:50]), NO),
    "numbers cut": (raw(lambda b: b[:-1]), NO),
    "numbers added": (raw(lambda b: b + b"\0"), NO),
    "header of nothing": (raw(lambda b: bytes(8)), NO),
    "header of gigabytes": (raw(lambda b: struct.pack("<Q", 3 * 2**30) + b[8:]), NO),
    "header of exabytes": (raw(lambda b: struct.pack("<Q", 2**63) + b[8:]), NO),
    "header that is no JSON": (raw(lambda b: struct.pack("<Q", 2) + b"[]"), NO),
    "deep header": (raw(lambda b: struct.pack("<Q", 10**5) + b'{"a":' * 20_000), NO),
    "pickle": (pickled, NO),
    "zip": (raw(lambda b: b"PK\x03\x04" + bytes(1000)), NO),
    "text": (raw(lambda b: PAYLOAD.encode()), NO),
    "offsets beyond the end": (entry(data_offsets=[0, 10**9]), NO),
    "offsets backwards": (entry(data_offsets=[16, 0]), NO),
    "negative offsets": (entry(data_offsets=[-8, 0]), NO),
    "overlapping offsets": (header(overlapping), NO),
    "no offsets": (header(lambda d: d[LEAST].pop("data_offsets") and None), NO),
    "no such type": (entry(dtype="F33"), NO),
    "shape of another size": (entry(shape=[3]), NO),
    "shape of exabytes": (entry(shape=[2**62, 4]), NO),
    "negative shape": (entry(shape=[-2]), NO),
    "another shape": (
        changed(encoders__2__3__bias=torch.zeros(3)),
        MISFIT + f"{LEAST} must be float32 (2,), is float32 (3,)",
    ),
    "an axis more": (entry(shape=[1, 2]), MISFIT + f"{LEAST} must be float32 (2,), is float32 (1, 2)"),
    "missing": (changed(encoders__2__3__bias=None), MISFIT + f"it has no {LEAST}"),
    "extra": (changed(more=torch.zeros(1)), MISFIT + "it has more, which the model does not have"),
    "renamed": (changed(encoders__2__3__bias=None, x=torch.zeros(2)), f"it has no {LEAST}; it has x, which"),
    "all others": (
        lambda path: save_file({"x": torch.zeros(1)}, path),
        "it has no weight, weighed, reference_cost and ",
    ),
    "none": (lambda path: save_file({}, path), "it has no weight, weighed, reference_cost and "),
    "no weight": (changed(weight=None), MISFIT + "it has no weight"),
    "forged letters": (changed(**{"a\n\x1b[31m": torch.zeros(1)}), r"it has a \x1b[31m, which"),
    "integers": (changed(encoders__2__3__bias=torch.zeros(2).long()), f"{LEAST} must be float32 (2,), is int64 (2,)"),
    "all integers": (changed(weight=torch.ones(5).int()), MISFIT + "weight must be float32 (5,), is int32 (5,)"),
    "a float for a bool": (changed(weighed=torch.ones(())), MISFIT + "weighed must be bool (), is float32 ()"),
    "eight bits": (changed(encoders__2__3__bias=torch.zeros(2).to(torch.float8_e4m3fn)), f"{LEAST} is of F8_E4M3"),
    "complex": (changed(encoders__2__3__bias=torch.zeros(2).cfloat()), f"{LEAST} is of C64"),
    "nan": (spoilt(float("nan")), NAN),
    "infinity": (spoilt(float("inf")), NAN),
    "nan in a buffer": (spoilt(float("nan"), "weight"), "1 of weight are not"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacked(attack, folder):
    change, message = ATTACKS[attack]
    change(folder / "weights.safetensors")
    assert message in refused(folder)


@pytest.mark.parametrize("attack", [name for name, (_, message) in ATTACKS.items() if message == NO])
def test_readers_of_tensors_promise_the_same(attack, folder):
    path = folder / "weights.safetensors"
    ATTACKS[attack][0](path)
    assert NO in told(lambda: checkpoint.read_tensors(path), folder)
    assert NO in told(lambda: checkpoint.read_header(path), folder)
    assert NO in told(lambda: checkpoint.read_tensors(path, {"x": torch.zeros(1)}), folder)


def test_tensors_are_read_like_what_is_expected(folder):
    path = folder / "weights.safetensors"
    tensors = load_file(path)
    like = {
        name: tensor.to("meta", torch.float64 if tensor.is_floating_point() else None)
        for name, tensor in tensors.items()
    }
    read = checkpoint.read_tensors(path, like)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    with pytest.raises(ValueError, match="it has no more"):
        checkpoint.read_tensors(path, like | {"more": torch.zeros(1)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_no_attack(dtype, folder):
    pm.load(folder).to(dtype).save(folder)
    with guarded():
        assert {parameter.dtype for parameter in pm.load(folder).parameters()} == {dtype}
