"""`python -m archon_transport`: the same as the console script `archon-transport`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
