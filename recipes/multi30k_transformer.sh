#!/usr/bin/env bash
# Tickets of a small Transformer on Multi30K English-German: the shape of the paper's Figure 2 about an hour on 2 idle cores.
#   bash recipes/multi30k_transformer.sh [option ...] [NAME=VALUE ...] [-- more options of fairseq-lottery]
# Not in the paper, which has nothing so small. A copy of {train,val,test_2016_flickr}.{en,de}.gz (Elliott et al. 2016):
# --from DIR. --small: number words, 3 minutes. Run again, it is resumed.
# shellcheck disable=SC2153,SC2154 # "setting" assigns the settings
set -euo pipefail
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
recipe multi30k_transformer "$@"

#              name         value                                 with --small
setting        ROUNDS       6                                     3
setting        PRUNE_RATE   0.36                                  0.6
setting        REWIND       update:100                            update:20
setting        KINDS        "winning random one-shot no-rewind"   "winning random"
setting        SEEDS        1
# de and en translate back, from the same files.
setting        FROM_LANG    en
setting        TO_LANG      de
setting        SCOPE        all
setting        EPOCHS       4
setting        LAYERS       2
setting        WIDTH        128                                   64
setting        FFN          256                                   128
setting        HEADS        4
setting        DROPOUT      0.1                                   0
setting        SMOOTHING    0.1
setting        BETAS        "(0.9, 0.98)"
setting        LR           3e-3                                  5e-3
setting        WARMUP       400                                   100
setting        MAX_TOKENS   2000                                  1000
setting        VOCABULARY   4000                                  200
# A German number is one word, too short for BLEU of words: --small takes that of the units.
setting        SCORE        bleu                                  subword-bleu
setting        GENERATE     "--beam 5 --remove-bpe sentencepiece --max-tokens 4000"   "--beam 1"
# This machine and these folders.
setting        GPUS         0
setting        JOBS         2
setting        WORKERS      2
setting        OUT          runs/multi30k                         runs/multi30k-small
# DATA and WORK in the environment are older names of the last two.
setting        PREPARED     "${WORK:-runs/multi30k-data}"         "${WORK:-runs/multi30k-small-data}"
setting        FROM         "${DATA:-}"
ready

stage_data() {
    local parts=(train val test_2016_flickr)
    if [[ $SMALL = yes ]]; then
        parts=(train valid test)
        run python recipes/data/number_words.py "$PREPARED" --train 4000 --held-out 200
    else
        fetch multi30k
    fi
    run python recipes/data/units.py "$PREPARED" --size "$VOCABULARY" --parts "${parts[@]}"
    preprocess --source-lang en --target-lang de --joined-dictionary \
        --trainpref "$PREPARED/${parts[0]}.sp" --validpref "$PREPARED/${parts[1]}.sp" --testpref "$PREPARED/${parts[2]}.sp"
}

# The chain of fairseq-lottery with so many rounds; none is the dense run alone.
tickets() {
    local kinds seeds scope training score=(--score "$SCORE" --generate "$GENERATE")
    read -r -a kinds <<<"$KINDS"
    read -r -a seeds <<<"$SEEDS"
    read -r -a scope <<<"$SCOPE"
    if [[ $SCORE = bleu ]]; then score+=(--reference "$PREPARED/test_2016_flickr.$TO_LANG"); fi
    training=(
        "$PREPARED/data-bin" --source-lang "$FROM_LANG" --target-lang "$TO_LANG" --arch transformer
        --encoder-layers "$LAYERS" --encoder-embed-dim "$WIDTH" --encoder-ffn-embed-dim "$FFN"
        --encoder-attention-heads "$HEADS"
        --decoder-layers "$LAYERS" --decoder-embed-dim "$WIDTH" --decoder-ffn-embed-dim "$FFN"
        --decoder-attention-heads "$HEADS"
        --share-all-embeddings --dropout "$DROPOUT"
        --criterion lottery_label_smoothed_cross_entropy --label-smoothing "$SMOOTHING"
        --optimizer adam --adam-betas "$BETAS" --lr "$LR" --lr-scheduler inverse_sqrt --warmup-updates "$WARMUP"
        --max-tokens "$MAX_TOKENS" --max-epoch "$EPOCHS" --num-workers 0
    )
    if ((GPUS == 0)); then training+=(--cpu); fi
    chain fairseq-lottery "$1" --prune-rate "$PRUNE_RATE" --rewind "$REWIND" --jobs "$JOBS" --kinds "${kinds[@]}" \
        --seeds "${seeds[@]}" --scope "${scope[@]}" "${score[@]}" -- "${training[@]}"
}

stage_dense() {
    try_rounds
    tickets 0
}
stage_rounds() { tickets "$ROUNDS"; }
stage_report() { report; }

go
