#!/usr/bin/env bash
# Winning against random tickets, twice: A2C on CartPole as in the paper (Table A1), 10 rounds, and a small Transformer
# that translates number words from English to German, 5 rounds; one seed each. About 4 + 5 minutes on 2 idle cores.
# Run again, it is resumed. Other settings: see the lines that it prints at the end of each part.
#   OUT=runs/mine bash recipes/quickstart.sh [cartpole] [numbers]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
parts=("${@:-cartpole}")
[[ $# -gt 0 ]] || parts=(cartpole numbers)
for part in "${parts[@]}"; do
    if [[ $part != cartpole && $part != numbers ]]; then
        echo "quickstart: error: unknown part '$part'; there are cartpole and numbers" >&2
        exit 2
    fi
done
bash recipes/setup.sh
export PATH="$PWD/.venv/bin:$PATH"
out=${OUT:-runs/quickstart}

cartpole() {
    local command=(sb3-lottery --preset cartpole --out "$out" --rounds 10 --prune-rate 0.28 --jobs 2)
    echo "quickstart: ${command[*]}"
    "${command[@]}" --seeds 1
    echo "tickets: $out/seed-1/winning/round-*/ticket.safetensors (look into one: .venv/bin/lottery inspect TICKET)"
    echo "go on with two more seeds and another control: .venv/bin/${command[*]} --seeds 1 2 3 --kinds winning random reinit"
}

numbers() {
    local data=$out-numbers-data
    if [[ ! -e $data/bin/test.en-de.de.idx ]]; then
        python recipes/number_words.py "$data"
        python recipes/units.py "$data" --size 200
        fairseq-preprocess --source-lang en --target-lang de --joined-dictionary --destdir "$data/bin" \
            --trainpref "$data/train.sp" --validpref "$data/valid.sp" --testpref "$data/test.sp" >"$data/preprocess.log" 2>&1
    fi
    # Large blocks stay with the process instead of going back to the kernel after each update: faster on a CPU.
    export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
    # BLEU of units, since a German number is one word.
    local command=(
        fairseq-lottery --out "$out-numbers" --rounds 5 --prune-rate 0.45 --rewind update:50 --jobs 2
        --score subword-bleu --generate "--beam 1"
    )
    local training=(
        "$data/bin" --source-lang en --target-lang de --arch transformer
        --encoder-layers 2 --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 --encoder-attention-heads 4
        --decoder-layers 2 --decoder-embed-dim 64 --decoder-ffn-embed-dim 128 --decoder-attention-heads 4
        --share-all-embeddings --dropout 0 --criterion lottery_cross_entropy
        --optimizer adam --adam-betas "(0.9, 0.98)" --lr 5e-3 --lr-scheduler inverse_sqrt --warmup-updates 100
        --max-tokens 1000 --max-epoch 4 --num-workers 0 --cpu
    )
    echo "quickstart: $(printf '%q ' "${command[@]}" --seeds 1 -- "${training[@]}")"
    "${command[@]}" --seeds 1 -- "${training[@]}"
    echo "translations: $out-numbers/seed-1/winning/round-*/generate.txt; the same command goes on with --seeds 1 2 3"
}

for part in "${parts[@]}"; do "$part"; done
