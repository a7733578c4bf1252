"""``python -m fairseq_lottery.launcher``: the command ``fairseq-lottery``."""

import sys

from fairseq_lottery.launcher import main

sys.exit(main())
