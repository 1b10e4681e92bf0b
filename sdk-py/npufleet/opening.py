"""Something that takes a moment to open: await it, or use it as an asynchronous context manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from types import TracebackType


class Closable(Protocol):
    """What an opening gives."""

    async def close(self) -> None:
        """Give everything back."""
        ...


Opened = TypeVar("Opened", bound=Closable)


class Opening(Generic[Opened]):
    """`fleet = await AsyncFleet.connect(...)`, or `async with AsyncFleet.connect(...) as fleet`."""

    def __init__(self, opening: Coroutine[Any, Any, Opened]) -> None:
        self._opening = opening
        self._opened: Opened | None = None

    def __await__(self) -> Generator[Any, None, Opened]:
        return self._opening.__await__()

    async def __aenter__(self) -> Opened:
        self._opened = await self._opening
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.close()
