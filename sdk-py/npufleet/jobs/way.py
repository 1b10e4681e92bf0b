"""The short way of jobs that are like one before: checked once, then begun by the transport without another look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npufleet.jobs import schedule, submit
from npufleet.wire import header, job
from npufleet.wire.frame import remember

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from npufleet.jobs.job import Origin
    from npufleet.jobs.submit import Draft, Message
    from npufleet.jobs.wish import Wish
    from npufleet.telemetry.spans import CallSpan
    from npufleet.transport import JobBatch, JobRoute, Transport


class Way:
    """Where jobs go that differ in their tensors, deadlines and keys only; `origin` is what their handles share.

    `route` is the transport's, None as long as there is none or the jobs are for later.
    """

    __slots__ = ("draft", "origin", "route")

    def __init__(self, draft: Draft, origin: Origin) -> None:
        self.draft = draft
        self.origin = origin
        self.route: JobRoute | None = None

    def open(self, transport: Transport, inbox: str) -> None:
        """Have the workers say to `inbox` that a job is over, and the transport begin what is learnt from now on."""
        self.draft.notify(inbox)
        if self.route is None and not self.origin.scheduled:
            self.route = transport.job_route(self.draft.subject, self.draft.main_input, self.draft.shared())

    def own(self, wish: Wish, key: str | None) -> tuple[dict[str, str] | None, str | None]:
        """Return the headers that one job alone has, and its id if an idempotency key says it."""
        headers: dict[str, str] = {}
        if not self.origin.scheduled and (deadline := schedule.moment("deadline", wish.deadline)) is not None:
            headers[header.DEADLINE] = str(int(deadline * 1e6))
        if key is None:
            return headers or None, None
        headers[header.IDEMPOTENCY_KEY] = key
        return headers, job.id_of_key(self.draft.request.operation, self.draft.request.model, key)

    def message(self, job_id: str, frame: bytes, headers: Mapping[str, str] | None) -> Message:
        """Return the message of a job that was begun, to be stored in the ordinary way."""
        return self.draft.message_of(frame, job_id, headers or {}, traced={})

    def messages(self, many: list[Any], wish: Wish, spans: Mapping[int, CallSpan]) -> Iterator[Message]:
        """Give the messages of jobs, of which those with a span are traced."""
        key = wish.idempotency_key
        for number, tensors in enumerate(many):
            headers, job_id = self.own(wish, None if key is None else f"{key}/{number}")
            span = spans.get(number)
            traced = {} if span is None else span.headers
            yield self.draft.message(tensors, job_id=job_id, headers=headers, traced=traced)

    def pack(self, many: list[Any], wish: Wish, spans: Mapping[int, CallSpan]) -> Sequence[JobBatch] | None:
        """Return batches of jobs, of which those with a span are traced; None when they have to go one by one.

        Raises what is wrong with the tensors of any of them.
        """
        route, key = self.route, wish.idempotency_key
        batch = None if route is None else route.batch()
        if route is None or batch is None:
            return None
        shared, _ = self.own(wish, None)
        batches = [batch]
        at = 0
        traced = iter((*spans, len(many)))
        stop = next(traced)
        while at < len(many):
            if key is None:
                at += batch.extend(many, at, stop, shared)
                if at == len(many):
                    break
            tensors, span = many[at], spans.get(at)
            headers, job_id = (shared, None) if key is None else self.own(wish, f"{key}/{at}")
            frame = self.draft.frame(tensors)
            if len(frame) > job.INLINE_BYTES:
                return None
            if span is not None:
                headers = {**(headers or {}), **span.headers}
            if not batch.append(frame, headers, job_id):
                batch = route.batch()
                if batch is None:
                    return None
                batches.append(batch)
                continue
            route.learn(tensors, frame)
            if at == stop:
                stop = next(traced)
            at += 1
        return batches


class Ways:
    """The ways of one fleet's jobs; `origin` is what is known about any job of it."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._ways: dict[Any, Way] = {}

    def find(self, operation: str, params: Mapping[str, object] | None, model: str | None, wish: Wish) -> Way:
        """Return the way of a job, the same for all that differ in their tensors, deadlines and keys only.

        Raises what is wrong with anything else about it.
        """
        if wish.run_at is not None or wish.every is not None:
            return self._new(operation, params, model, wish, scheduled=True)
        # The types belong to the key: 1, 1.0 and True are equal, and not equally valid.
        given = (tuple(params.items()), tuple(map(type, params.values()))) if params else None
        numbers = (wish.retries, type(wish.retries), wish.attempt_timeout, type(wish.attempt_timeout))
        key = (operation, model, wish.lane, numbers, given)
        try:
            way = self._ways.get(key)
        except TypeError:
            # A parameter is a list or the like, so such a job is checked each time.
            return self._new(operation, params, model, wish)
        return way or remember(self._ways, key, self._new(operation, params, model, wish))

    def _new(
        self,
        operation: str,
        params: Mapping[str, object] | None,
        model: str | None,
        wish: Wish,
        *,
        scheduled: bool = False,
    ) -> Way:
        if not scheduled:
            wish = wish._replace(deadline=None)
        draft = submit.Draft(operation, params, model, wish, prefix=self._origin.prefix, notify="")
        origin = self._origin._replace(operation=operation, model=model, lane=wish.lane, own=True, scheduled=scheduled)
        return Way(draft, origin)
