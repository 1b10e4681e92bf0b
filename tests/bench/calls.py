"""Echo of 128 bytes against the raw floor: rate, latency, both transports, tracing."""

from collections.abc import Iterator

from npufleet import Fleet
from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import Effort, client, raw_echo


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of awaited calls."""
    with Fleet.local(workers=("rust",)) as fleet:
        url = fleet.url
        yield from _rates(url, effort)
        yield from _tracing(url, effort)


def _rates(url: str, effort: Effort) -> Iterator[Figure]:
    seconds = effort.seconds
    for in_flight in (1, 16, 64, 256):
        samples = interleave(
            {
                "floor": lambda n=in_flight: raw_echo(url, n, seconds),
                "native": lambda n=in_flight: client(url, seconds, transport="native", in_flight=n),
                "pure": lambda n=in_flight: client(url, seconds, transport="pure", in_flight=n),
            },
            # What is held to a target is measured in more rounds.
            3 * effort.repeats if in_flight == 64 else effort.repeats,
        )
        column = {name: {key: [row[key] for row in rows] for key in rows[0]} for name, rows in samples.items()}
        floor, native, pure = column["floor"], column["native"], column["pure"]
        where = f"{in_flight} in flight"
        yield figure(f"raw async-nats echo, {where}", floor["rate"], "1/s")
        yield figure(f"raw async-nats echo, {where}, p50", floor["p50_us"], "us")
        yield figure(f"raw async-nats echo, {where}, p99", floor["p99_us"], "us")
        yield figure(
            f"echo 128 B, compiled core, {where}",
            native["rate"],
            "1/s",
            floor=floor["rate"],
            target=">= 0.6" if in_flight == 64 else None,
        )
        yield figure(
            f"echo 128 B, compiled core, {where}, p50",
            native["p50_us"],
            "us",
            floor=floor["p50_us"],
            target="<= 2" if in_flight == 1 else None,
        )
        yield figure(f"echo 128 B, compiled core, {where}, p99", native["p99_us"], "us", floor=floor["p99_us"])
        yield figure(f"echo 128 B, nats-py, {where}", pure["rate"], "1/s", floor=floor["rate"])


def _tracing(url: str, effort: Effort) -> Iterator[Figure]:
    def run(**environment: str) -> float:
        # OpenTelemetry is imported at the first traced call, on a thread: that is over when the measuring begins.
        options = {"transport": "native", "in_flight": 64, "warm_up": 1.5}
        return client(url, effort.seconds, environment={"OTEL_TRACES_EXPORTER": "file", **environment}, **options)[
            "rate"
        ]

    on = {"OTEL_SDK_DISABLED": "false", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
    samples = interleave(
        {
            "disabled": lambda: run(OTEL_SDK_DISABLED="true"),
            "off": lambda: run(OTEL_SDK_DISABLED="false", OTEL_TRACES_SAMPLER="always_off"),
            "1 %": lambda: run(**on, OTEL_TRACES_SAMPLER_ARG="0.01"),
            "100 %": lambda: run(**on, OTEL_TRACES_SAMPLER_ARG="1.0"),
        },
        # The differences looked for are smaller than a noisy moment: more rounds than elsewhere.
        3 * effort.repeats,
    )
    base = samples["disabled"]
    yield figure("tracing sampled off, calls/s against disabled", samples["off"], "1/s", floor=base, target=">= 0.97")
    yield figure("tracing 1 %, calls/s against disabled", samples["1 %"], "1/s", floor=base, target=">= 0.95")
    yield figure("tracing 100 %, calls/s against disabled", samples["100 %"], "1/s", floor=base)
