"""Frames that travel beside the broker.

- `layout`, `folder`: the bytes of an arena, and where arenas lie; docs/arena.md has both
- `arena`, `slots`: this process's own arena, into which it puts frames
- `peers`: reading frames from the arenas of others
- `exchange`: both sides as one process uses them
- `remote`: the channel as one process uses it
- `channel`: fetching a claimed frame over ZeroMQ, from a process whose arena cannot be opened
"""
