"""Writes the graphs of an export, which share one file of weights."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from polymodal.schema import Schema

if TYPE_CHECKING:
    import onnx

__all__ = ["write_graphs"]

WEIGHTS = "weights.bin"
LEAST = 1024
"""Size in bytes from which tensors are stored in the file of weights."""
ALIGNMENT = 64
"""Multiple of bytes at which a tensor begins, for memory maps."""


def write_graphs(encoding: onnx.ModelProto, decoding: onnx.ModelProto, schema: Schema, folder: Path) -> int:
    """Writes `encode.onnx`, `decode.onnx`, `translate.onnx` and `weights.bin`.

    Arguments:
        encoding: Graph of `Encoding`.
        decoding: Graph of `Decoding`.
        schema: The modalities.
        folder: Folder of the files.

    Returns:
        Version of the operators of ONNX.
    """
    from onnx import checker, compose

    values = [f"value_{m}" for m in range(len(schema))]
    labels = [m for m, one in enumerate(schema.values()) if one.levels is not None and not one.shape]
    results = [f"prediction_{m}" for m in range(len(schema))] + [f"probabilities_{m}" for m in labels]
    _rename(encoding, "e_", ["observed", *values], ["code"])
    _rename(decoding, "d_", ["code"], results)
    translating = compose.merge_models(encoding, decoding, io_map=[("code", "code")])
    graphs = {"encode": encoding, "decode": decoding, "translate": translating}
    with (folder / WEIGHTS).open("wb") as file:
        known: dict[bytes, int] = {}
        for graph in graphs.values():
            _move_weights(graph, file, known)
    for name, graph in graphs.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(graph.SerializeToString(deterministic=True))
        checker.check_model(str(path))
    return max(one.version for one in encoding.opset_import if one.domain in ("", "ai.onnx"))


def _rename(model: onnx.ModelProto, prefix: str, inputs: list[str], outputs: list[str]) -> None:
    """Gives the inputs and outputs of a graph their names, and all other tensors and nodes a prefix.

    An output that is also an input, or that equals another output, gets a node of its own.
    """
    from onnx import helper

    graph = model.graph
    names = {one.name: name for one, name in zip(graph.input, inputs, strict=True)}
    for one, name in zip(graph.output, outputs, strict=True):
        if one.name in names:
            graph.node.append(helper.make_node("Identity", [one.name], [f"{name}_copy"]))
            names[f"{name}_copy"] = name
        else:
            names[one.name] = name
    for one, name in zip([*graph.input, *graph.output], [*inputs, *outputs], strict=True):
        one.name = name
    del graph.value_info[:]
    del graph.metadata_props[:], model.metadata_props[:]

    def rename(name: str) -> str:
        return names.get(name, f"{prefix}{name}") if name else ""

    for tensor in graph.initializer:
        tensor.name = rename(tensor.name)
    _rename_nodes(graph.node, rename)


def _rename_nodes(nodes: Any, rename: Any) -> None:
    for number, node in enumerate(nodes):
        node.name, node.doc_string = f"{rename('node')}_{number}", ""
        del node.metadata_props[:]
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                raise ValueError("a graph with branches or loops cannot be exported; change the custom network")


def _move_weights(model: onnx.ModelProto, file: IO[bytes], known: dict[bytes, int]) -> None:
    """Moves the large tensors of a graph to a file; equal ones are stored once."""
    from onnx import external_data_helper, numpy_helper

    for tensor in model.graph.initializer:
        raw = numpy_helper.to_array(tensor).tobytes()
        if len(raw) < LEAST:
            continue
        key = sha256(raw).digest()
        if key not in known:
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            known[key] = file.tell()
            file.write(raw)
        for field in ("float_data", "int64_data", "double_data", "int32_data"):
            tensor.ClearField(field)
        tensor.raw_data = b"\0"
        external_data_helper.set_external_data(tensor, WEIGHTS, offset=known[key], length=len(raw))
        tensor.ClearField("raw_data")
