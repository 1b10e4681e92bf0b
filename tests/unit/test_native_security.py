from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nkeys
import pytest
from nacl.signing import SigningKey

pytest.importorskip("npufleet._native", reason="the compiled core is not built")

from npufleet.errors import UnavailableError
from npufleet.transport import native
from npufleet.transport.options import ConnectOptions
from tests.support.native_stand import SUBJECT, ask, broker, soon
from tests.support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def certify(folder: Path) -> None:
    """Write ca.pem, and a certificate and key signed by it for `server` (127.0.0.1) and `client`."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority")
    for name in ("server", "client"):
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions", "-days", "2")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)


async def test_tls(tmp_path: Path) -> None:
    certify(tmp_path)
    paths = {
        name: str(tmp_path / f"{name}") for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    }
    tls = (
        f'tls {{ cert_file: "{paths["server.pem"]}", key_file: "{paths["server.key"]}", '
        f'ca_file: "{paths["ca.pem"]}", verify: true }}'
    )
    async with broker(tmp_path, tls) as server:
        address = f"tls://127.0.0.1:{server.port}"
        ours = {"tls_ca": paths["ca.pem"], "tls_certificate": paths["client.pem"], "tls_key": paths["client.key"]}
        fleet = await native.open(ConnectOptions(url=address, **ours))
        large = bytes(1_000_000)
        for frame in (b"small", large):
            assert (await ask(fleet, SUBJECT, frame, soon())).status == 503
        await fleet.close()
        unknown_authority = {**ours, "tls_ca": paths["client.pem"]}
        nameless = {"tls_ca": paths["ca.pem"]}
        for options in (unknown_authority, nameless):
            with pytest.raises(UnavailableError):
                await native.open(ConnectOptions(url=address, **options))


def key_pair(prefix: int) -> tuple[str, bytes, SigningKey]:
    """A public key and a seed as NATS writes them, and the key itself."""
    key = SigningKey.generate()
    seed = bytes(nkeys.encode_seed(bytes(key), prefix))
    return nkeys.from_seed(bytearray(seed)).public_key.decode(), seed, key


def token(subject: str, issuer: str, key: SigningKey, claims: dict[str, object]) -> str:
    def part(content: object) -> str:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    body = {"jti": "test", "iat": 1, "iss": issuer, "sub": subject, "name": "test", "nats": {**claims, "version": 2}}
    signed = part({"typ": "JWT", "alg": "ed25519-nkey"}) + "." + part(body)
    return signed + "." + part(key.sign(signed.encode()).signature)


@asynccontextmanager
async def operated(folder: Path, more: str = "") -> AsyncIterator[tuple[str, str]]:
    """A broker that knows one operator, and where it is and the credentials file of a user."""
    operator, _, operator_key = key_pair(nkeys.PREFIX_BYTE_OPERATOR)
    account, _, account_key = key_pair(nkeys.PREFIX_BYTE_ACCOUNT)
    user, seed, _ = key_pair(nkeys.PREFIX_BYTE_USER)
    unlimited = {"subs": -1, "data": -1, "payload": -1}
    operator_jwt = token(operator, operator, operator_key, {"type": "operator"})
    limits = {**unlimited, "imports": -1, "exports": -1, "conn": -1, "leaf": -1, "wildcards": True}
    account_jwt = token(account, operator, operator_key, {"type": "account", "limits": limits})
    user_jwt = token(user, account, account_key, {"type": "user", "pub": {}, "sub": {}, **unlimited})
    credentials = folder / "user.creds"
    credentials.write_text(
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
    )
    preload = f'resolver: MEMORY\nresolver_preload: {{ {account}: "{account_jwt}" }}\n'
    async with broker(folder, f'operator: "{operator_jwt}"\n{preload}{more}') as server:
        yield f"nats://127.0.0.1:{server.port}", str(credentials)


async def test_credentials_file(tmp_path: Path) -> None:
    async with operated(tmp_path) as (address, credentials):
        fleet = await native.open(ConnectOptions(url=address, credentials=credentials))
        assert (await ask(fleet, SUBJECT, b"", soon())).status == 503
        await fleet.close()
        with pytest.raises(UnavailableError, match=r"(?i)authorization"):
            await native.open(ConnectOptions(url=address))


async def test_both_connections_of_a_worker_use_a_credentials_file(tmp_path: Path) -> None:
    port = free_port()
    async with operated(tmp_path, f'http: "127.0.0.1:{port}"\n') as (address, credentials):
        options = json.dumps({"url": address, "credentials": credentials, "executors": 1})
        code = "import sys; from npufleet import _native; _native.run_worker(sys.argv[1])"
        worker = subprocess.Popen([sys.executable, "-c", code, options], stdout=subprocess.DEVNULL)  # noqa: ASYNC220

        def connected() -> set[str]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/connz", timeout=5) as answer:
                names = [connection.get("name", "") for connection in json.load(answer)["connections"]]
            return {name.rpartition("-")[2] for name in names if name.startswith("npufleet-rust-")}

        try:
            await until(lambda: "control" in connected() and len(connected()) == 2)
        finally:
            worker.kill()
            worker.wait()


async def test_a_token(tmp_path: Path) -> None:
    async with broker(tmp_path, 'authorization { token: "s3/cr:t" }') as server:
        for options in ({"token": "s3/cr:t"}, {"url": f"nats://s3%2Fcr%3At@127.0.0.1:{server.port}"}):
            fleet = await native.open(ConnectOptions(**{"url": f"nats://127.0.0.1:{server.port}", **options}))
            assert fleet.state == "connected"
            await fleet.close()
