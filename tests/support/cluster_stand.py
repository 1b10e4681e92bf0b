"""Three nodes of cluster.conf on the loopback interface."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from npufleet import AsyncFleet, UnavailableError
from npufleet.broker.server import Server
from tests.support.broker_stand import REPOSITORY, durable_environment
from tests.support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CLUSTER = REPOSITORY / "broker" / "cluster.conf"
NODES = 3


class Cluster:
    """The nodes, and how each role connects to them."""

    def __init__(self, folder: Path) -> None:
        self._variables, self.passwords = durable_environment(folder)
        self._folder = folder
        self.servers: list[Server] = []
        self.routes = [free_port() for _ in range(NODES)]
        self.ports = [free_port() for _ in range(NODES)]

    async def start(self) -> None:
        password = "route-password"
        routes = ", ".join(f'"nats-route://route:{password}@127.0.0.1:{port}"' for port in self.routes)
        for number in range(NODES):
            own = {
                "NPUFLEET_NODE": f"node-{number}",
                "NPUFLEET_CLUSTER_LISTEN": f'"127.0.0.1:{self.routes[number]}"',
                "NPUFLEET_CLUSTER_ROUTES": f"[{routes}]",
                "NPUFLEET_ROUTE_PASSWORD": password,
                "NPUFLEET_TLS_CA": f'"{self._folder / "authority.pem"}"',
                "NPUFLEET_STORE": f'"{self._folder / f"store-{number}"}"',
            }
            self.servers.append(
                await Server.start(CLUSTER, {**self._variables, **own}, ["--http_port", "-1"], port=self.ports[number])
            )

    def node(self, name: str) -> int:
        return int(name.removeprefix("node-"))

    def url(self, number: int) -> str:
        return f"tls://127.0.0.1:{self.ports[number]}"

    def connect(self, number: int, user: str) -> AsyncFleet:
        return AsyncFleet.connect(  # type: ignore[return-value]
            self.url(number),
            user=user,
            password=self.passwords[user],
            tls_ca=self._folder / "authority.pem",
        )

    async def create_streams(self, replicas: int) -> None:
        """Make the streams as soon as the nodes have found each other."""

        async def made() -> bool:
            try:
                async with self.connect(0, "operator") as fleet:
                    await fleet.jobs.create_streams(replicas=replicas)
            except UnavailableError:
                return False
            return True

        await until(made, "the streams of the cluster")

    async def lose(self, number: int) -> None:
        server = self.servers[number]
        server.process.kill()
        await server.process.wait()


@contextlib.asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    made = Cluster(folder)
    try:
        await made.start()
        yield made
    finally:
        for server in made.servers:
            await server.stop()
