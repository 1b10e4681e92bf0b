"""When an owner wants CURVE."""

from __future__ import annotations

import ipaddress
from typing import Final, Literal

import zmq

from npufleet.errors import InvalidParameterError, UnsupportedError

Security = Literal["auto", "curve", "plain"]
"""`auto` is CURVE except on the loopback interface; `plain` is none anywhere: who can read the network reads frames."""

WORDS: Final = ("auto", "curve", "plain")


def keys(security: str, host: str) -> tuple[str, str] | None:
    """Return a new key pair (public, secret) with which to serve at an address; None where no CURVE is wanted.

    Raises `InvalidParameterError` for another word, `UnsupportedError` when this libzmq has no CURVE.
    """
    if security not in WORDS:
        raise InvalidParameterError(f"channel security is {security!r}; allowed: {', '.join(WORDS)}")
    if security == "plain" or (security == "auto" and ipaddress.ip_address(host).is_loopback):
        return None
    need_curve(f"serving {host}")
    return new_pair()


def need_curve(what: str) -> None:
    """Raise `UnsupportedError` unless this libzmq has CURVE."""
    if not zmq.has("curve"):
        raise UnsupportedError(
            f"{what} needs CURVE, which this build of libzmq does not have; allowed: loopback, or security 'plain'"
        )


def new_pair() -> tuple[str, str]:
    """Return a new key pair in Z85: public, secret."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()
