"""`python -m npufleet.cli`, for a tree that is not installed."""

from npufleet.cli import main

main()
