"""What is measured: a local fleet, the Rust floor programs, and the measured client as a process."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "bench" / "out"
RELEASE = ROOT / "workers-rs" / "target" / "release"
EXAMPLES = ("floor", "store", "kernel", "roof", "bare", "load", "echo")
TRACING_OFF = {"OTEL_SDK_DISABLED": "true"}


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds per sample, and rounds of interleaved samples."""

    seconds: float = 1.0
    repeats: int = 3


def build_floor_programs() -> None:
    """Build the Rust side of the comparisons: the raw echo, the raw stream, the bare kernel, bare OpenVINO."""
    command = ["cargo", "build", "--release", "--quiet", "--manifest-path", str(ROOT / "workers-rs" / "Cargo.toml")]
    examples = [part for name in EXAMPLES for part in ("--example", name)]
    packages = [
        part for name in ("client", "operations", "inference", "payload") for part in ("-p", f"npufleet-{name}")
    ]
    subprocess.run([*command, *packages, *examples], check=True)


def run_json(*command: str | Path, environment: dict[str, str] | None = None) -> Any:
    """Run a program that prints one JSON document; the document."""
    finished = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(finished.stdout)


def raw_echo(url: str, in_flight: int, seconds: float, *, payload: int = 128) -> dict[str, float]:
    """Rate and latency of a bare async-nats echo of so many bytes, Rust to Rust over two connections of one broker."""
    broker = urlsplit(url)
    rows = run_json(
        *(RELEASE / "examples" / "floor", "--url", f"nats://{broker.hostname}:{broker.port}"),
        *("--user", broker.username or "", "--password", broker.password or ""),
        *("--in-flight", str(in_flight), "--seconds", str(seconds)),
        *("--payload", str(payload)),
    )
    return {name: float(rows[0][name]) for name in ("rate", "p50_us", "p99_us")}


def client(url: str, seconds: float, *, environment: dict[str, str] | None = None, **options: Any) -> dict[str, float]:
    """One sample of the measured Python program; `options` are its command-line options."""
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    result: dict[str, float] = run_json(
        sys.executable,
        "-m",
        "tests.bench.client",
        "--url",
        url,
        "--seconds",
        str(seconds),
        *flags,
        environment={**TRACING_OFF, **(environment or {})},
    )
    return result
