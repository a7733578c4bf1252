"""Run the command ``fairseq-lottery`` with ``python -m fairseq_lottery.launcher``."""

import sys

from fairseq_lottery.launcher import main

sys.exit(main())
