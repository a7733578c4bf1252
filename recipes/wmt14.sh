# shellcheck shell=bash
# The stages of the two recipes of WMT'14 English-German, which source it after lib.sh.
# shellcheck disable=SC2153,SC2154 # "setting" assigns the settings

# Settings that Transformer Base and Big have in common.
wmt14_settings() {
    # The paper's  name         value            with --small
    setting        ROUNDS       20               3
    setting        PRUNE_RATE   0.2              0.6
    setting        REWIND       update:1000      update:20
    setting        SEEDS        "1 2 3"          1
    setting        SCOPE        all
    setting        UPDATES      50000            240
    setting        AVERAGE      10               2
    setting        SCORE        tokenized-bleu   subword-bleu
    # fairseq's "Scaling NMT" set-up (Ott et al. 2018), which the paper takes over: batches of 128 GPUs, 3584 tokens each.
    setting        LAYERS       6                2
    setting        BATCH_GPUS   128              1
    setting        MAX_TOKENS   3584             1000
    setting        OPTIMIZER    adam
    setting        BETAS        "(0.9, 0.98)"
    setting        LR           1e-3             5e-3
    setting        SCHEDULER    inverse_sqrt
    setting        WARMUP       4000             100
    setting        WARMUP_LR    1e-07
    setting        CLIP_NORM    0.0
    setting        WEIGHT_DECAY 0.0
    setting        SMOOTHING    0.1
    setting        GENERATE     "--beam 4 --lenpen 0.6 --remove-bpe"   "--beam 4 --lenpen 0.6"
    setting        VOCABULARY   32768            200
    # This machine and these folders.
    setting        PRECISION    fp16
    setting        GPUS         8                0
    setting        JOBS         1                2
    setting        WORKERS      8                2
    setting        PREPARED     runs/wmt14-data  runs/wmt14-small-data
    setting        FROM         ""
}

stage_data() {
    if [[ $SMALL = yes ]]; then
        # The same chain of text, joint units, binary data, for number words ("three hundred" to "dreihundert").
        run python recipes/data/number_words.py "$PREPARED" --train 4000 --held-out 200
        run python recipes/data/units.py "$PREPARED" --size "$VOCABULARY"
        preprocess --source-lang en --target-lang de --joined-dictionary \
            --trainpref "$PREPARED/train.sp" --validpref "$PREPARED/valid.sp" --testpref "$PREPARED/test.sp"
        return
    fi
    # The texts are tokenised and in joint BPE units as they come; newstest2013 validates, newstest2014 is scored.
    fetch wmt14-en-de
    preprocess --source-lang en --target-lang de --joined-dictionary \
        --trainpref "$PREPARED/train" --validpref "$PREPARED/valid" --testpref "$PREPARED/test" \
        --nwordssrc "$VOCABULARY" --nwordstgt "$VOCABULARY"
}

# The chain of fairseq-lottery with so many rounds; none is the dense run alone.
tickets() {
    local kinds seeds scope training
    read -r -a kinds <<<"$KINDS"
    read -r -a seeds <<<"$SEEDS"
    read -r -a scope <<<"$SCOPE"
    training=(
        "$PREPARED/data-bin" --source-lang en --target-lang de --arch "$ARCH" --share-all-embeddings
        --encoder-layers "$LAYERS" --encoder-embed-dim "$WIDTH" --encoder-ffn-embed-dim "$FFN"
        --encoder-attention-heads "$HEADS"
        --decoder-layers "$LAYERS" --decoder-embed-dim "$WIDTH" --decoder-ffn-embed-dim "$FFN"
        --decoder-attention-heads "$HEADS" --dropout "$DROPOUT"
        --criterion lottery_label_smoothed_cross_entropy --label-smoothing "$SMOOTHING"
        --optimizer "$OPTIMIZER" --adam-betas "$BETAS" --clip-norm "$CLIP_NORM" --weight-decay "$WEIGHT_DECAY"
        --lr "$LR" --lr-scheduler "$SCHEDULER" --warmup-updates "$WARMUP" --warmup-init-lr "$WARMUP_LR"
        --max-tokens "$MAX_TOKENS" --update-freq "$update_freq" --max-update "$UPDATES"
    )
    if ((GPUS == 0)); then
        training+=(--num-workers 0 --cpu)
    elif [[ $PRECISION != fp32 ]]; then
        training+=("--$PRECISION")
    fi
    chain fairseq-lottery "$1" --prune-rate "$PRUNE_RATE" --rewind "$REWIND" --kinds "${kinds[@]}" \
        --seeds "${seeds[@]}" --scope "${scope[@]}" --score "$SCORE" --average "$AVERAGE" --generate "$GENERATE" \
        --jobs "$JOBS" -- "${training[@]}"
}

stage_dense() {
    try_rounds
    tickets 0
}
stage_rounds() { tickets "$ROUNDS"; }
stage_report() { report; }
