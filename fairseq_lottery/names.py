"""Names that several rooms share: scores, files of a run, the prefix of our tasks."""

from __future__ import annotations

PREFIX = "lottery_"  # of the registered tasks
LOG_PPL, BLEU, TOKENIZED_BLEU = "log_ppl", "bleu", "tokenized-bleu"
SCORES = (LOG_PPL, BLEU, TOKENIZED_BLEU)
LAST = "checkpoint_last.pt"
AVERAGED = "averaged.pt"
TICKET = "ticket"  # in a checkpoint, beside the task's state: the digest of the ticket that was trained
