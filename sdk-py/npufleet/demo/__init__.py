"""`npufleet demo`: the main job on real input, from an empty machine to a trace, in under a minute.

Layout
    runner.py       the four steps in order, and the report they make
    heart_rate.py   a real pulse recording through `fft`
    file_types.py   a real file-type model through `infer`, in batches
    report.py       what is printed for people; `--json` prints the same as one object
"""

from npufleet.demo.runner import run

__all__ = ["run"]
