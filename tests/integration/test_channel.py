"""The payload channel: each engine's owner with each engine's asker."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import psutil
import pytest
import zmq
from zmq.utils import z85

from npufleet.errors import (
    DeadlineExceededError,
    InvalidFrameError,
    InvalidParameterError,
    PayloadLostError,
    PayloadTooLargeError,
    UnavailableError,
)
from npufleet.payload.channel import message
from npufleet.payload.channel.endpoint import Endpoint
from npufleet.payload.channel.message import CHUNK_BYTES
from npufleet.wire.claim import Claim
from tests.support.channel_stand import (
    ARENA,
    LARGE,
    LIMIT,
    SMALL,
    Shelf,
    asker,
    claim,
    fetch,
    owner,
    owner_again,
    pattern,
    peer,
)
from tests.support.waiting import wait_until as until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

without_core = os.environ.get("NPUFLEET_NATIVE") == "off" or importlib.util.find_spec("npufleet._native") is None
needs_core = pytest.mark.skipif(without_core, reason="no compiled core")
ENGINES = ["python", pytest.param("rust", marks=needs_core)]
LENDS = pytest.mark.parametrize("lends", ENGINES)
ASKS = pytest.mark.parametrize("asks", ENGINES)

WEAK_KEYS = ("00" * 32, "01" + "00" * 31, "ff" * 32)
"""Points of small order and one beyond the field, with which a shared secret cannot be made."""


@LENDS
@ASKS
@pytest.mark.parametrize("security", ["auto", "curve"])
def test_frames_of_every_size_arrive(lends: str, asks: str, security: str) -> None:
    shelf = Shelf()
    with owner(lends, shelf, security) as address, asker(asks) as fetcher:
        assert (";" in address) == (security == "curve")
        for size in (0, 1, 33, 4097, CHUNK_BYTES, CHUNK_BYTES + 1, 20 * CHUNK_BYTES + 12345):
            assert fetch(fetcher, address, shelf.put(1, size)) == pattern(size)


@LENDS
@ASKS
@pytest.mark.slow
def test_the_largest_frame_arrives(lends: str, asks: str) -> None:
    shelf = Shelf()
    with owner(lends, shelf) as address, asker(asks) as fetcher:
        wanted = shelf.put(1, 256 * 2**20)
        assert fetch(fetcher, address, wanted) == shelf.frames[1]


@LENDS
@ASKS
def test_what_is_not_there_is_refused_and_the_connection_goes_on(lends: str, asks: str) -> None:
    shelf = Shelf()
    with owner(lends, shelf) as address, asker(asks) as fetcher:
        there = shelf.put(1, 100)
        for wrong in (claim(2, 100), claim(1, 100, generation=2), claim(1, 99), Claim(bytes(16), 1, 1, 100)):
            with pytest.raises(PayloadLostError):
                fetch(fetcher, address, wrong)
        with pytest.raises(PayloadTooLargeError):
            fetch(fetcher, address, claim(1, LIMIT + 1))
        for nonsense in ("nonsense", "tcp://localhost:1", "ipc:///etc/passwd"):
            with pytest.raises(InvalidFrameError):
                fetch(fetcher, nonsense, there)
        assert fetch(fetcher, address, there, release=True) == pattern(100)
        until(lambda: shelf.released == [1])
        with pytest.raises(PayloadLostError):
            fetch(fetcher, address, there)


@LENDS
@ASKS
def test_keys_that_do_not_fit_are_said_to_be_it(lends: str, asks: str) -> None:
    shelf = Shelf()
    wanted = shelf.put(1, 10)
    with owner(lends, shelf, "curve") as sealed, owner(lends, shelf, "curve") as other, asker(asks) as fetcher:
        place, _, _ = sealed.partition(";")
        key = other.partition(";")[2]
        with pytest.raises(PayloadLostError, match="the key is not its key"):
            fetch(fetcher, f"{place};{key}", wanted)
        with pytest.raises(PayloadLostError, match="CURVE"):
            fetch(fetcher, place, wanted)
        with owner(lends, shelf, "plain") as plain, pytest.raises(PayloadLostError, match="CURVE"):
            fetch(fetcher, f"{plain};{key}", wanted)
        with pytest.raises(InvalidFrameError, match="key"):
            fetch(fetcher, f"{place};{'#' * 40}", wanted)
        assert fetch(fetcher, sealed, wanted) == pattern(10)


@LENDS
@ASKS
@pytest.mark.parametrize("key", WEAK_KEYS)
def test_forged_keys_that_are_weak_points_end_nobody(lends: str, asks: str, key: str) -> None:
    shelf = Shelf()
    wanted = shelf.put(1, 10)
    with owner(lends, shelf, "curve") as address, asker(asks) as fetcher:
        with pytest.raises(PayloadLostError):
            fetch(fetcher, f"{address.partition(';')[0]};{z85.encode(bytes.fromhex(key)).decode()}", wanted)
        assert fetch(fetcher, address, wanted) == pattern(10)


@LENDS
def test_beyond_loopback_it_is_curve_or_asked_for_by_name(lends: str) -> None:
    with pytest.raises(InvalidParameterError, match="nobody can connect"), owner(lends, Shelf(), "auto", "tcp://*:*"):
        pass
    with pytest.raises(InvalidParameterError, match="allowed: auto, curve, plain"), owner(lends, Shelf(), "none"):
        pass
    with pytest.raises(InvalidParameterError, match="allowed: tcp://"), owner(lends, Shelf(), "auto", "ipc://x"):
        pass
    outside = Endpoint.towards("192.0.2.1", 9).host  # an address that nobody has; nothing is sent there
    if outside.startswith("127."):
        pytest.skip("this machine has the loopback interface alone")
    with owner(lends, Shelf(), "auto", f"tcp://{outside}:*") as address:
        assert ";" in address
    with owner(lends, Shelf(), "plain", f"tcp://{outside}:*") as address:
        assert ";" not in address


@LENDS
def test_a_taken_port_is_said_to_be_it(lends: str) -> None:
    with (
        owner(lends, Shelf()) as address,
        pytest.raises(UnavailableError, match="in use"),
        owner(lends, Shelf(), "auto", address),
    ):
        pass


@LENDS
@ASKS
def test_small_frames_pass_a_large_one(lends: str, asks: str) -> None:
    shelf = Shelf()
    small, large = shelf.put(1, 4096), shelf.put(2, 200 * CHUNK_BYTES)
    order: list[str] = []
    with owner(lends, shelf) as address, asker(asks) as fetcher:

        def fetch_large() -> None:
            fetch(fetcher, address, large, timeout=50)
            order.append("large")

        fetch(fetcher, address, small)
        thread = threading.Thread(target=fetch_large)
        thread.start()
        while thread.is_alive() and len(order) < 5:
            fetch(fetcher, address, small)
            order.append("small")
        thread.join()
    assert order.index("large") >= 3


@pytest.fixture(params=ENGINES)
def lender(request: pytest.FixtureRequest) -> Iterator[tuple[psutil.Process, str]]:
    with peer("owner", request.param, "curve") as (process, said):
        yield psutil.Process(process.pid), said["address"]


@ASKS
def test_an_owner_that_is_killed_is_a_lost_frame_at_once(lender: tuple[psutil.Process, str], asks: str) -> None:
    process, address = lender
    with asker(asks) as fetcher:
        assert fetch(fetcher, address, claim(SMALL, 5000)) == pattern(5000)
        process.kill()
        with pytest.raises(PayloadLostError, match=r"nobody listens|refused the handshake|were lost"):
            fetch(fetcher, address, claim(LARGE, 40 * CHUNK_BYTES + 77))


@ASKS
def test_an_owner_killed_in_the_middle_never_gives_a_wrong_frame(lender: tuple[psutil.Process, str], asks: str) -> None:
    process, address = lender
    size = 40 * CHUNK_BYTES + 77
    killer = threading.Timer(0.3, process.kill)
    killer.start()
    with asker(asks) as fetcher, pytest.raises(PayloadLostError):  # noqa: PT012 - until it is killed
        while True:
            assert fetch(fetcher, address, claim(LARGE, size)) == pattern(size)
    killer.join()


@ASKS
def test_an_owner_that_stalls_costs_the_deadline_and_goes_on_later(
    lender: tuple[psutil.Process, str], asks: str
) -> None:
    process, address = lender
    with asker(asks) as fetcher:
        fetch(fetcher, address, claim(SMALL, 5000))
        process.send_signal(signal.SIGSTOP)
        until(lambda: process.status() == psutil.STATUS_STOPPED)
        with pytest.raises(DeadlineExceededError):
            fetch(fetcher, address, claim(SMALL, 5000), timeout=0.3)
        process.send_signal(signal.SIGCONT)
        assert fetch(fetcher, address, claim(SMALL, 5000)) == pattern(5000)


@LENDS
@ASKS
def test_an_owner_restarted_on_the_same_port_knows_nothing_of_the_claim(lends: str, asks: str) -> None:
    shelf, other = Shelf(), Shelf()
    wanted, own = shelf.put(1, 100), other.put(2, 50)
    with asker(asks) as fetcher:
        with owner(lends, shelf) as address:
            fetch(fetcher, address, wanted)
        with owner_again(lends, other, address):
            with pytest.raises(PayloadLostError, match="another frame"):
                fetch(fetcher, address, wanted)
            assert fetch(fetcher, address, own) == pattern(50)


@LENDS
@ASKS
def test_an_asker_that_is_killed_leaves_nothing_open(lends: str, asks: str) -> None:
    shelf = Shelf()
    shelf.put(SMALL, 5000)
    shelf.put(LARGE, 40 * CHUNK_BYTES + 77)
    with owner(lends, shelf) as address:
        port = Endpoint.parse(address).port

        def connected() -> int:
            all_of_mine = psutil.Process().net_connections("tcp")
            return sum(each.laddr.port == port and each.status == "ESTABLISHED" for each in all_of_mine)

        with peer("asker", asks, address) as (process, _):
            assert connected() == 1
            process.kill()
            until(lambda: not connected())
        with asker(asks) as fetcher:
            assert fetch(fetcher, address, claim(SMALL, 5000)) == pattern(5000)


@LENDS
def test_forged_requests_are_refused_and_credit_is_kept_to(lends: str) -> None:
    shelf = Shelf()
    wanted = shelf.put(1, 10 * CHUNK_BYTES)
    with owner(lends, shelf) as address, zmq.Context() as context, context.socket(zmq.DEALER) as forger:
        forger.linger = 0
        forger.connect(address)

        def hear() -> tuple[message.Answer | None, int]:
            assert forger.poll(20_000)
            head, *rest = forger.recv_multipart()
            return message.decode_answer(head), sum(map(len, rest))

        def data(transfer: int, chunk: int) -> message.Data:
            return message.Data(transfer, chunk * CHUNK_BYTES, wanted.length)

        request = message.Fetch(5, wanted, 2, 0, 60_000_000).encode()
        for parts in ([b"nonsense"], [request, b"more"], [b""]):
            forger.send_multipart(parts)
            assert hear()[0] == message.Refused(0, InvalidFrameError.code)
        forger.send(request)
        assert hear() == (data(5, 0), CHUNK_BYTES)
        assert hear() == (data(5, 1), CHUNK_BYTES)
        assert not forger.poll(100)
        forger.send(request)
        assert hear()[0] == message.Refused(5, InvalidFrameError.code)
        forger.send(message.More(5, 1).encode())
        assert hear() == (data(5, 2), CHUNK_BYTES)
        forger.send(message.Stop(5).encode())
        forger.send(message.More(5, 1).encode())
        forger.send(message.Release(ARENA, 1, 2).encode())
        forger.send(message.Fetch(6, wanted, 1, 9 * CHUNK_BYTES, 1_000_000).encode())
        assert hear() == (data(6, 9), CHUNK_BYTES)
        assert not shelf.released


def tell(router: zmq.Socket[bytes], lie: Callable[[int], list[bytes]], done: threading.Event) -> None:
    while not done.is_set():
        if router.poll(20):
            asked_by, asked = router.recv_multipart()
            router.send_multipart([asked_by, *lie(message.transfer_of(asked))])


@ASKS
def test_answers_that_are_none_are_lost_frames(asks: str) -> None:
    large = 3 * CHUNK_BYTES

    def head(transfer: int, offset: int, length: int) -> bytes:
        return message.Data(transfer, offset, length).encode()

    lies: list[tuple[int, Callable[[int], list[bytes]]]] = [
        (10, lambda _: [b"nonsense"]),
        (10, lambda n: [head(n, 0, 10)]),
        (10, lambda n: [head(n, 0, 10), bytes(9)]),
        (10, lambda n: [head(n, 0, 10), bytes(11)]),
        (10, lambda n: [head(n, 0, 11), bytes(11)]),
        (10, lambda n: [head(n, 5, 10), bytes(5)]),
        (10, lambda n: [head(n, 0, 10), bytes(10), b"more"]),
        (large, lambda n: [head(n, 0, large), b""]),
        (large, lambda n: [head(n, 0, large), bytes(CHUNK_BYTES + 4096)]),
    ]
    for length, lie in lies:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router, asker(asks) as fetcher:
            router.linger = 0
            router.bind("tcp://127.0.0.1:*")

            done = threading.Event()
            thread = threading.Thread(target=tell, args=(router, lie, done))
            thread.start()
            with pytest.raises(PayloadLostError):
                fetch(fetcher, router.last_endpoint.decode(), claim(1, length))
            done.set()
            thread.join()


@ASKS
def test_a_mute_listener_costs_the_deadline_and_no_more(asks: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        asker(asks) as fetcher,
        pytest.raises(DeadlineExceededError),
    ):
        fetch(fetcher, f"tcp://127.0.0.1:{mute.getsockname()[1]}", claim(1, 10), timeout=0.2)


@pytest.mark.parametrize("times", [500, pytest.param(10_000, marks=pytest.mark.slow)])
@LENDS
@ASKS
def test_transfers_leave_nothing_behind(lends: str, asks: str, times: int) -> None:
    shelf = Shelf()
    small, large = shelf.put(1, 100), shelf.put(2, 2 * CHUNK_BYTES)
    me = psutil.Process()
    with owner(lends, shelf) as address, asker(asks) as fetcher:
        for wanted in (small, large):
            fetch(fetcher, address, wanted)
        # libzmq's own threads stay.
        fetch_from_another(lends, asks, shelf, small)
        before = me.num_fds(), me.num_threads()
        for turn in range(times):
            fetch(fetcher, address, large if turn % 20 == 0 else small)
        # What earlier tests closed may still be going.
        assert me.num_fds() <= before[0]
        assert me.num_threads() <= before[1]
        for _ in range(20):
            fetch_from_another(lends, asks, shelf, small)
        until(lambda: me.num_fds() <= before[0] and me.num_threads() <= before[1])


def fetch_from_another(lends: str, asks: str, shelf: Shelf, wanted: Claim) -> None:
    with owner(lends, shelf, "curve") as address, asker(asks) as fetcher:
        assert fetch(fetcher, address, wanted) == shelf.frames[wanted.slot]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@LENDS
@ASKS
def test_a_forked_child_has_connections_of_its_own(lends: str, asks: str) -> None:
    shelf = Shelf()
    wanted = shelf.put(1, 5000)
    with contextlib.ExitStack() as opened, asker(asks) as fetcher:
        address = opened.enter_context(owner(lends, shelf))
        fetch(fetcher, address, wanted)
        child = os.fork()
        if child == 0:
            try:
                arrived = fetch(fetcher, address, wanted) == pattern(5000)
                opened.close()  # the parent's owner goes on
                os._exit(0 if arrived else 2)
            except BaseException as error:  # noqa: BLE001 - there is no test to report it
                print(repr(error), file=sys.stderr)
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert fetch(fetcher, address, wanted) == pattern(5000)
