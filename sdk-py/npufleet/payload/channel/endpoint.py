"""Where an owner listens."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final

from npufleet.errors import InvalidParameterError, UnavailableError

_EVERY: Final = "0.0.0.0"  # noqa: S104 - only when it is asked for
_PATTERN: Final = re.compile(
    r"tcp://(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+)|\*):(?:(?P<port>[1-9][0-9]{0,4})|\*)"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An interface's address and a port, 0 for any free one; `advertised` is the address that others reach it by."""

    host: str
    port: int = 0
    advertised: str | None = None

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `tcp://<IP address>:<port>`, `*` for any, or raise `InvalidParameterError`."""
        found = _PATTERN.fullmatch(text)
        try:
            if found is not None:
                host, port = found["six"] or found["four"] or _EVERY, int(found["port"] or 0)
                ipaddress.ip_address(host)
                if port < 2**16:
                    return cls(host, port)
        except ValueError:
            pass
        raise InvalidParameterError(f"channel endpoint is '{text:.120}'; allowed: tcp://<IP address>:<port>, * for any")

    @classmethod
    def towards(cls, host: str, port: int) -> Endpoint:
        """Return any free port of the interface from which a peer is reached; nothing is sent to it.

        Raises `UnavailableError` when there is no way to it.
        """
        try:
            family, kind, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as probe:
                probe.connect(place)
                return cls(probe.getsockname()[0])
        except OSError as error:
            raise UnavailableError(f"no way to {host}:{port}: {error}") from error

    @property
    def is_ipv6(self) -> bool:
        """Whether it is an endpoint of IPv6."""
        return ":" in self.host

    def to_bind(self) -> str:
        """The endpoint in ZeroMQ's words."""
        return f"tcp://{bracketed(self.host)}:{self.port or '*'}"

    def told(self) -> str:
        """Return the address that others are told; raises `InvalidParameterError` when it is none to connect to."""
        host = self.advertised or self.host
        if ipaddress.ip_address(host).is_unspecified:
            raise InvalidParameterError(
                f"channel endpoint is {self.to_bind()}, which nobody can connect to; advertise an address with it"
            )
        return host


LOOPBACK = Endpoint("127.0.0.1")
"""Any free port of the loopback interface: for peers on this host."""


def bracketed(host: str) -> str:
    """Write an address as it stands in an endpoint."""
    return f"[{host}]" if ":" in host else host
