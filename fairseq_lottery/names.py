"""Names that several rooms share: scores, files of a run, the prefix of lottery tasks."""

from __future__ import annotations

PREFIX = "lottery_"  # of the registered tasks
LOG_PPL, LOSS = "log_ppl", "loss"
BLEU, TOKENIZED_BLEU, SUBWORD_BLEU, CHRF, TER = "bleu", "tokenized-bleu", "subword-bleu", "chrf", "ter"
TRANSLATED = (BLEU, TOKENIZED_BLEU, SUBWORD_BLEU, CHRF, TER)  # scores of the translations of fairseq-generate
SCORES = (LOG_PPL, LOSS, *TRANSLATED)
LAST = "checkpoint_last.pt"
INITIAL_WEIGHTS = ("--finetune-from-model", "--continue-once", "--restore-file")  # options of a dense run
AVERAGED = "averaged.pt"
TICKET = "ticket"  # key in a checkpoint, beside the task's state: digest of the trained ticket
SEARCH = "search"  # key beside it, for search runs: the masks of earlier checks
PRECISION = "precision"  # key beside it, for runs in half precision: state that fairseq itself does not keep
PRUNING = "pruning"  # key beside it, for runs that are pruned while they train: masks, and steps of pruning done
