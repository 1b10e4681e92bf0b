# One image for both engines: `docker build -f ops/images/worker.Dockerfile -t npufleet:local .`
# On a host with an NPU add: --device /dev/accel --group-add <gid of render>, and Intel's user-space driver
# (intel-level-zero-npu, intel-driver-compiler-npu): OpenVINO's wheel has no NPU compiler.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-pip python3-venv g++ make \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /venv && /venv/bin/pip install --no-cache-dir "maturin>=1.16,<2"
WORKDIR /source
COPY . .
RUN /venv/bin/maturin build --release --out /wheels

FROM python:3.11-slim-bookworm
COPY --from=build /wheels /wheels
COPY ops/constraints.txt /constraints.txt
RUN pip install --no-cache-dir -c /constraints.txt /wheels/*.whl && rm -rf /wheels /constraints.txt \
    && useradd --uid 5000 npufleet
USER npufleet
ENTRYPOINT ["npufleet"]
CMD ["worker", "--engine", "rust"]
