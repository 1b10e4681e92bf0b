"""Golden frames, valid and invalid, made without npufleet: by the public safetensors library, or by struct and json."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

WORDS = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "float16": "F16",
    "uint32": "U32",
    "int32": "I32",
    "float32": "F32",
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex64": "C64",
    "complex128": "C128",
}
Arrays = dict[str, "NDArray[Any]"]
Json = dict[str, Any]


def frame(arrays: Mapping[str, NDArray[Any]], params: Mapping[str, Any] | None = None) -> bytes:
    """A frame as another program would write it: safetensors' own encoder, complex128 as pairs of float64."""
    pairs = {name: np.stack([a.real, a.imag], axis=-1) for name, a in arrays.items() if a.dtype == np.complex128}
    metadata = {} if params is None else {"params": json.dumps(params)}
    if pairs:
        metadata["complex"] = json.dumps(list(pairs))
    if len(metadata) < 2:
        return save({**arrays, **pairs}, metadata=metadata or None)
    # The library writes two metadata keys in any order, and golden bytes must not change.
    return tiled({**arrays, **pairs}, metadata)


def tiled(arrays: Mapping[str, NDArray[Any]], metadata: Json | None = None, padding: int = 0) -> bytes:
    """A frame with its tensors in the given order, which no encoder of today need write but every decoder must read."""
    header: Json = {} if metadata is None else {"__metadata__": metadata}
    offset = 0
    for name, array in arrays.items():
        header[name] = entry(WORDS[array.dtype.name], list(array.shape), offset, offset + array.nbytes)
        offset += array.nbytes
    return raw(header, b"".join(array.tobytes() for array in arrays.values()), padding)


def entry(dtype: Any, shape: Any, start: Any, end: Any) -> Json:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def raw(header: Json | str | bytes, data: bytes = b"", padding: int = 0) -> bytes:
    """A frame of any header, padded to a multiple of 8."""
    text = json.dumps(header) if isinstance(header, dict) else header
    content = text.encode() if isinstance(text, str) else text
    content += b" " * (-len(content) % 8 + padding)
    return struct.pack("<Q", len(content)) + content + data


def _described(name: str, arrays: Arrays, params: Json, content: bytes) -> Json:
    tensors = [
        {"name": key, "dtype": WORDS[a.dtype.name], "shape": list(a.shape), "data_hex": a.tobytes().hex()}
        for key, a in arrays.items()
    ]
    return {"name": name, "frame_hex": content.hex(), "tensors": tensors, "params": params}


def valid() -> list[Json]:
    every = {word: (np.arange(6) % 2).astype(name).reshape(2, 3) for name, word in WORDS.items()}
    cases = [_described(f"dtype {word}", {"x": a}, {}, frame({"x": a})) for word, a in every.items()]

    def library(name: str, arrays: Arrays, params: Json | None = None) -> None:
        cases.append(_described(name, arrays, params or {}, frame(arrays, params)))

    def handmade(name: str, arrays: Arrays, params: Json, content: bytes) -> None:
        cases.append(_described(name, arrays, params, content))

    x = np.array([1.5, -2.0])
    pair = np.array([3.0 + 4.0j])
    library("all dtypes but complex128", {word: a for word, a in every.items() if word != "C128"})
    library("no tensors", {})
    library("no tensors, parameters", {}, {"n": 16, "norm": "ortho", "return_onesided": False, "delay": 0.25})
    library("empty parameters", {"x": x}, {})
    library(
        "parameters of every JSON type", {}, {"a": None, "b": [1, 2.5, "c"], "d": {"e": True}, "f": -7, "g": 1e-300}
    )
    library("parameters beyond ASCII", {}, {"größe": 'Ω "quoted" \\ \n \U0001f4c8'})
    library("0-d", {"x": np.array(2.5)})
    library("zero-length", {"x": np.zeros((0,)), "y": np.zeros((3, 0, 2), np.float32)})
    library("zero-length beside others", {"a": np.zeros((0, 4)), "b": x, "c": np.zeros((0,))})
    library("8 dimensions", {"x": np.arange(4, dtype=np.int16).reshape(1, 2, 1, 1, 2, 1, 1, 1)})
    library("64 tensors", {f"t{i:02}": np.array([i], np.uint8) for i in range(64)})
    library("name beyond ASCII", {'tensör "1"\n\\': x})
    library("name of 128 bytes", {"n" * 126 + "ß": x})
    library("names of our own metadata", {"params": x, "complex": x})
    bits = np.array([0x7FF8000000000001, 0xFFF0000000000001, 0x7FF0000000000000, 0x8000000000000000, 1], np.uint64)
    library("NaN payloads, infinity, minus zero, smallest denormal", {"x": bits.view(np.float64)})
    library("complex128, 0-d", {"z": np.array(1.0 + 2.0j)})
    library("complex128, zero-length", {"z": np.zeros((0, 3), np.complex128)})
    library("complex128 beside float64 with a last dimension of 2", {"x": np.ones((3, 2)), "z": pair})
    library("complex128 and parameters", {"z": pair}, {"axis": 0})
    seven = np.zeros((1,) * 7, np.complex128)
    library("complex128 of 7 dimensions, stored with 8", {"z": seven})

    odd = {"a": np.array([1, 2, 3], np.uint8), "x": x, "b": np.array([9], np.uint16), "y": np.array([2.5], np.float32)}
    handmade("unaligned tensors", odd, {}, tiled(odd))
    swapped = {"b": entry("F64", [1], 8, 16), "a": entry("F64", [1], 0, 8)}
    both = {"b": np.array([7.0]), "a": np.array([5.0])}
    handmade("header order is not storage order", both, {}, raw(swapped, struct.pack("<dd", 5.0, 7.0)))
    handmade("unknown metadata", {"x": x}, {}, tiled({"x": x}, {"format": "np", "author": "somebody else"}))
    handmade("metadata after the tensors", {"x": x}, {"n": 2}, _metadata_last(x))
    handmade("empty metadata", {"x": x}, {}, tiled({"x": x}, {}))
    handmade("empty list of complex tensors", {"x": x}, {}, tiled({"x": x}, {"complex": "[]"}))
    handmade("more padding than needed", {"x": x}, {}, tiled({"x": x}, padding=64))
    wide = json.dumps({"x": entry("F64", [2], 0, 16)}, indent=4)
    handmade("white space inside the header", {"x": x}, {}, raw(wide, x.tobytes()))
    escaped = '{"\\u0078":{"\\u0064type":"F64","shape":[2],"data_offsets":[0,16]}}'
    handmade("escapes in the header", {"x": x}, {}, raw(escaped, x.tobytes()))
    exact = raw({"__metadata__": {"note": "-" * 4000}, "x": entry("F64", [2], 0, 16)}, x.tobytes())
    handmade("long header", {"x": x}, {}, exact)
    handmade("white space around parameters", {}, {"n": 1}, raw({"__metadata__": {"params": ' {"n" : 1}\n'}}))
    return cases


def _metadata_last(x: NDArray[Any]) -> bytes:
    return raw({"x": entry("F64", [2], 0, 16), "__metadata__": {"params": '{"n":2}'}}, x.tobytes())


def invalid() -> list[Json]:
    cases: list[Json] = []

    def add(name: str, content: bytes, kind: str = "invalid_frame") -> None:
        cases.append({"name": name, "frame_hex": content.hex(), "kind": kind})

    data = struct.pack("<dd", 1.0, 2.0)
    good = raw({"x": entry("F64", [2], 0, 16)}, data)
    for length in (0, 1, 7, 8, 9, 16, len(good) - 17, len(good) - 16, len(good) - 8, len(good) - 1):
        add(f"truncated to {length} bytes", good[:length])
    add("one byte too many", good + b"\0")
    add("eight bytes too many", good + bytes(8))
    for name, length in {"65544": 65544, "2^31": 2**31, "2^63": 2**63, "2^64 - 1": 2**64 - 1, "0": 0}.items():
        add(f"header length {name}", struct.pack("<Q", length) + good[8:])
    text = json.dumps({"x": entry("F64", [2], 0, 16)}).encode().ljust(70)
    add("header length not a multiple of 8", struct.pack("<Q", 70) + text + data)

    for name, text in {
        "a space": b" {}     ",
        "a list": b"[{}]    ",
        "a string": b'"{}"    ',
        "null": b"null    ",
        "a byte order mark": b"\xef\xbb\xbf{}   ",
        "nothing but spaces": b"        ",
    }.items():
        add(f"header starts with {name}", raw(text))
    for name, text in {
        "unclosed": '{"x":',
        "followed by more": "{} {}",
        "with a comment": "{/**/}",
        "with single quotes": "{'__metadata__':{}}",
        "with a trailing comma": '{"__metadata__":{},}',
        "with a control character": '{"a\x01":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        "nested too deep": '{"x":' + "[" * 3000,
    }.items():
        add(f"header is JSON {name}", raw(text))
    add("header is no UTF-8", raw(b'{"\xff":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'))
    add("header is overlong UTF-8", raw(b'{"\xc0\xaf":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'))
    add("lone surrogate in a name", raw('{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'))

    one = '{"dtype":"F64","shape":[1],"data_offsets":[0,8]}'
    two = '{"dtype":"F64","shape":[1],"data_offsets":[8,16]}'
    add("duplicate tensor", raw(f'{{"x":{one},"x":{two}}}', data))
    add("duplicate tensor by an escape", raw(f'{{"x":{one},"\\u0078":{two}}}', data))
    add("duplicate metadata", raw(f'{{"__metadata__":{{}},"x":{one},"__metadata__":{{}}}}', data[:8]))
    add("duplicate key in metadata", raw('{"__metadata__":{"params":"{}","params":"{}"}}'))
    add("duplicate unknown key in metadata", raw('{"__metadata__":{"a":"1","a":"1"}}'))
    repeated = '{"x":{"dtype":"F64","dtype":"F64","shape":[1],"data_offsets":[0,8]}}'
    add("duplicate key in a tensor", raw(repeated, data[:8]))
    add("duplicate parameter", raw({"__metadata__": {"params": '{"n":1,"n":2}'}}))
    add("duplicate key inside a parameter", raw({"__metadata__": {"params": '{"n":{"a":1,"a":1}}'}}))

    _invalid_entries(add, data)
    _invalid_metadata(add, data)
    return cases


def _invalid_entries(add: Any, data: bytes) -> None:
    def tensors(name: str, header: Json, content: bytes = data) -> None:
        add(name, raw(header, content))

    def single(name: str, *args: Any, content: bytes = data) -> None:
        tensors(name, {"x": entry(*args)}, content)

    tensors("overlapping tensors", {"a": entry("F64", [1], 0, 8), "b": entry("F64", [1], 4, 12)}, data[:12])
    tensors("the same bytes twice", {"a": entry("F64", [2], 0, 16), "b": entry("F64", [2], 0, 16)})
    tensors("a hole between tensors", {"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 8, 12)}, data[:12])
    single("a hole in front", "F64", [1], 8, 16)
    single("a hole at the end", "F64", [1], 0, 8)
    tensors("no tensors, but data", {})
    single("offsets backwards", "F64", [2], 16, 0)
    single("offsets beyond the frame", "F64", [4], 0, 32)
    single("zero-length tensor beyond the frame", "F64", [0], 24, 24)
    single("zero-length tensor inside another's hole", "F64", [0], 8, 8)
    single("too few bytes for the shape", "F64", [3], 0, 16)
    single("too many bytes for the shape", "F64", [1], 0, 16)
    single("too few bytes for the dtype", "F64", [4], 0, 16)
    single("0-d with two elements", "F64", [], 0, 16)
    single("shape overflows 64 bits", "F64", [2**32, 2**32], 0, 0, content=b"")
    single("shape overflows 64 bits to the right size", "F64", [2**61, 2], 0, 0, content=b"")
    single("shape times element size overflows to the right size", "F64", [2**61 + 2], 0, 16)
    single("shape as large as memory", "U8", [2**62], 0, 2**62)
    single("dimension of 2^64", "U8", [2**64], 0, 2**64)
    single("offset of 2^64", "U8", [0], 2**64, 2**64)
    single("negative dimension", "F64", [-2], 0, 16)
    single("two negative dimensions", "F64", [-1, -2], 0, 16)
    single("negative offset", "F64", [2], -16, 0)
    add("minus zero as offset", raw('{"x":{"dtype":"F64","shape":[2],"data_offsets":[-0,16]}}', data))
    single("fractional dimension", "F64", [2.0], 0, 16)
    single("dimension as text", "F64", ["2"], 0, 16)
    single("dimension is true", "F64", [True, 2], 0, 16)
    single("dimension is null", "F64", [None], 0, 16)
    single("shape is a number", "F64", 2, 0, 16)
    single("shape is null", "F64", None, 0, 16)
    single("shape is an object", "F64", {"0": 2}, 0, 16)
    single("offset as text", "F64", [2], "0", 16)
    tensors("one offset", {"x": {"dtype": "F64", "shape": [2], "data_offsets": [16]}})
    tensors("three offsets", {"x": {"dtype": "F64", "shape": [2], "data_offsets": [0, 8, 16]}})
    tensors("offsets are an object", {"x": {"dtype": "F64", "shape": [2], "data_offsets": {"0": 0, "1": 16}}})
    for key in ("dtype", "shape", "data_offsets"):
        tensors(f"tensor without {key}", {"x": {k: v for k, v in entry("F64", [2], 0, 16).items() if k != key}})
    tensors("tensor with an unknown key", {"x": {**entry("F64", [2], 0, 16), "note": ""}})
    tensors("tensor is a list", {"x": ["F64", [2], [0, 16]]})
    tensors("tensor is null", {"x": None})
    for dtype in ("F128", "f64", "float64", "BF16", "F8_E4M3", "C128", "", None, 8):
        single(f"dtype {dtype!r}", dtype, [2], 0, 16)
    single("9 dimensions", "F64", [1] * 8 + [2], 0, 16)
    tensors("65 tensors", {f"t{i}": entry("U8", [0], 0, 0) for i in range(65)}, b"")
    tensors("empty name", {"": entry("F64", [2], 0, 16)})
    tensors("name of 129 bytes", {"n" * 127 + "ß": entry("F64", [2], 0, 16)})


def _invalid_metadata(add: Any, data: bytes) -> None:
    def metadata(name: str, value: Any, kind: str = "invalid_frame", dtype: str = "F64", shape: Any = (1, 2)) -> None:
        add(name, raw({"__metadata__": value, "x": entry(dtype, shape, 0, 16)}, data), kind)

    metadata("metadata is null", None)
    metadata("metadata is a list", [])
    metadata("metadata is text", "{}")
    metadata("metadata value is a number", {"note": 1})
    metadata("metadata value is null", {"note": None})
    metadata("parameters are an object, not its text", {"params": {}})
    for text in (
        "",
        "[]",
        "null",
        "1",
        '"{}"',
        "{",
        '{"n":}',
        "{} {}",
        "{'n':1}",
        '{"n":01}',
        '{"n":+1}',
        '{"s":"\\ud800"}',
    ):
        metadata(f"parameters {text}", {"params": text})
    for text in ('{"n":NaN}', '{"n":Infinity}', '{"n":-Infinity}', '{"n":1e999}'):
        metadata(f"parameters not finite: {text}", {"params": text}, "invalid_parameter")
    for text in ("", "{}", "null", '"x"', "[1]", "[null]", '[["x"]]', '["x"', '["y"]', '["x","x"]', '["__metadata__"]'):
        metadata(f"complex {text}", {"complex": text})
    metadata("complex is a list, not its text", {"complex": ["x"]})
    metadata("complex names a tensor of another last dimension", {"complex": '["x"]'}, shape=(2, 1))
    metadata("complex names a 1-d tensor of 2, then a last dimension of 1", {"complex": '["x"]'}, shape=(2, 1, 1))
    metadata("complex names a float32 tensor", {"complex": '["x"]'}, dtype="F32", shape=(2, 2))
    metadata("complex names a complex64 tensor", {"complex": '["x"]'}, dtype="C64", shape=(1, 2))
    add(
        "complex names a 0-d tensor", raw({"__metadata__": {"complex": '["x"]'}, "x": entry("F64", [], 0, 8)}, data[:8])
    )
