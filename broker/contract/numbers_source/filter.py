"""Golden numbers of `filter`, by SciPy: designed, paired into sections and applied by it, in double precision.

Where a band is symmetric, SciPy pairs zeros and poles by the last bits of rounding. Such filters are here with zero
phase only, where the order of the sections does not show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import frame
from scipy import signal

from numbers_source.common import answer, parameters_frame, refused, samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]
TOLERANCE = {"float32": 2e-7, "float64": 1e-9}
BANDS = {"lowpass": 0.23, "highpass": 0.31, "bandpass": [0.17, 0.45], "bandstop": [0.2, 0.37]}


def cases() -> list[Json]:
    return [*designs(), *signals(), *states(), *zero_phase(), *refusals()]


def _case(
    name: str, x: NDArray[Any], zi: NDArray[Any] | None = None, tolerance: float | None = None, **params: Any
) -> Json:
    tensors = {"x": x} if zi is None else {"x": x, "zi": zi}
    axis = int(params.get("axis", -1))
    sections = signal.iirfilter(
        int(params.get("order", 4)),
        np.squeeze(params["cutoff"]),
        rp=params.get("rp", 0.5),
        btype=params.get("btype", "lowpass"),
        ftype=params.get("ftype", "butter"),
        fs=params.get("fs", 2.0),
        output="sos",
    )
    exact = x.astype(np.float64)
    with np.errstate(all="ignore"):
        if params.get("zero_phase"):
            expected = {"y": signal.sosfiltfilt(sections, exact, axis=axis).astype(x.dtype)}
        else:
            if zi is None:
                shape = [len(sections), *x.shape]
                shape[axis % x.ndim + 1] = 2
                zi = np.zeros(shape)
            y, zf = signal.sosfilt(sections, exact, axis=axis, zi=zi)
            expected = {"y": y.astype(x.dtype), "zf": zf}
    return answer(name, tensors, params, expected, tolerance or TOLERANCE[x.dtype.name])


def designs() -> list[Json]:
    cases = []
    for ftype in ("butter", "cheby1"):
        for btype, cutoff in BANDS.items():
            for order in range(1, 17) if ftype == "butter" else (1, 2, 3, 4, 5, 8, 11, 16):
                name = f"{ftype} {btype} of order {order}"
                cases.append(_case(name, samples(8), order=order, cutoff=cutoff, btype=btype, ftype=ftype))
    x = samples(12)
    cases += [_case(f"ripple {rp}", x, cutoff=0.3, ftype="cheby1", rp=rp) for rp in (0.001, 0.1, 1, 3, 20, 40)]
    cases.append(_case("ripple 3 of an odd order", x, cutoff=0.3, ftype="cheby1", rp=3, order=5))
    for cutoff in (1e-3, 0.01, 0.1, 0.5, 0.9, 0.99):
        cases += [_case(f"{btype} at {cutoff}", x, cutoff=cutoff, btype=btype) for btype in ("lowpass", "highpass")]
    for cutoff in ([0.01, 0.02], [0.05, 0.9], [0.001, 0.4], [0.3, 0.301], [0.8, 0.99]):
        for btype in ("bandpass", "bandstop"):
            for order in (2, 3):
                name = f"{btype} {cutoff} of order {order}"
                cases.append(_case(name, x, cutoff=cutoff, btype=btype, order=order, tolerance=1e-8))
    cases.append(_case("lowest cutoff", x, cutoff=2e-6, order=1, tolerance=1e-8))
    cases.append(_case("highest cutoff", x, cutoff=2.0 * (0.5 - 1e-6), btype="highpass", order=1, tolerance=1e-8))
    cases.append(_case("narrowest band", x, cutoff=[0.5, 0.5 + 2.1e-6], btype="bandpass", order=1, tolerance=1e-8))
    cases.append(_case("hertz", x, cutoff=40, fs=250))
    cases.append(_case("a list of one cutoff", x, cutoff=[40], fs=250.0))
    cases.append(_case("band in hertz", x, cutoff=[0.5, 40], fs=250, btype="bandpass", order=2, tolerance=1e-8))
    cases.append(_case("slow sampling", x, cutoff=3e-7, fs=1e-6))
    cases.append(_case("fast sampling", x, cutoff=2e11, fs=1e12))
    cases.append(_case("whole numbers as floats", x, cutoff=0.25, order=3.0, axis=-1.0, fs=2))
    return cases


def signals() -> list[Json]:
    cases = [_case(f"{n} samples", samples(n), cutoff=0.4) for n in (1, 2, 3, 7, 8, 9, 16, 17, 31, 64, 257)]
    for dtype in ("float32", "float64"):
        cases += [_case(f"{n} of {dtype}", samples(n, dtype), cutoff=0.2, order=3) for n in (1, 9, 40)]
        for lines in (2, 3, 4, 5, 8, 9, 13):
            cases.append(_case(f"{lines} lines of {dtype}", samples((lines, 10), dtype), cutoff=0.3, order=2))
            cases.append(_case(f"{lines} columns of {dtype}", samples((10, lines), dtype), cutoff=0.3, order=2, axis=0))
    cube = samples((2, 5, 3))
    cases += [_case(f"axis {axis} of 3", cube, cutoff=0.3, order=3, axis=axis) for axis in (-3, -2, -1, 0, 1, 2)]
    seven = samples((1, 2, 1, 3, 1, 2, 4), "float32")
    cases += [_case(f"axis {axis} of 7", seven, cutoff=0.3, order=1, axis=axis) for axis in (-7, 3, 6)]
    cases.append(_case("8 lines, longer than a tile", samples((8, 260)), cutoff=0.3, order=1))
    cases.append(_case("no lines", np.zeros((0, 8), np.float32), cutoff=0.3))
    cases.append(_case("no lines behind the axis", np.zeros((4, 0)), cutoff=0.3, axis=0))

    for btype, cutoff in BANDS.items():
        cases.append(_case(f"a constant through {btype}", np.full(40, 2.5), cutoff=cutoff, btype=btype))
        cases.append(_case(f"an impulse through {btype}", np.eye(1, 40)[0], cutoff=cutoff, btype=btype))
    cases.append(_case("zeros", np.zeros(9), cutoff=0.3))
    cases.append(_case("minus zeros", np.full(9, -0.0), cutoff=0.3))
    cases.append(_case("denormal doubles", samples(20) * 1e-310, cutoff=0.3))
    cases.append(_case("denormal floats", (samples(20) * 1e-40).astype(np.float32), cutoff=0.3))
    cases.append(_case("huge doubles", samples(20) * 1e300, cutoff=0.3))
    cases.append(_case("huge floats", (samples(20) * 1e37).astype(np.float32), cutoff=0.3))
    cases.append(_case("floats whose filtered ones overflow", np.full(9, 3.4e38, np.float32), cutoff=0.3))
    for value in (np.nan, np.inf, -np.inf):
        for lines in (1, 3, 9):
            x = samples((lines, 20))
            x[lines // 2, 5] = value
            cases.append(_case(f"{value} in one line of {lines}", x, cutoff=0.3))
    x = samples(20, "float32")
    x[0] = np.nan
    cases.append(_case("NaN in front", x, cutoff=0.3))
    x = samples(20)
    x[19] = np.nan
    cases.append(_case("NaN at the end", x, cutoff=0.3, order=1))
    return cases


def states() -> list[Json]:
    cases = [
        _case("a state", samples(10), samples((2, 2)), cutoff=0.3),
        _case("a state and one sample", samples(1), samples((2, 2)), cutoff=0.3),
        _case("a state of floats' lines", samples((3, 10), "float32"), samples((2, 3, 2)), cutoff=0.3),
        _case("a state of many lines", samples((9, 10)), samples((2, 9, 2)), cutoff=0.3),
        _case("a state of many columns", samples((10, 9)), samples((2, 2, 9)), cutoff=0.3, axis=0),
        _case("a state in the middle", samples((2, 4, 3)), samples((3, 2, 2, 3)), cutoff=0.3, axis=1, order=5),
        _case("a state of a band", samples(10), samples((4, 2)), cutoff=[0.2, 0.5], btype="bandpass"),
        _case("a state that is not a number", samples(10), np.array([[np.nan, 0], [0, 0]]), cutoff=0.3),
        _case("a state of no lines", np.zeros((0, 10)), np.zeros((2, 0, 2)), cutoff=0.3),
    ]
    x = samples(30)
    sections = signal.butter(4, 0.3, output="sos")
    steady = signal.sosfilt_zi(sections) * x[0]
    cases.append(_case("started as if it had always been the first sample", x, steady, cutoff=0.3))
    _, behind = signal.sosfilt(sections, x, zi=steady)
    cases.append(_case("the next chunk", samples(17, seed=5), behind, cutoff=0.3))
    return cases


def zero_phase() -> list[Json]:
    cases = []
    for ftype in ("butter", "cheby1"):
        for btype, cutoff in BANDS.items():
            for order in (1, 2, 3, 4, 7):
                poles = order * (2 if btype.startswith("band") else 1)
                for extra in (1, 6) if order < 4 else (1,):
                    x = samples(3 * (poles + 1) + extra)
                    name = f"{ftype} {btype} of order {order}, {len(x)} samples"
                    params = {"order": order, "cutoff": cutoff, "btype": btype, "ftype": ftype}
                    cases.append(_case(name, x, zero_phase=True, **params))
    cases.append(_case("order 16", samples(60), cutoff=0.4, order=16, zero_phase=True))
    wide = {"cutoff": [0.2, 0.6], "btype": "bandpass", "order": 16, "zero_phase": True}
    cases.append(_case("order 16 of a band", samples(110), **wide, tolerance=1e-8))
    for btype in ("bandpass", "bandstop"):
        for cutoff in ([0.25, 0.75], [0.4, 0.6], [0.05, 0.95]):
            for order in (1, 2, 3, 5):
                name = f"symmetric {btype} {cutoff} of order {order}"
                params = {"order": order, "cutoff": cutoff, "btype": btype}
                cases.append(_case(name, samples(37), zero_phase=True, **params))
    for dtype in ("float32", "float64"):
        for lines in (2, 5, 9):
            x = samples((lines, 14), dtype)
            cases.append(_case(f"{lines} lines of {dtype} both ways", x, cutoff=0.3, order=2, zero_phase=True))
            columns = np.ascontiguousarray(x.T)
            cases.append(
                _case(f"{lines} columns of {dtype} both ways", columns, cutoff=0.3, order=2, axis=0, zero_phase=True)
            )
    cases.append(_case("8 dimensions", samples((1,) * 7 + (9,)), cutoff=0.3, order=1, zero_phase=True))
    cases.append(_case("longer than a tile both ways", samples(270), cutoff=0.05, order=3, zero_phase=True))
    cases.append(_case("no lines both ways", np.zeros((0, 20)), cutoff=0.3, zero_phase=True))
    x = samples((3, 20))
    x[1, 9] = np.nan
    cases.append(_case("NaN both ways", x, cutoff=0.3, order=2, zero_phase=True))
    cases.append(_case("a constant both ways", np.full(30, 2.5), cutoff=0.1, zero_phase=True))
    cases.append(_case("causal when asked", samples(9), cutoff=0.3, zero_phase=False))
    return cases


def refusals() -> list[Json]:
    x = samples(4)
    plain = {"cutoff": 0.3}
    shapes: list[tuple[str, dict[str, NDArray[Any]], Json]] = [
        (f"dtype {dtype}", {"x": np.ones(4, dtype)}, plain) for dtype in ("int64", "float16", "bool", "complex64")
    ]
    shapes += [
        ("0-d", {"x": np.array(1.0)}, plain),
        ("no tensor", {}, plain),
        ("another name", {"y": x}, plain),
        ("no samples", {"x": np.zeros(0)}, plain),
        ("no samples in a batch", {"x": np.zeros((3, 0))}, plain),
        ("8 dimensions, whose state would have 9", {"x": np.zeros((1,) * 8)}, plain),
        ("a state of too few sections", {"x": x, "zi": np.zeros((1, 2))}, plain),
        ("a state of too many sections", {"x": x, "zi": np.zeros((3, 2))}, plain),
        ("a state of three numbers", {"x": x, "zi": np.zeros((2, 3))}, plain),
        ("a state without lines", {"x": samples((3, 4)), "zi": np.zeros((2, 2))}, plain),
        ("a state along another axis", {"x": samples((3, 4)), "zi": np.zeros((2, 2, 4))}, plain),
        ("a state of floats", {"x": x, "zi": np.zeros((2, 2), np.float32)}, plain),
        ("a state of one dimension", {"x": x, "zi": np.zeros(4)}, plain),
        ("too few samples for zero phase", {"x": samples(15)}, {"cutoff": 0.3, "zero_phase": True}),
        (
            "too few samples for a band of zero phase",
            {"x": samples(27)},
            {"cutoff": [0.2, 0.3], "btype": "bandstop", "zero_phase": True},
        ),
    ]
    cases = [refused(name, frame(arrays, params), "invalid_shape") for name, arrays, params in shapes]
    texts = (
        *("{}", '{"cutoff":[]}', '{"cutoff":[0.1,0.2,0.3]}', '{"cutoff":[0.1,0.2]}', '{"cutoff":"0.3"}'),
        *(
            '{"cutoff":0}',
            '{"cutoff":-0.1}',
            '{"cutoff":1}',
            '{"cutoff":1.5}',
            '{"cutoff":1e-6}',
            '{"cutoff":0.9999999}',
        ),
        *('{"cutoff":NaN}', '{"cutoff":1e13}', '{"cutoff":true}', '{"cutoff":null}', '{"cutoff":[[0.3]]}'),
        *('{"cutoff":[0.3,null]}', '{"cutoff":50,"fs":100}', '{"cutoff":51,"fs":100}', '{"cutoff":0.3,"fs":0}'),
        *('{"cutoff":0.3,"fs":-2}', '{"cutoff":0.3,"fs":1e13}', '{"cutoff":0.3,"fs":"2"}', '{"cutoff":0.3,"fs":1e-7}'),
        *('{"cutoff":0.3,"btype":"bandpass"}', '{"cutoff":[0.3],"btype":"bandstop"}', '{"cutoff":0.3,"btype":"low"}'),
        *('{"cutoff":[0.3,0.2],"btype":"bandpass"}', '{"cutoff":[0.3,0.3],"btype":"bandpass"}'),
        *('{"cutoff":[0.3,0.3000001],"btype":"bandstop"}', '{"cutoff":[0,0.3],"btype":"bandpass"}'),
        *('{"cutoff":[0.3,1],"btype":"bandpass"}', '{"cutoff":0.3,"btype":null}', '{"cutoff":0.3,"ftype":"bessel"}'),
        *('{"cutoff":0.3,"ftype":1}', '{"cutoff":0.3,"order":0}', '{"cutoff":0.3,"order":17}'),
        *('{"cutoff":0.3,"order":2.5}', '{"cutoff":0.3,"order":"4"}', '{"cutoff":0.3,"rp":1}'),
        *('{"cutoff":0.3,"ftype":"cheby1","rp":0}', '{"cutoff":0.3,"ftype":"cheby1","rp":41}'),
        *('{"cutoff":0.3,"ftype":"cheby1","rp":"1"}', '{"cutoff":0.3,"axis":1}', '{"cutoff":0.3,"axis":-2}'),
        *('{"cutoff":0.3,"axis":0.5}', '{"cutoff":0.3,"zero_phase":1}', '{"cutoff":0.3,"zero_phase":"yes"}'),
        *('{"cutoff":0.3,"Wn":0.3}', '{"cutoff":0.3,"rs":40}'),
    )
    cases += [refused(f"parameters {text}", parameters_frame(text, {"x": x}), "invalid_parameter") for text in texts]
    content = frame({"x": samples(40), "zi": np.zeros((2, 2))}, {"cutoff": 0.3, "zero_phase": True})
    cases.append(refused("a state with zero phase", content, "invalid_parameter"))
    cases.append(refused("a truncated frame", frame({"x": x}, plain)[:-1], "invalid_frame"))
    return cases
