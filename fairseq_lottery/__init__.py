"""Lottery tickets for fairseq: ``fairseq-train --user-dir fairseq_lottery --task lottery_translation ...``.

Importing it registers everything: with ``--user-dir`` fairseq imports this package and nothing below it.
"""

from fairseq_lottery import criterions, messages, models, serialization
from fairseq_lottery.mixin import LotteryTask
from fairseq_lottery.tasks import lottery_task
from lottery_core.version import VERSION as __version__

serialization.allow()
messages.install()

__all__ = ["LotteryTask", "__version__", "criterions", "lottery_task", "models"]
