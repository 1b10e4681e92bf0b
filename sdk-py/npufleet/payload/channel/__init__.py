"""The ZeroMQ channel: whoever cannot open an arena asks its owner for the frame; docs/channel.md has the bytes.

In the order in which a transfer meets them:

- `source`: what an owner lends frames from
- `endpoint`, `security`: where an owner listens, and when it wants CURVE
- `owner`: lends frames to whoever asks; one thread and one ROUTER, with `transfer` on its way
- `address`: where an owner can be asked, the value of `Npu-Channel`
- `asker`: fetches frames; its connections are kept in `pool`, each a DEALER, and `incoming` puts chunks together
- `message`: what the two say to each other
- `context`: the process's one context of libzmq
"""
