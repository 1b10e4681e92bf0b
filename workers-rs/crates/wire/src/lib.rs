//! What every process agrees on: frames, subjects, headers, error kinds, the contract.
