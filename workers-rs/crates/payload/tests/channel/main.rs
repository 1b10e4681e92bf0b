//! Frames between an owner and an asker.
#![allow(unreachable_pub, reason = "the modules of a test")]

mod faults;
mod forged;
mod leaks;
mod limits;
mod shelf;
mod strangers;
mod transfers;
