from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("npufleet._native", reason="the compiled core is not built")

from npufleet import _native as native
from npufleet.errors import (
    InvalidFrameError,
    InvalidParameterError,
    InvalidShapeError,
    UnknownOperationError,
    UnsupportedError,
)
from npufleet.transport import native as transport
from npufleet.transport.options import ConnectOptions
from npufleet.wire import frame
from tests.support.native_stand import SUBJECT, ask, broker, soon

if TYPE_CHECKING:
    from pathlib import Path


def test_execute_runs_an_operation() -> None:
    x = np.random.default_rng(7).standard_normal((3, 1024))
    reply = native.execute("fft", frame.encode({"x": x}, {"n": 512}))
    tensors, _ = frame.decode(reply)
    np.testing.assert_allclose(tensors["y"], np.fft.rfft(x, 512), atol=1e-12)


@pytest.mark.parametrize(
    ("operation", "tensors", "params", "error"),
    [
        ("ftt", {"x": np.ones(4)}, {}, UnknownOperationError),
        ("fft", {"x": np.ones(4)}, {"norm": "foo"}, InvalidParameterError),
        ("fft", {"y": np.ones(4)}, {}, InvalidShapeError),
        ("fft", {"x": np.ones(4, np.float16)}, {}, UnsupportedError),
    ],
)
def test_execute_raises_what_a_worker_would_answer(
    operation: str, tensors: dict[str, np.ndarray], params: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        native.execute(operation, frame.encode(tensors, params))


def test_execute_refuses_what_is_no_frame() -> None:
    with pytest.raises(InvalidFrameError):
        native.execute("echo", b"not a frame")


def test_execute_lets_other_threads_run() -> None:
    held = frame.encode({}, {"delay": 0.2})
    thread = threading.Thread(target=native.execute, args=("echo", held))
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += 1
    thread.join()
    assert turns > 1000


def test_worker_options_are_checked() -> None:
    with pytest.raises(InvalidParameterError):
        native.run_worker('{"urk": "nats://127.0.0.1"}')
    with pytest.raises(InvalidParameterError):
        native.run_worker("not json")


WORKER = """
import signal, sys
from npufleet import _native
before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
_native.run_worker(sys.argv[1])
assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    async with broker(tmp_path) as server:
        url = f"nats://127.0.0.1:{server.port}"
        options = json.dumps({"url": url, "json": True, "executors": 1})
        process = subprocess.Popen(  # noqa: ASYNC220 - its lines are few and read in between
            [sys.executable, "-c", WORKER, options], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        try:
            assert process.stdout is not None
            events = (json.loads(line) for line in process.stdout)
            assert "ready" in iter(event["event"] for event in events)
            fleet = await transport.open(ConnectOptions(url=url))
            request = frame.encode({"x": np.arange(3.0)}, {})
            reply = await ask(fleet, SUBJECT, request, soon())
            assert reply.header("Npu-Engine") == "rust"
            np.testing.assert_array_equal(frame.decode(reply.payload)[0]["x"], np.arange(3.0))
            await fleet.close()
            process.send_signal(number)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.communicate()
