"""`python -m npufleet` is the command `npufleet`."""

import sys

from npufleet.cli import main

if __name__ == "__main__":
    sys.exit(main())
