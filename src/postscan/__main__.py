"""Run the command line as ``python -m postscan``."""

import sys

from postscan.cli import main

sys.exit(main())
