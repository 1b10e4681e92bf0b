"""Parts of the SDK that need no broker: addresses, the coarse timer, model files, cutting rows."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import InvalidParameterError, model_files, rows
from npufleet.control import Control
from npufleet.transport import ConnectOptions
from npufleet.transport.sweep import COARSENESS_S, Sweep

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "shown", "full", "inbox"),
    [
        ("nats://h", "nats://h:4222", "nats://h:4222", "_INBOX"),
        ("h:1", "nats://h:1", "nats://h:1", "_INBOX"),
        ("tls://h", "tls://h:4222", "tls://h:4222", "_INBOX"),
        ("nats://[::1]:5", "nats://[::1]:5", "nats://[::1]:5", "_INBOX"),
        ("nats://u:p@h:1", "nats://h:1", "nats://u:p@h:1", "_INBOX_u"),
        ("nats://u:p%2F%40@h:1", "nats://h:1", "nats://u:p%2F%40@h:1", "_INBOX_u"),
        ("nats://a.b:p@h:1", "nats://h:1", "nats://a.b:p@h:1", "_INBOX"),
        ("nats://t0ken@h:1", "nats://h:1", "nats://t0ken@h:1", "_INBOX"),
    ],
)
def test_an_address_is_taken_apart(url: str, shown: str, full: str, inbox: str) -> None:
    options = ConnectOptions(url)
    assert (options.url, options.full_url, options.inbox_prefix) == (shown, full, inbox)


def test_what_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPUFLEET_URL", "nats://elsewhere:1")
    monkeypatch.setenv("NPUFLEET_USER", "ann")
    monkeypatch.setenv("NPUFLEET_PASSWORD", "secret")
    monkeypatch.setenv("NPUFLEET_NAME", "not an option of the environment")
    options = ConnectOptions.from_environment(url="nats://here:2", user=None)
    assert (options.url, options.user, options.password) == ("nats://here:2", "ann", "secret")
    assert options.name == "npufleet-sdk"


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    certificate.touch()
    with pytest.raises(InvalidParameterError, match="tls_key"):
        ConnectOptions(tls_certificate=str(certificate))


async def test_the_timer_sweeps_once_for_moments_that_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[float] = []
    done = asyncio.Event()
    moments = [time.monotonic() + 0.02 + number / 1000 for number in range(10)]

    def sweep() -> float | None:
        now = time.monotonic()
        swept.append(now)
        left = [moment for moment in moments if moment > now]
        if not left:
            done.set()
        return min(left, default=None)

    timer = Sweep(asyncio.get_running_loop(), sweep)
    for moment in moments:
        timer.at(moment)
    await asyncio.wait_for(done.wait(), 5)
    assert swept[0] >= moments[0]
    assert len(swept) <= 3, "moments within one grain are swept together"
    assert all(later - earlier >= COARSENESS_S * 0.9 for earlier, later in pairwise(swept))
    timer.stop()
    assert timer.next == float("inf")


async def test_an_earlier_moment_moves_the_timer() -> None:
    done = asyncio.Event()
    timer = Sweep(asyncio.get_running_loop(), done.set)
    timer.at(time.monotonic() + 1000)
    timer.at(time.monotonic() + 0.01)
    await asyncio.wait_for(done.wait(), 5)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x08\x08\x3a\x02\x0a\x00", "onnx"),
        (b'<?xml version="1.0"?>\n<net name="x" version="11">', "ir"),
        (b'<?xml version="1.0"?>\n<!-- note -->\n<net name="x">', "ir"),
    ],
)
def test_a_format_is_known_by_the_content(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "model.dat"
    path.write_bytes(content)
    path.with_suffix(".bin").touch()
    assert model_files.find(path)[0] == kind


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        b"\x08\x08",
        b"\x3a\xff\xff\xff\xff\x0f",
        b"\x3a\x05ab",
        b"\x08\x08\x7b\x00",
        b"<html>",
        b"\xff" * 99,
    ],
    ids=["empty", "cut", "no graph", "length past the end", "cut graph", "unknown field", "html", "ones"],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidParameterError, match="neither ONNX nor OpenVINO IR"):
        model_files.find(path)


def arrays(count: int, width: int) -> dict[str, Any]:
    return {"x": np.zeros((count, width), np.uint8)}


@pytest.mark.parametrize(
    ("given", "max_payload", "limit", "expected"),
    [
        (arrays(10, 100), 1 << 20, None, rows.BYTES_PER_REQUEST // 100),
        (arrays(10, 100), 1 << 20, 7, 7),
        (arrays(10, 100), rows.HEADER_ROOM + 1000, None, 10),
        (arrays(10, 1 << 21), 1 << 20, None, 1),
        (arrays(0, 100), 1 << 20, None, rows.BYTES_PER_REQUEST),
        (arrays(10, 0), 1 << 20, None, rows.BYTES_PER_REQUEST),
    ],
)
def test_rows_per_request(given: dict[str, Any], max_payload: int, limit: int | None, expected: int) -> None:
    assert rows.rows_per_request(given, max_payload, limit) == expected


async def test_a_control_connection_that_was_never_opened_is_closed() -> None:
    await Control(ConnectOptions()).close()
