"""What the command's exit status says; the table is part of `npufleet --help`."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
REFUSED: Final = 4
LATE: Final = 5
UNKNOWN: Final = 6
INTERRUPTED: Final = 130

BY_KIND: Final = {
    "unavailable": UNAVAILABLE,
    "device_lost": UNAVAILABLE,
    "overloaded": UNAVAILABLE,
    "deadline_exceeded": LATE,
    "invalid_frame": REFUSED,
    "invalid_parameter": REFUSED,
    "invalid_shape": REFUSED,
    "payload_too_large": REFUSED,
    "unknown_operation": REFUSED,
    "unknown_model": REFUSED,
    "unknown": UNKNOWN,
}
"""Error kinds that have a status of their own; all others are FAILED."""

TABLE: Final = (
    "Exit status: 0 done; 1 the operation failed; 2 wrong use of the command; 3 nobody is there to do it (no broker, "
    "no worker, overloaded); 4 the request is refused (input, parameter, size, unknown operation or model); "
    "5 the deadline passed; 6 whether the job was accepted is not known; 130 interrupted."
)
