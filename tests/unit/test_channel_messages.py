"""The channel's messages and addresses: the golden ones, and bytes and texts of any kind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npufleet.errors import BY_KIND, InvalidFrameError
from npufleet.payload.channel import message
from npufleet.payload.channel.address import Address
from npufleet.wire.claim import Claim
from tests.contract.vectors import CONTRACT, cases


def request_of(case: dict[str, Any]) -> message.Request:
    match case["kind"]:
        case "fetch":
            claim = Claim(bytes.fromhex(case["arena"]), case["slot"], case["generation"], case["length"])
            return message.Fetch(case["transfer"], claim, case["credit"], case["offset"], case["patience"])
        case "more":
            return message.More(case["transfer"], case["credit"])
        case "stop":
            return message.Stop(case["transfer"])
    return message.Release(bytes.fromhex(case["arena"]), case["slot"], case["generation"])


def answer_of(case: dict[str, Any]) -> message.Answer:
    if case["kind"] == "data":
        return message.Data(case["transfer"], case["offset"], case["length"])
    return message.Refused(case["transfer"], BY_KIND[case["refusal"]].code)


@pytest.mark.parametrize("case", cases("channel", "requests"))
def test_golden_requests(case: dict[str, Any]) -> None:
    content, expected = bytes.fromhex(case["hex"]), request_of(case)
    assert message.decode_request(content) == expected
    assert expected.encode() == content
    assert len(content) == CONTRACT["channel"]["sizes"][case["kind"]]
    assert len(content) <= message.REQUEST_BYTES


@pytest.mark.parametrize("case", cases("channel", "answers"))
def test_golden_answers(case: dict[str, Any]) -> None:
    content, expected = bytes.fromhex(case["hex"]), answer_of(case)
    assert message.decode_answer(content) == expected
    assert expected.encode() == content
    assert len(content) == CONTRACT["channel"]["sizes"][case["kind"]]


@pytest.mark.parametrize("case", cases("channel", "invalid_requests"))
def test_invalid_requests(case: dict[str, Any]) -> None:
    assert message.decode_request(bytes.fromhex(case["hex"])) is None


@pytest.mark.parametrize("case", cases("channel", "invalid_answers"))
def test_invalid_answers(case: dict[str, Any]) -> None:
    assert message.decode_answer(bytes.fromhex(case["hex"])) is None


@pytest.mark.parametrize("case", cases("channel", "addresses", "text"))
def test_addresses(case: dict[str, Any]) -> None:
    address = Address.parse(case["text"])
    assert (address.endpoint, address.key) == (case["endpoint"], case["key"])
    assert str(address) == case["text"]


@pytest.mark.parametrize("case", cases("channel", "invalid_addresses", "reason"))
def test_invalid_addresses(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidFrameError, match="channel is"):
        Address.parse(case["text"])


HEADS = st.sampled_from(list(CONTRACT["channel"]["kinds"].values())).map(lambda kind: b"npz1" + bytes([kind, 0, 0, 0]))
BYTES = st.binary(max_size=80)


@given(BYTES | st.builds(bytes.__add__, HEADS, BYTES))
def test_any_bytes_are_refused_or_are_what_they_say(content: bytes) -> None:
    for decode in (message.decode_request, message.decode_answer):
        found = decode(content)
        assert found is None or found.encode() == content
    message.transfer_of(content)


@given(st.text(max_size=80) | st.from_regex(CONTRACT["channel"]["address"], fullmatch=True))
def test_any_text_is_refused_or_is_an_address(text: str) -> None:
    try:
        address = Address.parse(text)
    except InvalidFrameError:
        return
    assert str(address) == text
