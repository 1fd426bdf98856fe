"""`python -m depthbox`: the command where the script is not installed, as in a Ray job."""

import sys

from depthbox.cli import main

if __name__ == "__main__":
    sys.exit(main())
