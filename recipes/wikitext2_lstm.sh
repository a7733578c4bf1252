#!/usr/bin/env bash
# Figure 1: tickets of the paper's LSTM language model on WikiText-2, word level (section 3.2).
#   bash recipes/wikitext2_lstm.sh [option ...] [NAME=VALUE ...] [-- more options of fairseq-lottery]
# Log perplexity (nats a word) on the test split; winning, random, one-shot and no-rewind tickets, 3 seeds. --small: sums
# in words ("seven plus five is twelve"), 3 minutes. Run again, it is resumed.
# shellcheck disable=SC2153,SC2154 # "setting" assigns the settings
set -euo pipefail
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
recipe wikitext2_lstm "$@"

# The paper's      name         value                                  with --small
setting            ROUNDS       20                                     3
setting            PRUNE_RATE   0.2                                    0.6
setting            REWIND       epoch:1
setting            KINDS        "winning random one-shot no-rewind"
setting            SEEDS        "1 2 3"                                1
setting            SCOPE        all
setting            EPOCHS       10                                     4
setting            LAYERS       2
setting            HIDDEN       650                                    64
setting            EMBEDDING    650                                    64
setting            DROPOUT      0.5                                    0
setting            BPTT         50                                     20
setting            BATCH        30                                     10
setting            OPTIMIZER    adam
setting            LR           1e-3                                   5e-3
setting            BETAS        "(0.9, 0.999)"
setting            EPS          1e-3                                   1e-8
setting            SCORE        log_ppl
# Where the paper is silent: no clipping, a constant learning rate, input and output embeddings apart.
setting            CLIP_NORM    0.0
setting            SCHEDULER    fixed
# This machine and these folders.
setting            GPUS         1                                      0
setting            JOBS         1                                      2
setting            WORKERS      2
setting            OUT          runs/wikitext2                         runs/wikitext2-small
setting            PREPARED     runs/wikitext2-data                    runs/wikitext2-small-data
setting            FROM         ""
ready
batch=$(divided BATCH) # streams of each GPU

stage_data() {
    if [[ $SMALL = yes ]]; then
        run python recipes/data/number_sums.py "$PREPARED"
    else
        fetch wikitext-2
    fi
    preprocess --only-source --trainpref "$PREPARED/train.txt" --validpref "$PREPARED/valid.txt" --testpref "$PREPARED/test.txt"
}

# The chain of fairseq-lottery with so many rounds; none is the dense run alone.
tickets() {
    local kinds seeds scope training
    read -r -a kinds <<<"$KINDS"
    read -r -a seeds <<<"$SEEDS"
    read -r -a scope <<<"$SCOPE"
    training=(
        "$PREPARED/data-bin" --task language_modeling --truncated-bptt "$BPTT"
        --batch-size "$batch" --required-batch-size-multiple 1
        --arch lottery_lstm_lm_wikitext2 --decoder-layers "$LAYERS" --decoder-hidden-size "$HIDDEN"
        --decoder-embed-dim "$EMBEDDING" --dropout "$DROPOUT" --criterion lottery_cross_entropy
        --optimizer "$OPTIMIZER" --adam-betas "$BETAS" --adam-eps "$EPS" --lr "$LR" --lr-scheduler "$SCHEDULER"
        --clip-norm "$CLIP_NORM" --max-epoch "$EPOCHS" --num-workers 0
    )
    if ((GPUS == 0)); then training+=(--cpu); fi
    chain fairseq-lottery "$1" --prune-rate "$PRUNE_RATE" --rewind "$REWIND" --kinds "${kinds[@]}" \
        --seeds "${seeds[@]}" --scope "${scope[@]}" --score "$SCORE" --jobs "$JOBS" -- "${training[@]}"
}

stage_dense() {
    try_rounds
    tickets 0
}
stage_rounds() { tickets "$ROUNDS"; }
stage_report() { report; }

go
