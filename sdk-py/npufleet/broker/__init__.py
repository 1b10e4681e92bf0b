"""A broker of one's own: nats-server with workers around it, for one machine.

configuration  what a local nats-server is started with
server         the nats-server binary: find, start, stop
child          one child process that cannot outlive its parent
supervisor     the process that keeps broker and workers running (`python -m npufleet.broker.supervisor`)
local          the other end of the supervisor's pipes, for `Fleet.local()` and `npufleet up`
"""
