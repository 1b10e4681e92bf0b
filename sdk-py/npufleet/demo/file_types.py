"""A real model through `infer`: Google's Magika tells a file's type from its first and last bytes.

The model and its settings come inside the package magika; its features are computed here as its documentation says
(version 2: at most 4096 bytes from each end, white space stripped, 1024 tokens from each end, 256 as padding).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from npufleet.demo.sample import package_file

if TYPE_CHECKING:
    from npufleet import Fleet

MODEL = "magika"
MODEL_FOLDER = "models/standard_v3_3"


@dataclass(frozen=True)
class FileType:
    """What the model says of one file; `score` is its probability, from 0 to 1."""

    path: str
    label: str
    score: float


def add_model(fleet: "Fleet", max_batch: int) -> None:
    """Register the model with the fleet; returns when a worker serves it."""
    fleet.models.add(MODEL, package_file("magika", f"{MODEL_FOLDER}/model.onnx"), version=1, max_batch=max_batch)


def settings() -> dict[str, Any]:
    """The model's own settings: sizes, padding token, labels."""
    loaded: dict[str, Any] = json.loads(package_file("magika", f"{MODEL_FOLDER}/config.min.json").read_text())
    return loaded


def features(content: bytes, config: dict[str, Any]) -> NDArray[np.int32]:
    """Tokens of one file, shape [beg_size + end_size], int32."""
    block, padding = config["block_size"], config["padding_token"]
    beginning = content[:block].lstrip()[: config["beg_size"]]
    end = content[-block:].rstrip()[-config["end_size"] :]
    tokens = np.full(config["beg_size"] + config["end_size"], padding, np.int32)
    tokens[: len(beginning)] = np.frombuffer(beginning, np.uint8)
    if end:
        tokens[-len(end) :] = np.frombuffer(end, np.uint8)
    return tokens


def repository_files(limit: int) -> list[Path]:
    """Files of this project to classify: the installed package's own, sorted, at most `limit`."""
    package = Path(__file__).resolve().parents[1]
    root = package.parents[1] if (package.parents[1] / "pyproject.toml").exists() else package
    skipped = {"target", ".venv", ".git", "__pycache__", "out"}
    found = (
        path
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and not skipped.intersection(path.relative_to(root).parts)
        and not any(part.startswith(".") and part != ".ci" for part in path.relative_to(root).parts)
    )
    config = settings()
    large_enough = [path for path in found if path.stat().st_size >= config["min_file_size_for_dl"]]
    step = max(1, len(large_enough) // limit)
    return large_enough[::step][:limit]


def classify(fleet: "Fleet", paths: list[Path]) -> list[FileType]:
    """Classify files in batches through `fleet.map`; one result per path, in order."""
    config = settings()
    rows = np.stack([features(path.read_bytes(), config) for path in paths])
    scores = fleet.map("infer", {"bytes": rows}, model=MODEL)
    probabilities = np.asarray(next(iter(scores.values())) if isinstance(scores, dict) else scores)
    labels = config["target_labels_space"]
    best = probabilities.argmax(axis=1)
    return [
        FileType(str(path), config["overwrite_map"].get(labels[index], labels[index]), float(row[index]))
        for path, row, index in zip(paths, probabilities, best, strict=True)
    ]
