"""Faults drawn from a seed while jobs are submitted, and a checker that reads what came of them."""
