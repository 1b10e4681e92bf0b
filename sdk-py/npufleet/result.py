"""What a call gives back: the output arrays, and who computed them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from npufleet.errors import InvalidShapeError
from npufleet.wire import header
from npufleet.wire.frame import reader_of
from npufleet.wire.header import Timing

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Answer(Protocol):
    """What a result is made of: a call's reply, or what is stored of a job."""

    @property
    def payload(self) -> bytes | memoryview:
        """The frame."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, as read-only views of the frame; raises `InvalidFrameError` when it is none."""
        ...

    def header(self, name: str) -> str | None:
        """One header, or None."""
        ...


class Result(Mapping[str, "NDArray[Any]"]):
    """The output arrays of a call by name; they are read-only views of the reply.

    `trace_id` is the id of the call's trace (32 hex digits), or None when the call was not traced.
    """

    __slots__ = ("_arrays", "_flight", "trace_id")

    def __init__(self, flight: Answer, trace_id: str | None = None) -> None:
        self._flight = flight
        self._arrays: dict[str, NDArray[Any]] | None = None
        self.trace_id = trace_id

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays as a dict; raises `InvalidFrameError` when the reply is no frame."""
        if self._arrays is None:
            self._arrays = self._flight.tensors()
        return self._arrays

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.tensors()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors())

    def __len__(self) -> int:
        return len(self.tensors())

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in self.tensors().items())
        return f"<Result {arrays or 'empty'}; engine={self.engine} device={self.device}>"

    @property
    def array(self) -> NDArray[Any]:
        """The output, where there is exactly one; raises `InvalidShapeError` otherwise."""
        if len(self.tensors()) != 1:
            names = ", ".join(self.tensors()) or "none"
            raise InvalidShapeError(f"the result has {len(self.tensors())} tensors: {names}; ask for one by name")
        return next(iter(self.tensors().values()))

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that the reply carries."""
        return reader_of(self._flight.payload).parameters()

    @property
    def engine(self) -> str | None:
        """`rust` or `python`: which implementation ran."""
        return self._flight.header(header.ENGINE)

    @property
    def device(self) -> str | None:
        """`NPU`, `GPU` or `CPU`: where it ran."""
        return self._flight.header(header.DEVICE)

    @property
    def fallback_reason(self) -> str | None:
        """Why the request left its first engine or device, or None when it did not."""
        return self._flight.header(header.FALLBACK_REASON)

    @property
    def timing(self) -> Timing | None:
        """Where the time went inside the worker, in microseconds."""
        text = self._flight.header(header.TIMING)
        return Timing.parse(text) if text else None
