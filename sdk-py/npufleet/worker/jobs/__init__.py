"""Durable jobs in the Python worker: taken from the stream JOBS, executed like calls, committed once.

    delivery    one delivered job: what its headers say, how it is acknowledged, kept alive or given back
    places      which lane gets a free place: in proportion to the weights of those that have work
    pull        asks the consumers for as many jobs as there are places
    outcome     what is written when a job is over: result, dead letter, events
    sweep       takes what is over off the stream, many jobs with one write
    attempt     what is done with one delivery
    failpoint   where fault tests let a worker die
    consumer    all deliveries: begun, kept alive, drained
    flow        one chain or group: the next jobs are submitted when those before them are over
    flows       all chains and groups that this worker sees through

Everything runs on the event loop, which never computes; the executors are those of the calls.
"""
