"""``python -m sb3_lottery.cli``: the command ``sb3-lottery``."""

import sys

from sb3_lottery.cli import main

sys.exit(main())
