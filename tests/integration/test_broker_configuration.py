"""Both configurations are accepted by the real server, and mean what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from npufleet.broker import server
from npufleet.broker.configuration import LOCAL_CONFIGURATION, USER, LocalConfiguration
from npufleet.broker.server import Server
from npufleet.errors import UnavailableError
from npufleet.transport.connection import Client, connect
from npufleet.transport.options import ConnectOptions
from tests.support.broker_stand import DURABLE, LOCAL, durable_environment, proc


def local(folder: Path, **options: object) -> LocalConfiguration:
    return LocalConfiguration(run=folder, store=folder / "store", **options)  # type: ignore[arg-type]


def test_local_is_accepted(tmp_path: Path) -> None:
    assert server.check_configuration(LOCAL, local(tmp_path).environment()) is None


def test_durable_is_accepted(tmp_path: Path) -> None:
    variables, _ = durable_environment(tmp_path)
    assert server.check_configuration(DURABLE, variables) is None


def test_cluster_is_accepted(tmp_path: Path) -> None:
    variables, _ = durable_environment(tmp_path)
    variables |= {
        "NPUFLEET_NODE": "one",
        "NPUFLEET_CLUSTER_LISTEN": '"127.0.0.1:6222"',
        "NPUFLEET_CLUSTER_ROUTES": '["nats-route://route:secret@127.0.0.1:6223"]',
        "NPUFLEET_ROUTE_PASSWORD": "secret",
        "NPUFLEET_TLS_CA": f'"{tmp_path / "authority.pem"}"',
    }
    assert server.check_configuration(DURABLE.with_name("cluster.conf"), variables) is None
    del variables["NPUFLEET_ROUTE_PASSWORD"]
    assert "NPUFLEET_ROUTE_PASSWORD" in str(server.check_configuration(DURABLE.with_name("cluster.conf"), variables))


@pytest.mark.parametrize("missing", ["NPUFLEET_WORKER_PASSWORD", "NPUFLEET_TLS_KEY", "NPUFLEET_STORE"])
def test_durable_needs_every_variable(tmp_path: Path, missing: str) -> None:
    variables, _ = durable_environment(tmp_path)
    del variables[missing]
    complaint = server.check_configuration(DURABLE, variables)
    assert complaint is not None
    assert missing in complaint


def test_package_carries_the_configuration_of_the_repository() -> None:
    assert LOCAL_CONFIGURATION.read_bytes() == LOCAL.read_bytes()


async def test_values_reach_the_server_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / 'with space, "quote" and \\ back'
    folder.mkdir()
    configuration = local(folder, password='12 "a" $b \\c')
    async with await Server.start(LOCAL_CONFIGURATION, configuration.environment()) as running:
        client = Client()
        await client.connect(f"127.0.0.1:{running.port}", user=USER, password=configuration.password)
        assert client.max_payload == 1024 * 1024
        await client.jetstream().account_info()
        await client.close()
    assert (folder / "store").is_dir()


async def test_local_listens_on_loopback_alone_and_refuses_strangers(tmp_path: Path) -> None:
    async with await Server.start(LOCAL_CONFIGURATION, local(tmp_path).environment()) as running:
        assert listening(running.pid) == [f"0100007F:{running.port:04X}"]

        with pytest.raises(UnavailableError, match=r"(?i)authorization"):
            await connect(Client(), ConnectOptions(f"nats://127.0.0.1:{running.port}"))


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    environment = local(tmp_path).environment()
    async with await Server.start(LOCAL_CONFIGURATION, environment) as running:
        other = local(tmp_path / "other").environment()
        with pytest.raises(UnavailableError, match="address already in use"):
            await Server.start(LOCAL_CONFIGURATION, other, port=running.port)


def test_the_binary_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = server.find_server()
    monkeypatch.setenv("NPUFLEET_NATS_SERVER", str(found))
    assert server.find_server() == found
    monkeypatch.setenv("NPUFLEET_NATS_SERVER", str(tmp_path / "nowhere"))
    with pytest.raises(UnavailableError, match=r"NPUFLEET_NATS_SERVER is .*nowhere.*; allowed: "):
        server.find_server()


def test_the_version_is_that_of_the_binary() -> None:
    major, minor, _ = server.server_version().split(".")
    assert (int(major), int(minor)) >= (2, 15)


def listening(pid: int) -> list[str]:
    """Return the sockets that a process listens on, as the kernel writes them."""
    targets = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {target[8:-1] for target in targets if target.startswith("socket:[")}
    rows = [line.split() for name in ("net/tcp", "net/tcp6") for line in proc(pid, name).splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]
