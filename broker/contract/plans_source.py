"""Golden plans of chains and groups: what a coordinator reads of them, and what each step takes of those before."""

from __future__ import annotations

from typing import Any

import numpy as np
from frames_source import frame

Json = dict[str, Any]
ECHO: Json = {"operation": "echo"}
FFT: Json = {"operation": "fft"}
STFT: Json = {"operation": "stft"}
IFFT: Json = {"operation": "ifft", "params": {"input_onesided": True}}
ONES, ZEROS = np.ones(3), np.zeros(3)


def plans() -> Json:
    return {"valid": valid(), "invalid": invalid(), "requests": requests()}


def plan(stages: Any, constants: Json | None = None) -> str:
    return frame(constants or {}, {"stages": stages}).hex()


def valid() -> list[Json]:
    """Plans, with the ids of their jobs in flow `f`, and what each is: operation, and model if it has one."""

    def case(name: str, stages: list[Any], jobs: list[list[str]], what: list[list[str]]) -> Json:
        return {"name": name, "frame_hex": plan(stages), "jobs": jobs, "what": what}

    infer = {"operation": "infer", "model": "mlp"}
    nested = {"operation": "pipeline", "params": {"steps": [FFT]}}
    return [
        case("one step", [FFT], [["f-1"]], [["fft"]]),
        case("a chain", [FFT, IFFT, ECHO], [["f-1"], ["f-2"], ["f-3"]], [["fft"], ["ifft"], ["echo"]]),
        case("a group", [FFT, [ECHO, infer]], [["f-1"], ["f-2-1", "f-2-2"]], [["fft"], ["echo", "infer.mlp"]]),
        case("a group of one", [[ECHO], [FFT]], [["f-1-1"], ["f-2-1"]], [["echo"], ["fft"]]),
        case("a pipeline is a step", [FFT, nested], [["f-1"], ["f-2"]], [["fft"], ["pipeline"]]),
        case("of the first stage only operation and model count", [{**infer, "params": 3, "inputs": 4, "else": 5}],
             [["f-1"]], [["infer.mlp"]]),
        case("any tensors are taken after a group of different operations", [[FFT, STFT], ECHO],
             [["f-1-1", "f-1-2"], ["f-2"]], [["fft", "stft"], ["echo"]]),
        case("64 stages", [ECHO] * 64, [[f"f-{n}"] for n in range(1, 65)], [["echo"]] * 64),
        case("1,000 members", [[ECHO] * 1000], [[f"f-1-{n}" for n in range(1, 1001)]], [["echo"] * 1000]),
    ]  # fmt: skip


def invalid() -> list[Json]:
    cases: list[Json] = []

    def add(name: str, stages: Any, says: str = "") -> None:
        """`says` is how the message starts: which step it is about."""
        cases.append({"name": name, "frame_hex": plan(stages), "kind": "invalid_parameter", "says": says})

    cases.append({"name": "no frame", "frame_hex": b"junk".hex(), "kind": "invalid_frame", "says": ""})
    cases.append({"name": "no stages", "frame_hex": frame({}, {}).hex(), "kind": "invalid_frame", "says": ""})
    for name, stages in {"stages are text": "fft", "stages are null": None, "stages are an object": FFT}.items():
        add(name, stages)
    add("0 stages", [])
    add("65 stages", [ECHO] * 65)
    add("a group of none", [FFT, []], "step 2 ")
    add("a group of 1,001", [[ECHO] * 1001], "step 1 ")
    add("a group in a group", [FFT, [[FFT]]], "step 2 ")
    add("a step is text", [FFT, "fft"], "step 2 ")
    add("an operation is a number", [{"operation": 3}], "step 1 ")
    add("an unknown operation in front", [{"operation": "nosuch"}], "step 1 (nosuch)")
    add("an unknown operation", [FFT, {"operation": "nosuch"}], "step 2 (nosuch)")
    add("an unknown key", [FFT, {**FFT, "else": 1}], "step 2 (fft)")
    add("parameters are a list", [FFT, {**FFT, "params": []}], "step 2 (fft)")
    add("a parameter of another type", [FFT, {**FFT, "params": {"norm": 3}}], "step 2 (fft)")
    add("an unknown parameter", [FFT, {**FFT, "params": {"nosuch": 3}}], "step 2 (fft)")
    add("no model", [FFT, {"operation": "infer"}], "step 2 (infer)")
    add("a model that is no name", [FFT, {"operation": "infer", "model": "../etc"}], "step 2 (infer)")
    add("a model where none is", [FFT, {**FFT, "model": "mlp"}], "step 2 (fft)")
    add("inputs are a list", [FFT, {**FFT, "inputs": ["y"]}], "step 2 (fft)")
    add("an input without a source", [FFT, {**FFT, "inputs": {"x": ""}}], "step 2 (fft)")
    add("an input that the operation has not", [FFT, {**FFT, "inputs": {"z": "y"}}], "step 2 (fft)")
    add("the same of the request", [FFT, {**FFT, "request_inputs": {"z": "y"}}], "step 2 (fft)")
    add("the same in a group", [FFT, [FFT, {**FFT, "inputs": {"z": "y"}}]], "step 2 (fft, member 2 of 2)")
    add("it is open what is taken of a group", [[FFT, STFT], IFFT], "step 2 (ifft)")
    return cases


def requests() -> list[Json]:
    """What the last step of the second stage is asked when the first has `given`, or how the flow fails.

    Frames have all parameters. A request that only its operation could refuse is made: its job refuses it.
    """
    cases: list[Json] = []
    row = {"norm": "backward", "axis": -1}

    def add(name: str, stages: list[Any], given: list[Json], constants: Json | None = None, **expect: Any) -> None:
        shown = [frame(arrays).hex() for arrays in given]
        cases.append({"name": name, "frame_hex": plan(stages, constants), "given_hex": shown, **expect})

    def asked(
        name: str, stages: list[Any], given: list[Json], arrays: Json, params: Json, constants: Json | None = None
    ) -> None:
        add(name, stages, given, constants, expect_hex=frame(arrays, params).hex())

    def refused(name: str, stages: list[Any], given: list[Json], says: str, constants: Json | None = None) -> None:
        add(name, stages, given, constants, kind="invalid_shape", says=says)

    x, w = {"x": ONES}, {"w": np.full(2, 7.0)}
    echo = {"delay": 0.0}
    asked("all goes on by its name", [ECHO, ECHO], [{"a": ONES, "b": ZEROS}], {"a": ONES, "b": ZEROS}, echo)
    asked("the only tensor is the main one", [ECHO, FFT], [{"a": ONES}], {"x": ONES}, row)
    asked("the main output is the main input", [{"operation": "filter"}, FFT], [{"y": ONES, "zf": ZEROS}], x, row)
    asked("a chosen tensor", [ECHO, {**FFT, "inputs": {"x": "b"}}], [{"a": ZEROS, "b": ONES}], x, row)
    asked("a tensor of the plan", [ECHO, {**ECHO, "request_inputs": {"v": "w"}}], [x], x | {"v": w["w"]}, echo, w)
    group = [ECHO, ECHO]
    both = [{"x": ZEROS, "a": np.ones(1)}, {"x": ONES}]
    asked("of a group what all gave is stacked", [group, ECHO], both, {"x": np.stack([ZEROS, ONES])}, echo)
    picked = {**ECHO, "inputs": {"one": "2.x", "a": "1.a"}, "request_inputs": {"w": "w"}}
    asked("of a group by number", [group, picked], both, {"one": ONES, "a": np.ones(1), **w}, echo, w)
    asked("of a group of one", [[ECHO], FFT], [x], {"x": ONES[None]}, row)
    asked("an axis that only the operation can refuse", [ECHO, {**FFT, "params": {"axis": 5}}], [x], x,
          {**row, "axis": 5})  # fmt: skip
    asked("no samples, which only the operation can refuse", [ECHO, FFT], [{"x": np.zeros(0)}], {"x": np.zeros(0)}, row)
    two = [{"a": ONES, "b": ONES}]
    refused("it is open which is the main one", [ECHO, FFT], two, "step 2 (fft)")
    refused("none of several is the main one", [STFT, FFT], [{"f": ZEROS, "t": ZEROS, "Zxx": ONES}], "step 2 (fft)")
    refused("nothing is given", [ECHO, FFT], [{}], "step 2 (fft)")
    refused("a tensor that is not there", [ECHO, {**FFT, "inputs": {"x": "c"}}], two, "step 2 (fft)")
    refused("a tensor that the plan has not", [ECHO, {**FFT, "request_inputs": {"x": "c"}}], two, "step 2 (fft)")
    twice = {**ECHO, "request_inputs": {"a": "w"}}
    refused("a tensor twice", [ECHO, twice], two, "step 2 (echo)", w)
    refused("a required tensor is missing", [ECHO, {**FFT, "inputs": {}}], two, "step 2 (fft)")
    refused("a dtype that the operation does not take", [ECHO, FFT], [{"x": np.arange(3)}], "step 2 (fft)")
    refused("too few dimensions", [ECHO, FFT], [{"x": np.array(1.0)}], "step 2 (fft)")
    refused("a member that is not there", [group, {**FFT, "inputs": {"x": "3.x"}}], both, "step 2 (fft)")
    refused("member 0", [group, {**FFT, "inputs": {"x": "0.x"}}], both, "step 2 (fft)")
    refused("a member's number with a sign", [group, {**FFT, "inputs": {"x": "+1.x"}}], both, "step 2 (fft)")
    refused("a member's number with a zero", [group, {**FFT, "inputs": {"x": "01.x"}}], both, "step 2 (fft)")
    refused("a member without that tensor", [group, {**FFT, "inputs": {"x": "2.a"}}], both, "step 2 (fft)")
    refused("other shapes in a group", [group, ECHO], [{"x": ONES}, {"x": np.ones(4)}], "step 2 (echo)")
    refused("other dtypes in a group", [group, ECHO], [{"x": ONES}, {"x": np.ones(3, "f4")}], "step 2 (echo)")
    missing = {**FFT, "inputs": {"x": "c"}}
    refused("a member of a group", [ECHO, [ECHO, missing]], two, "step 2 (fft, member 2 of 2)")
    return cases
