"""Durable jobs: accepted means done once, whatever crashes.

    job        one job from the outside: its result, status, events, cancellation
    submit     from arguments to a message that the broker has stored
    flow        chains and groups: what a program says, and their handle
    batch       many of them in atomic batches
    waiting    results as they are committed, for any number of jobs over one subscription
    registry   `fleet.jobs`: all of it for one fleet

The workers' side is `npufleet.worker.jobs`; what both agree on is docs/jobs-protocol.md.
"""
