"""``python -m lottery_core.cli``: the command ``lottery``."""

import sys

from lottery_core.cli import main

sys.exit(main())
