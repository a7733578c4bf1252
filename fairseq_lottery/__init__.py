"""Lottery tickets for fairseq: ``fairseq-train --user-dir fairseq_lottery --task lottery_translation ...``.

Importing it registers everything: with ``--user-dir`` fairseq imports this package and nothing below it.
"""

from fairseq_lottery import messages, preflight

messages.install()
preflight.require_fairseq()  # before anything below imports it, so that a broken one is told in one line

from fairseq_lottery import criterions, launching, models, serialization  # noqa: E402
from fairseq_lottery.mixin import LotteryTask  # noqa: E402
from fairseq_lottery.tasks import lottery_task  # noqa: E402
from lottery_core.version import VERSION as __version__  # noqa: E402

serialization.allow()
serialization.read_clearly()
launching.install()
serialization.write_plainly()

__all__ = ["LotteryTask", "__version__", "criterions", "lottery_task", "models"]
