"""A device that fails while it serves (a double): its models move to the next one and come back, and no call fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet
from tests.support.model_stand import INPUTS, linear
from tests.support.waiting import until
from tests.support.worker_stand import Broker, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOGETHER = 4


class Stand:
    """A Python worker with a double of an NPU, which is told how it is through a file."""

    def __init__(self, broker: Broker, fault: Path, models: Path) -> None:
        self.broker, self._fault, self.models = broker, fault, models
        self.tell("")

    def tell(self, word: str) -> None:
        self._fault.write_text(word)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("double")
    for suffix, content in linear(1.0).items():
        (folder / suffix).write_bytes(content)
    fault = folder / "fault"
    fault.touch()
    with (
        Broker() as broker,
        WorkerProcess(
            broker.url,
            *("--primary", "--device-timeout", "0.3", "--device-retry", "0.2"),
            program=("-m", "tests.support.device_double"),
            NPUFLEET_DEVICE_DOUBLE=str(fault),
        ) as process,
    ):
        process.ready()
        yield Stand(broker, fault, folder)


async def npu(fleet: AsyncFleet) -> dict[str, Any]:
    report: dict[str, Any] = (await fleet.health())["components"]["npu"]
    return report


async def failures(fleet: AsyncFleet, name: str) -> int:
    (worker,) = await fleet.control.ask_workers("STATS")
    (counters,) = [each["data"] for each in worker["endpoints"] if each["subject"].endswith(f"call.*.infer.{name}")]
    return int(counters["device_failures"].get("NPU", 0))


@pytest.mark.parametrize("fault", ["lost", "error", "hang"])
async def test_a_model_leaves_a_device_that_fails_and_returns_to_it(stand: Stand, fault: str) -> None:
    name = f"moves-{fault}"
    async with AsyncFleet.connect(stand.broker.url) as fleet:
        added = await fleet.models.add(name, stand.models / "model.xml", max_batch=TOGETHER)
        bystander = await fleet.models.add(f"{name}-too", stand.models / "model.xml")
        assert {info.workers[0].device for info in (added, bystander)} == {"NPU"}
        devices: list[str] = []
        stop = asyncio.Event()

        async def keep_asking(rows: int) -> None:
            x = np.full((rows, INPUTS), rows, np.float32)
            while not stop.is_set():
                result = await fleet.call("infer", {"x": x}, model=name)
                np.testing.assert_array_equal(result["y"], np.full((rows, 2), INPUTS * rows))
                devices.append(str(result.device))

        async with asyncio.TaskGroup() as group:
            for rows in range(1, TOGETHER + 1):
                group.create_task(keep_asking(rows))
            await until(lambda: "NPU" in devices, "answers of the NPU")
            stand.tell(fault)
            await until(lambda: "CPU" in devices, "answers of the CPU")
            health = await npu(fleet)
            assert not health["ok"]
            assert "lost at run time" in health["reason"]
            for moved in (name, f"{name}-too"):
                (worker,) = (await fleet.models.info(moved)).workers
                while worker.device != "CPU":
                    (worker,) = (await fleet.models.info(moved)).workers
                assert any(note.startswith("NPU: lost at run time") for note in worker.notes)
            assert await failures(fleet, name) == 1
            stand.tell("")
            devices.clear()
            await until(lambda: "NPU" in devices, "answers of the NPU again")
            stop.set()
        await until(lambda: "NPU" in devices, "the end")
        while not (await npu(fleet))["ok"]:
            continue
        await fleet.models.remove(name)
        await fleet.models.remove(f"{name}-too")


async def test_a_request_that_is_at_fault_itself_moves_nothing(stand: Stand) -> None:
    """The double takes fixed shapes only; the model fails for an index that is out of range, and for no other."""
    import openvino
    from openvino import opset13 as op

    x = op.parameter(openvino.PartialShape([1]), np.int64, name="x")
    updated = op.scatter_update(
        op.constant(np.zeros(4, np.float32)), x, op.constant(np.ones(1, np.float32)), op.constant(0)
    )
    x.output(0).set_names({"x"})
    updated.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([updated], [x], "scatter"), stand.models / "scatter.xml", compress_to_fp16=False)
    async with AsyncFleet.connect(stand.broker.url) as fleet:
        added = await fleet.models.add("scatter", stand.models / "scatter.xml", max_batch=1)
        assert added.workers[0].device == "NPU"
        with pytest.raises(Exception, match="inference on NPU failed"):
            await fleet.infer("scatter", {"x": np.array([9])})
        result = await fleet.call("infer", {"x": np.array([2])}, model="scatter")
        assert (result.device, result["y"].tolist()) == ("NPU", [0, 0, 1, 0])
        assert (await npu(fleet))["ok"]


async def test_open_shapes_go_to_a_device_that_takes_them(stand: Stand) -> None:
    import openvino
    from openvino import opset13 as op

    x = op.parameter(openvino.PartialShape([-1, -1]), np.float32, name="x")
    y = op.relu(x)
    x.output(0).set_names({"x"})
    y.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([y], [x], "ragged"), stand.models / "ragged.xml", compress_to_fp16=False)
    async with AsyncFleet.connect(stand.broker.url) as fleet:
        (worker,) = (await fleet.models.add("ragged", stand.models / "ragged.xml")).workers
        assert worker.device == "CPU"
        assert any("dynamic shape" in note for note in worker.notes)
        assert (await fleet.infer("ragged", {"x": np.ones((2, 3), np.float32)}))["y"].shape == (2, 3)
