"""What the end-to-end tests share."""

import pytest


@pytest.fixture(scope="session")
def native_required():
    """Skip, with the reason, where the compiled core is absent or off."""
    from npufleet._engine import native_or_none, reason

    if native_or_none() is None:
        pytest.skip(f"no compiled core: {reason()}")
