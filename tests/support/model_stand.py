"""Small models and a registry written by hand, as any NATS program could write it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npufleet.broker import buckets

if TYPE_CHECKING:
    from nats.aio.client import Client

INPUTS, OUTPUTS = 4, 2


def linear(scale: float, rows: int = -1) -> dict[str, bytes]:
    """The files of an IR model y = scale * (x @ ones), with x of shape [rows, 4]; -1 rows are open."""
    import openvino
    from openvino import opset13 as op

    x = op.parameter(openvino.PartialShape([rows, INPUTS]), np.float32, name="x")
    y = op.matmul(x, op.constant(np.full((INPUTS, OUTPUTS), scale, np.float32)), False, False)
    x.output(0).set_names({"x"})
    y.output(0).set_names({"y"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(openvino.Model([y], [x], "linear"), path, compress_to_fp16=False)
        return {"model.xml": path.read_bytes(), "model.bin": path.with_suffix(".bin").read_bytes()}


def perceptron(path: Path, width: int, layers: int) -> Path:
    """Write an IR model y = f(x), x of shape [rows, width], that is nothing but the weights of its equal layers."""
    import openvino
    from openvino import opset13 as op

    random = np.random.default_rng(1)
    x = op.parameter(openvino.PartialShape([-1, width]), np.float32, name="x")
    node = x
    for _ in range(layers):
        weights = (random.standard_normal((width, width)) / np.sqrt(width)).astype(np.float32)
        node = op.relu(op.matmul(node, op.constant(weights), transpose_a=False, transpose_b=False))
    x.output(0).set_names({"x"})
    node.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([node], [x], path.stem), path, compress_to_fp16=False)
    return path


async def register(
    plain: Client, name: str, version: int, files: dict[str, bytes], /, *, max_batch: int = 8, **changes: Any
) -> None:
    """Upload a model's files and register it; `changes` replace fields of the entry, to make it a bad one."""
    context = plain.jetstream()
    await buckets.create(context)
    store = await context.object_store(buckets.FILES_BUCKET)
    rows = []
    for file, content in files.items():
        place = f"{name}/{version}/{file}"
        await store.put(place, content)
        digest = hashlib.sha256(content).hexdigest()
        rows.append({"name": file, "object": place, "size": len(content), "sha256": digest})
    entry = {
        "name": name,
        "version": version,
        "format": "onnx" if "model.onnx" in files else "ir",
        "files": rows,
        "max_batch": max_batch,
        "precision": None,
        "devices": None,
        "max_queue_delay_us": 0,
        "added": "2026-01-01T00:00:00Z",
        **changes,
    }
    bucket = await context.key_value(buckets.MODELS.bucket)
    await bucket.put(f"{name}.{version}", json.dumps(entry).encode())


async def remove(plain: Client, name: str, version: int) -> None:
    bucket = await plain.jetstream().key_value(buckets.MODELS.bucket)
    await bucket.delete(f"{name}.{version}")


async def statuses(plain: Client) -> dict[str, dict[str, Any]]:
    """What workers say about models, by `<name>.<version>.<worker>`."""
    bucket = await plain.jetstream().key_value(buckets.STATUS.bucket)
    watcher = await bucket.watchall(ignore_deletes=True)
    found = {}
    while (entry := await watcher.updates()) is not None:
        found[entry.key] = json.loads(entry.value)
    await watcher.stop()
    return found
