"""The Python worker: the last engine, for what no Rust worker does; runs with no compiled extension.

In the order in which a request meets them:

    __main__    `python -m npufleet.worker --engine python|rust`
    options     the command line and the environment
    main        wires everything, drains at the end
    connection  reaching the broker, however long it takes
    endpoint    one operation or model on one route: its subject, its counters
    intake      a message becomes a request, or is refused at once
    request     one accepted request and what is known about it
    queue       five lanes, bounded; a free executor takes everything compatible at once
    executor    operating-system threads that execute, never the event loop
    batch       one batch: deadlines, execution, splitting when a member fails
    reply       answers, on the event loop, with their spans
    cancel      cancelled and expired requests, and threads that hang
    jobs        durable jobs, done by the same executors
    models      the registry: which model versions are to be served
    registry    its buckets: following one, fetching files, reporting states
    inference   OpenVINO: compiled models, batches
    devices     OpenVINO: what is there, and why the rest is not
    service     the NATS service protocol
    events      what the worker says on standard output

Everything runs on the event loop's thread but `executor`, `batch`, `inference` and the inside of `queue`.
"""
