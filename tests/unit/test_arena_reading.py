"""Claims into arenas of others: the golden ones, forged ones, and files that change while they are read."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npufleet.errors import PayloadLostError
from npufleet.payload import layout, peers
from npufleet.payload.arena import Arena
from npufleet.payload.layout import Entry
from npufleet.payload.peers import ElsewhereError, Peers
from npufleet.wire.claim import Claim
from tests.contract.vectors import CONTRACT, cases
from tests.support.arena_stand import IDENTITY, outcome, receiver, write_case

FRAME = os.urandom(10_000)


@pytest.mark.parametrize("case", cases("arena", "headers"))
def test_golden_headers(case: dict[str, Any]) -> None:
    content = bytes.fromhex(case["hex"])
    assert layout.header(bytes.fromhex(case["id"]), case["limit"]) == content
    assert layout.identity_of(content) == bytes.fromhex(case["id"])
    assert len(content) == layout.HEADER_BYTES


@pytest.mark.parametrize("case", cases("arena", "entries"))
def test_golden_entries(case: dict[str, Any]) -> None:
    entry = Entry(case["start"], case["capacity"], case["generation"], case["receiver"])
    assert entry.encode() == bytes.fromhex(case["hex"])
    assert Entry.decode(bytes.fromhex(case["hex"])) == entry
    assert layout.entry_at(case["slot"]) == case["at"]
    assert entry.is_valid()


@pytest.mark.parametrize("case", cases("arena", "claims"))
@pytest.mark.parametrize("way", ["read", "take"])
def test_golden_claims(folder: Path, case: dict[str, Any], way: str) -> None:
    write_case(folder, case)
    expected = case["outcome"], None if case["hex"] is None else bytes.fromhex(case["hex"])
    assert outcome(getattr(Peers(folder), way), case["claim"]) == expected


def test_the_constants_are_those_of_the_contract() -> None:
    arena = CONTRACT["arena"]
    assert CONTRACT["payload"] == {
        "inline_bytes": 4096,
        "python_inline_bytes": layout.INLINE_BYTES,
        "channel_bytes": layout.CHANNEL_BYTES,
    }
    ours = (layout.SLOTS, layout.TABLE_AT, layout.ENTRY_BYTES, layout.DATA_AT, layout.SMALLEST, layout.LARGEST)
    assert ours == tuple(arena[name] for name in ("slots", "table_at", "entry_bytes", "data_at", "smallest", "largest"))
    assert (arena["limit"], arena["grace"] / 1e6) == (layout.LIMIT, layout.GRACE_S)
    assert layout.DATA_AT == layout.TABLE_AT + layout.SLOTS * layout.ENTRY_BYTES


@pytest.mark.parametrize("length", [1, 4096, 4097, 2**28 - 1, 2**28])
def test_a_capacity_is_the_next_power_of_two(length: int) -> None:
    capacity = layout.capacity_for(length)
    assert capacity is not None
    assert length <= capacity <= max(2 * length - 1, 4096)
    assert capacity.bit_count() == 1


@pytest.mark.parametrize("length", [0, -1, 2**28 + 1])
def test_what_no_slot_takes_has_no_capacity(length: int) -> None:
    assert layout.capacity_for(length) is None


WORDS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 4096, 528384, 528384 + 4096, 2**28, 2**63, 2**64 - 4096])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entry=st.tuples(WORDS, WORDS, st.just(1) | WORDS, WORDS),
    slot=st.integers(0, 20_000),
    generation=st.just(1) | WORDS,
    length=st.integers(0, 5000) | st.integers(0, 2**40),
    size=st.sampled_from([0, 48, 528384, 528384 + 4096, 528384 + 2**16]),
)
def test_forged_entries_give_the_bytes_they_name_or_an_error(
    folder: Path, entry: tuple[int, int, int, int], slot: int, generation: int, length: int, size: int
) -> None:
    content = bytes(range(256)) * 256
    pieces = [{"at": 528384, "hex": content.hex()}]
    rows = [{"slot": slot, "hex": struct.pack("<4Q", *entry).hex()}] if slot < 16384 else []
    header = layout.header(IDENTITY, 0).hex()
    write_case(folder, {"header": header, "entries": rows, "size": size, "content": pieces})
    claim = Claim(IDENTITY, slot, generation, length)
    for read in (Peers(folder).read, Peers(folder).take):
        word, found = outcome(read, str(claim))
        if word == "ok":
            start, _, written, _ = entry
            assert (written, len(found or b"")) == (generation, length)
            assert found == content[start - 528384 :][:length]
        else:
            assert word in {"elsewhere", "invalid_frame", "payload_lost"}


def test_an_arena_that_is_not_here_is_looked_for_again_after_a_moment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Peers(folder)
    assert reader.find(IDENTITY) is None
    write_case(folder, {"header": layout.header(IDENTITY, 0).hex(), "entries": [], "size": 528384, "content": []})
    assert Peers(folder).find(IDENTITY) is not None
    assert reader.find(IDENTITY) is None
    monkeypatch.setattr(peers, "ABSENT_S", 0.0)
    assert reader.find(IDENTITY) is not None


@given(st.text(max_size=100) | st.from_regex(CONTRACT["claim"]["pattern"], fullmatch=True))
def test_any_text_is_a_claim_of_nothing_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    assert outcome(Peers(None).read, text)[0] in {"elsewhere", "invalid_frame"}


@given(st.binary(max_size=64))
def test_any_bytes_are_a_header_or_not(content: bytes) -> None:
    assert layout.identity_of(content) is None


def test_a_frame_that_is_replaced_while_it_is_read_is_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, reader = Arena(folder), Peers(folder)
    slot = owner.put([FRAME])
    assert slot is not None
    pread = os.pread

    def slow(descriptor: int, count: int, at: int) -> bytes:
        if count == len(FRAME):
            slot.free()
            assert owner.put([bytes(10_000)]) is not None
        return pread(descriptor, count, at)

    monkeypatch.setattr(os, "pread", slow)
    with pytest.raises(PayloadLostError, match="taken back"):
        reader.read(slot.claim)


def test_a_file_that_is_cut_short_while_it_is_read_is_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, reader = Arena(folder), Peers(folder)
    slot = owner.put([FRAME])
    assert slot is not None
    pread = os.pread

    def cutting(descriptor: int, count: int, at: int) -> bytes:
        if count == len(FRAME):
            os.truncate(folder / slot.claim.arena.hex(), 528384 + 100)
        return pread(descriptor, count, at)

    monkeypatch.setattr(os, "pread", cutting)
    with pytest.raises(PayloadLostError):
        reader.read(slot.claim)
    os.truncate(folder / slot.claim.arena.hex(), 0)
    with pytest.raises(ElsewhereError):
        reader.read(slot.claim)


def test_a_reply_is_taken_before_it_is_looked_at_and_then_released(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, reader = Arena(folder), Peers(folder)
    slot = owner.put([FRAME])
    assert slot is not None
    claim, seen = slot.claim, []
    pread = os.pread

    def watched(descriptor: int, count: int, at: int) -> bytes:
        if count == len(FRAME):
            seen.append(receiver(folder, claim))
        return pread(descriptor, count, at)

    monkeypatch.setattr(os, "pread", watched)
    assert reader.take(claim) == FRAME
    assert seen == [2 * claim.generation]
    assert receiver(folder, claim) == 2 * claim.generation + 1


def test_a_stale_claim_writes_no_word(folder: Path) -> None:
    owner, reader = Arena(folder), Peers(folder)
    first = owner.put([FRAME])
    assert first is not None
    first.free()
    second = owner.put([FRAME])
    assert second is not None
    assert second.claim.slot == first.claim.slot
    with pytest.raises(PayloadLostError):
        reader.take(first.claim)
    reader.release(first.claim)
    assert receiver(folder, second.claim) == 0
    reader.release(second.claim)
    assert receiver(folder, second.claim) == 2 * second.claim.generation + 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o606])
def test_a_file_that_others_may_open_is_none_of_ours(folder: Path, mode: int) -> None:
    owner = Arena(folder)
    slot = owner.put([FRAME])
    assert slot is not None
    (folder / slot.claim.arena.hex()).chmod(mode)
    with pytest.raises(ElsewhereError):
        Peers(folder).read(slot.claim)


def test_a_folder_that_others_may_look_into_holds_no_arena(folder: Path) -> None:
    owner = Arena(folder)
    slot = owner.put([FRAME])
    assert slot is not None
    folder.chmod(0o755)
    with pytest.raises(ElsewhereError):
        Peers(folder).read(slot.claim)
    other = Arena(folder)
    assert other.put([FRAME]) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_none_of_ours(folder: Path) -> None:
    owner = Arena(folder)
    slot = owner.put([FRAME])
    assert slot is not None
    os.chown(folder / slot.claim.arena.hex(), 12345, 12345)
    with pytest.raises(ElsewhereError):
        Peers(folder).read(slot.claim)


def test_links_and_pipes_are_no_arenas(folder: Path) -> None:
    owner = Arena(folder)
    slot = owner.put([FRAME])
    assert slot is not None
    file = folder / slot.claim.arena.hex()
    file.rename(folder / "moved")
    file.symlink_to(folder / "moved")
    with pytest.raises(ElsewhereError):
        Peers(folder).read(slot.claim)
    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.raises(ElsewhereError):
        Peers(folder).read(slot.claim)


def test_only_so_many_arenas_stay_open(folder: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader = Peers(folder)
    header = layout.header
    for number in range(100):
        identity = number.to_bytes(16, "big")
        case = {"header": header(identity, 0).hex(), "entries": [], "size": layout.DATA_AT, "content": []}
        write_case(folder, case, identity.hex())
        assert reader.find(identity) is not None
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 64
    reader.sweep()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert list(folder.iterdir()) != []
    reader.close()
