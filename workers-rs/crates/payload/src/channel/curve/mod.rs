//! Connections with CURVE, through libzmq.

mod door;
mod line;

pub(super) use door::CurveDoor;
pub(super) use line::CurveLine;
