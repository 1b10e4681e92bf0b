"""`map`: many rows in few requests, answers in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet, InvalidParameterError, InvalidShapeError, PayloadTooLargeError, UnsupportedError
from npufleet.wire import frame
from tests.support.responder import failing, respond

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from tests.support.responder import Responder
    from tests.support.worker_stand import Broker


async def test_rows_come_back_in_order(fleet: AsyncFleet) -> None:
    rows = np.random.default_rng(0).standard_normal((1000, 64))
    spectra = await fleet.map("fft", rows, {"norm": "ortho"}, rows_per_request=7, concurrency=8)
    assert isinstance(spectra, np.ndarray)
    np.testing.assert_allclose(spectra, np.fft.rfft(rows, norm="ortho"), atol=1e-12)
    assert fleet.statistics().calls == -(-1000 // 7)


async def test_requests_are_bounded_by_bytes(fleet: AsyncFleet) -> None:
    rows = np.zeros((64, fleet.max_payload // 32), np.uint8)
    echoed = await fleet.map("echo", {"x": rows})
    assert isinstance(echoed, dict)
    assert echoed["x"].shape == rows.shape
    assert 2 <= fleet.statistics().calls <= 64


async def test_a_mapping_gives_a_mapping_with_every_output(fleet: AsyncFleet) -> None:
    rows = {"a": np.arange(10), "b": np.arange(20.0).reshape(10, 2)}
    echoed = await fleet.map("echo", rows, rows_per_request=3)
    assert isinstance(echoed, dict)
    assert all(np.array_equal(echoed[name], rows[name]) for name in rows)


async def test_no_rows_are_one_request_with_no_rows(fleet: AsyncFleet) -> None:
    spectra = await fleet.map("fft", np.empty((0, 8)))
    assert isinstance(spectra, np.ndarray)
    assert spectra.shape == (0, 5)


REFUSED: dict[str, tuple[type[Exception], tuple[Any, ...], dict[str, Any]]] = {
    "one line": (InvalidShapeError, ("fft", np.zeros(8)), {}),
    "0-d": (InvalidShapeError, ("echo", {"x": np.array(1)}), {}),
    "lengths differ": (InvalidShapeError, ("echo", {"x": np.zeros(2), "y": np.zeros(3)}), {}),
    "nothing": (InvalidShapeError, ("echo", {}), {}),
    "axis of the rows": (InvalidParameterError, ("fft", np.zeros((4, 8)), {"axis": 0}), {}),
    "axis of the rows from the end": (InvalidParameterError, ("fft", np.zeros((4, 8)), {"axis": -2}), {}),
    "concurrency": (InvalidParameterError, ("fft", np.zeros((4, 8))), {"concurrency": 0}),
    "rows per request": (InvalidParameterError, ("fft", np.zeros((4, 8))), {"rows_per_request": 0}),
    "parameter": (InvalidParameterError, ("fft", np.zeros((4, 8)), {"nrom": 1}), {}),
}


@pytest.mark.parametrize(("error", "given", "options"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_cannot_be_cut_into_rows_is_refused(
    fleet: AsyncFleet, error: type[Exception], given: tuple[Any, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(error) as refused:
        await fleet.map(*given, **options)
    assert type(refused.value) is error


@pytest.mark.usefixtures("without_arena")
async def test_a_row_that_fits_into_no_message_is_too_large(fleet: AsyncFleet) -> None:
    with pytest.raises(PayloadTooLargeError):
        await fleet.map("echo", {"x": np.zeros((2, fleet.max_payload), np.uint8)})


async def test_requests_whose_answers_do_not_fit_are_halved(broker: Broker, transport: str) -> None:
    largest = 0

    async def small_answers_only(responder: Responder, message: Msg) -> None:
        nonlocal largest
        rows = len(frame.decode(message.data)[0]["x"])
        if rows > 3:
            await responder.fail(message, "payload_too_large")
        else:
            largest = max(largest, rows)
            await responder.echo(message)

    async with (
        AsyncFleet.connect(broker.url, transport=transport, prefix="halves") as fleet,
        respond(broker.url, "call", small_answers_only, prefix="halves"),
    ):
        echoed = await fleet.map("echo", {"x": np.arange(25)})
    assert isinstance(echoed, dict)
    assert echoed["x"].tolist() == list(range(25))
    assert largest == 3


async def test_the_first_error_ends_it(broker: Broker, transport: str) -> None:
    async with (
        AsyncFleet.connect(broker.url, transport=transport, prefix="fails") as fleet,
        respond(broker.url, "call", failing("unsupported"), prefix="fails") as rust,
    ):
        with pytest.raises(UnsupportedError):
            await fleet.map("echo", {"x": np.arange(1000)}, rows_per_request=1, concurrency=2)
    assert len(rust.heard) < 10
