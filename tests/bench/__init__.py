"""Benchmarks: `make bench` measures everything in one run, as ratios against a floor on the same machine.

Layout
    __main__.py   runs the groups, prints the table, writes out/latest.json
    figure.py     one measured figure, and interleaved repeats
    client.py     the awaiting Python program, run as a process of its own for each sample
    stand.py      the broker, the workers and the Rust floor programs that are measured
    calls.py      echo against the raw floor: rate, latency, both transports, tracing
    inference.py  models against bare OpenVINO
    transform.py  fft through the fleet, and the bare kernel against SciPy
    payload.py    frames of every size there and back: inline, as placed, and memcpy
    readme.py     the figures of the last run into the README
    startup.py    import, command, first answer, resident memory
"""
