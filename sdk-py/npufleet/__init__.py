"""Tensor operations (inference, signal processing) on a fleet of NPU workers over NATS."""
