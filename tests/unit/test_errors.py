"""Errors: one class per kind, whole after a trip through pickle, built from what a reply says."""

from __future__ import annotations

import copy
import pickle

import pytest

from npufleet import errors
from npufleet.errors import FleetError, InternalError, OverloadedError, PayloadTooLargeError, from_kind


@pytest.mark.parametrize("kind", errors.BY_KIND)
def test_from_kind(kind: str) -> None:
    error = from_kind(kind, "what happened", engine="rust", retry_after=0.5, size=2, limit=1)
    assert type(error) is errors.BY_KIND[kind]
    assert (error.kind, str(error), error.engine) == (kind, "what happened", "rust")


def test_numbers_stay_with_the_kinds_that_have_them() -> None:
    overloaded = from_kind("overloaded", "queue is full", retry_after=0.25, size=2)
    assert isinstance(overloaded, OverloadedError)
    assert overloaded.retry_after == 0.25
    large = from_kind("payload_too_large", "too large", size=2, limit=1, retry_after=0.25)
    assert isinstance(large, PayloadTooLargeError)
    assert (large.size, large.limit) == (2, 1)
    assert not hasattr(from_kind("internal", "oops", retry_after=0.25, size=2), "retry_after")


def test_unknown_kind_is_named() -> None:
    error = from_kind("melted", "the worker is warm", engine="rust")
    assert type(error) is InternalError
    assert "melted" in str(error)
    assert "the worker is warm" in str(error)
    assert error.engine == "rust"


def test_payload_too_large_carries_both_sizes() -> None:
    error = PayloadTooLargeError.of(2048, 1024)
    assert (error.size, error.limit, error.engine) == (2048, 1024, None)
    assert "2048" in str(error)
    assert "1024" in str(error)


@pytest.mark.parametrize("kind", errors.BY_KIND)
@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_survive_copies(kind: str, duplicate: type) -> None:
    error = from_kind(kind, "what happened", engine="python", retry_after=0.5, size=2, limit=1)
    again = duplicate(error)
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        ("invalid_parameter", ValueError),
        ("invalid_shape", ValueError),
        ("deadline_exceeded", TimeoutError),
        ("unavailable", ConnectionError),
    ],
)
def test_kinds_that_python_has_a_word_for(kind: str, builtin: type[Exception]) -> None:
    assert issubclass(errors.BY_KIND[kind], builtin)
    assert issubclass(errors.BY_KIND[kind], FleetError)
