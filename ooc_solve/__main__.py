"""``python -m ooc_solve``."""

import sys

from ooc_solve.cli import main

sys.exit(main())
