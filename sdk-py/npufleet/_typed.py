"""Placeholder until the generator writes the typed methods."""


class AsyncOperations:
    """One typed method per operation."""


class Operations:
    """One typed method per operation."""
