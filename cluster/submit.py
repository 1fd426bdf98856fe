"""`python cluster/submit.py [address=URL] COMMAND ...` is `depthbox submit`, where the command is not installed."""

import sys

from depthbox.cli import main

sys.exit(main(["submit", *sys.argv[1:]]))
