"""Which of a model's registered versions are served: the latest, all of them, or those that are pinned."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Policy = str | tuple[int, ...]
"""`latest`, `all`, or the pinned versions; the highest of what is served answers whoever names no version."""

LATEST: Final = "latest"
ALL: Final = "all"
KEY: Final = "policy"
"""The last part of the registry's key for a model's policy: `<name>.policy`."""

VERSION_LIMIT: Final = 2**31 - 1


def check(versions: str | Sequence[int]) -> Policy:
    """Return the policy that `versions` says; raises `InvalidParameterError`."""
    if isinstance(versions, str):
        if versions in (LATEST, ALL):
            return versions
    elif versions and all(type(each) is int and 1 <= each <= VERSION_LIMIT for each in versions):
        return tuple(sorted(set(versions)))
    raise InvalidParameterError(f"versions is {versions!r}; allowed: latest, all, or a list of versions from 1")


def parse(key: str, value: bytes) -> Policy:
    """Read a value of the registry bucket; raises `InvalidParameterError`: what stands there may be anybody's."""
    try:
        return check(json.loads(value)["versions"])
    except (ValueError, TypeError, KeyError, InvalidParameterError) as error:
        raise InvalidParameterError(f"registry entry '{key}' cannot be read: {error}") from error


def encode(policy: Policy) -> bytes:
    """Return the value for the registry bucket."""
    return json.dumps({"versions": policy if isinstance(policy, str) else list(policy)}).encode()


def pick(policy: Policy, registered: Collection[int]) -> list[int]:
    """Return those of the registered versions that are served, the highest first."""
    highest_first = sorted(registered, reverse=True)
    if isinstance(policy, str):
        return highest_first if policy == ALL else highest_first[:1]
    return [version for version in highest_first if version in policy]
