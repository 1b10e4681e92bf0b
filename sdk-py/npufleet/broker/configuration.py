"""What a local nats-server is started with: the file local.conf, and the values that differ from start to start."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LOCAL_CONFIGURATION: Final = Path(__file__).with_name("local.conf")
"""A plain nats-server configuration (in the repository: broker/local.conf)."""

USER: Final = "npufleet"
"""The only user of a local broker."""


def quote(value: str) -> str:
    r"""Write a value so that nats-server reads it from an environment variable as this very string.

    The server parses the variable's text as configuration: unquoted, `12` would be a number and `$x` a reference.
    """
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


@dataclass(frozen=True)
class LocalConfiguration:
    """One local broker: `run` is where the server writes its port, `store` where JetStream keeps its files.

    Port -1 lets the server choose a free one. The password is random unless given.
    """

    run: Path
    store: Path
    port: int = -1
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def environment(self) -> dict[str, str]:
        """Return the variables that local.conf refers to."""
        return {
            "NPUFLEET_LOCAL_PORT": str(self.port),
            "NPUFLEET_LOCAL_RUN": quote(str(self.run)),
            "NPUFLEET_LOCAL_STORE": quote(str(self.store)),
            "NPUFLEET_LOCAL_PASSWORD": quote(self.password),
        }

    def url(self, port: int, *, credentials: bool = True) -> str:
        """Return the address for clients once the server accepts on `port`."""
        user = f"{USER}:{self.password}@" if credentials else ""
        return f"nats://{user}127.0.0.1:{port}"
