"""`python -m npufleet.cli`, for a tree that is not installed."""

import sys

from npufleet.cli import main

sys.exit(main())
