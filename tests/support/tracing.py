"""Let this process trace everything, to a receiver of the test's own."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from npufleet.telemetry import sampling, setup
from tests.support.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def traced_process() -> Iterator[OtlpReceiver]:
    """Give the receiver; what is traced after the block goes nowhere."""
    with OtlpReceiver() as receiver, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("OTEL_")]:
            patch.delenv(name)
        setup.shutdown()
        for name, value in {**receiver.environment, "OTEL_TRACES_SAMPLER": "always_on"}.items():
            patch.setenv(name, value)
        sampling.reload()
        try:
            yield receiver
        finally:
            setup.shutdown()
            patch.undo()
            sampling.reload()
