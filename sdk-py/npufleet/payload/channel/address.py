"""Where an owner can be asked: the value of the header `Npu-Channel`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from npufleet.errors import InvalidFrameError
from npufleet.wire.document import DOCUMENT

PATTERN: Final = re.compile(DOCUMENT["channel"]["address"])


@dataclass(frozen=True, slots=True)
class Address:
    """A ZeroMQ endpoint such as `tcp://10.0.0.1:5555`, and the owner's public CURVE key in Z85 if it wants CURVE."""

    endpoint: str
    key: str | None = None

    def __str__(self) -> str:
        return self.endpoint if self.key is None else f"{self.endpoint};{self.key}"

    @property
    def is_ipv6(self) -> bool:
        """Whether the endpoint is one of IPv6."""
        return "[" in self.endpoint

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the value of an `Npu-Channel` header, or raise `InvalidFrameError`; it is untrusted input."""
        endpoint, _, key = text.partition(";")
        if PATTERN.fullmatch(text) is None or not _is_real(endpoint):
            raise InvalidFrameError(f"channel is {text[:120]!r}; allowed: tcp://<IP address>:<port>[;<CURVE key>]")
        return cls(endpoint, key or None)


def _is_real(endpoint: str) -> bool:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        else:
            ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return int(port) < 2**16
