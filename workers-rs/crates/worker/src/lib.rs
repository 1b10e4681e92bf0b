//! A worker: take, admit, batch, execute, reply, drain.
