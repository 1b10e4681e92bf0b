"""The JetStream buckets of the model registry, as data, and their creation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nats.js.api import KeyValueConfig, ObjectStoreConfig, StorageType

if TYPE_CHECKING:
    from nats.js import JetStreamContext

MODELS: Final = KeyValueConfig(
    bucket="npu_models",
    description="npufleet: registered models, one key per version",
    storage=StorageType.FILE,
    history=1,
    direct=True,
)
STATUS: Final = KeyValueConfig(
    bucket="npu_model_status",
    description="npufleet: what each worker says about each model",
    # Only as true as the workers are alive, so it need not survive the broker.
    storage=StorageType.MEMORY,
    history=1,
    direct=True,
)
FILES_BUCKET: Final = "npu_model_files"
FILES: Final = ObjectStoreConfig(
    bucket=FILES_BUCKET,
    description="npufleet: the files of registered models",
    storage=StorageType.FILE,
)


async def create(context: JetStreamContext) -> None:
    """Create the three buckets where they are missing; creating one that exists as it is changes nothing."""
    await context.create_key_value(MODELS)
    await context.create_key_value(STATUS)
    await context.create_object_store(FILES_BUCKET, FILES)
