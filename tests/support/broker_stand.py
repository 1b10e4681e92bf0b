"""What the tests of the broker, the supervisor and the command line share: certificates, roles, a fake worker."""

from __future__ import annotations

import contextlib
import os
import secrets
import ssl
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npufleet.broker.server import Server
from npufleet.transport.connection import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REPOSITORY = Path(__file__).parents[2]
LOCAL = REPOSITORY / "broker" / "local.conf"
DURABLE = REPOSITORY / "broker" / "durable.conf"
ROLES = ("client1", "client2", "agent", "worker", "operator", "system")

RELU = """<?xml version="1.0"?>
<net name="relu" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="?,4" element_type="f32"/>
<output><port id="0" precision="FP32" names="x"><dim>-1</dim><dim>4</dim></port></output></layer>
<layer id="1" name="relu" type="ReLU" version="opset1">
<input><port id="0" precision="FP32"><dim>-1</dim><dim>4</dim></port></input>
<output><port id="1" precision="FP32" names="y"><dim>-1</dim><dim>4</dim></port></output></layer>
<layer id="2" name="sink" type="Result" version="opset1">
<input><port id="0" precision="FP32"><dim>-1</dim><dim>4</dim></port></input></layer></layers>
<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
<edge from-layer="1" from-port="1" to-layer="2" to-port="0"/></edges></net>
"""
"""An OpenVINO IR without weights: y = max(x, 0) for rows of four."""

FAKE_WORKER = """#!{python}
import json, os, signal, sys
mode = os.environ.get("FAKE_WORKER_MODE", "serve")
if mode == "fail":
    print("no such device: flux capacitor", file=sys.stderr)
    sys.exit(7)
print("listening to " + os.environ["NPUFLEET_URL"] + " " + " ".join(sys.argv[1:]), file=sys.stderr, flush=True)
if mode != "hang":
    print(json.dumps({{"event": "ready", "id": "x", "engine": "rust", "pid": os.getpid(), "devices": []}}), flush=True)
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(json.dumps({{"event": "deaf"}}), flush=True)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if mode == "chatty":
    while True:
        print("chatter " * 100, file=sys.stderr)
while True:
    signal.pause()
"""


def fake_worker(folder: Path) -> str:
    """Write a stand-in for the Rust worker that says `ready` and waits; FAKE_WORKER_MODE makes it misbehave."""
    path = folder / "fake-worker"
    path.write_text(FAKE_WORKER.format(python=sys.executable), "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def alive(pid: int) -> bool:
    """Whether a process exists and is more than a zombie that its parent has not looked after."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def proc(pid: int, name: str) -> str:
    """What the kernel says about a process."""
    return Path(f"/proc/{pid}/{name}").read_text()


@dataclass
class Durable:
    """A running server of durable.conf on a free port, and how each role connects to it."""

    server: Server
    folder: Path
    passwords: dict[str, str]
    errors: dict[str, list[str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.server.port}"

    @property
    def authority(self) -> Path:
        return self.folder / "authority.pem"

    async def connect(self, user: str | None, *, inbox: str | None = None, **options: Any) -> Client:
        """Connect as a role; what the server refuses later is kept in `errors[user]`."""
        refused = self.errors.setdefault(user or "", [])

        async def remember(error: Exception) -> None:
            refused.append(str(error).lower())

        client = Client()
        who = {"user": user, "password": self.passwords[user]} if user else {}
        await client.connect(
            self.url,
            tls=ssl.create_default_context(cafile=self.authority),
            inbox_prefix=inbox or f"_INBOX_{user}",
            error_cb=remember,
            allow_reconnect=False,
            connect_timeout=10,
            **(who | options),
        )
        return client


def durable_environment(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Make an authority and a certificate, and return the variables of durable.conf, and the passwords by role."""
    _certificate(folder, "authority", "-addext", "keyUsage=critical,keyCertSign")
    signed = ("-CA", str(folder / "authority.pem"), "-CAkey", str(folder / "authority.key"))
    leaf = ("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1")
    _certificate(folder, "server", *signed, *leaf)
    passwords = {role: f"pw{secrets.token_hex(12)}" for role in ROLES}
    variables = {f"NPUFLEET_{role.upper()}_PASSWORD": word for role, word in passwords.items()}
    variables |= {
        "NPUFLEET_TLS_CERTIFICATE": f'"{folder / "server.pem"}"',
        "NPUFLEET_TLS_KEY": f'"{folder / "server.key"}"',
        "NPUFLEET_STORE": f'"{folder / "jetstream"}"',
    }
    return variables, passwords


def _certificate(folder: Path, name: str, *more: str) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem"), "-days", "2"]
    subprocess.run([*words, "-subj", f"/CN=npufleet test {name}", *more], check=True, capture_output=True)


@contextlib.asynccontextmanager
async def durable(folder: Path) -> AsyncIterator[Durable]:
    """Run durable.conf on a free port."""
    variables, passwords = durable_environment(folder)
    async with await Server.start(DURABLE, variables, ["--http_port", "-1"]) as server:
        yield Durable(server, folder, passwords)


def source_environment(**more: str) -> dict[str, str]:
    """Return this process's environment for a child that uses the package from the same place."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}
