"""Lottery tickets for fairseq: ``fairseq-train --user-dir fairseq_lottery --task lottery_translation ...``.

Importing the package patches fairseq (see :mod:`fairseq_lottery.patches`) and registers its tasks, models and
criterions. Given ``--user-dir``, fairseq imports this package and none of its modules.
"""

from fairseq_lottery import patches

patches.install()  # before the modules below import fairseq

from fairseq_lottery import criterions, language_model  # noqa: E402
from fairseq_lottery.task import LotteryTask, lottery_task  # noqa: E402
from lottery_core.version import VERSION as __version__  # noqa: E402

__all__ = ["LotteryTask", "__version__", "criterions", "language_model", "lottery_task"]
