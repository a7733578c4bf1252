"""Names that several rooms share: scores, files of a run, the prefix of lottery tasks."""

from __future__ import annotations

import re
from typing import Any

PREFIX = "lottery_"  # of the registered tasks
LOG_PPL, LOSS = "log_ppl", "loss"
BLEU, TOKENIZED_BLEU, SUBWORD_BLEU, CHRF, TER = "bleu", "tokenized-bleu", "subword-bleu", "chrf", "ter"
TRANSLATED = (BLEU, TOKENIZED_BLEU, SUBWORD_BLEU, CHRF, TER)  # scores of the translations of fairseq-generate
# sacrebleu/metrics/bleu.py:BLEU._TOKENIZER_MAP, and the codes of three letters that corpora use.
_TOKENIZERS = {
    **dict.fromkeys(("zh", "zho", "cmn", "yue"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
}
SCORES = (LOG_PPL, LOSS, *TRANSLATED)
LAST = "checkpoint_last.pt"
INITIAL_WEIGHTS = ("--finetune-from-model", "--continue-once", "--restore-file")  # options of a dense run
AVERAGED = "averaged.pt"
TICKET = "ticket"  # key in a checkpoint, beside the task's state: digest of the trained ticket
SEARCH = "search"  # key beside it, for search runs: the masks of earlier checks
PRECISION = "precision"  # key beside it, for runs in half precision: state that fairseq itself does not keep
PRUNING = "pruning"  # key beside it, for runs that are pruned while they train: masks, and steps of pruning done


def tokenizer_of(task: Any) -> str | None:
    """Return sacrebleu's tokenizer for the target language of a task; ``None`` if its default is the right one.

    :param task: a task, of translation or any other
    """
    options = getattr(task, "cfg", None) or getattr(task, "args", None)
    language = getattr(options, "target_lang", None) or ""
    return _TOKENIZERS.get(re.split("[-_]", language)[0])  # zh_CN is Chinese, too
