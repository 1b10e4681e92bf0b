//! The Python extension npufleet._native: client and worker, thin.
