"""Frames that travel beside the broker.

- `channel`: fetching a claimed frame over ZeroMQ, from a process whose arena cannot be opened
"""
