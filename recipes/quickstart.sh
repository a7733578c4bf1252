#!/usr/bin/env bash
# Winning against random tickets, twice, three seeds each: A2C on CartPole, every training equally long (the paper's
# settings, Table A1, with fewer steps), and a small Transformer that translates number words from English to German.
# Each part ends with its answer and the path of its page; about 5 minutes each on 2 idle cores.
# Run again, it is resumed. Other settings: see the lines that it prints at the end of each part.
#   [OUT=runs/mine] [SEEDS=1-8] [KINDS="winning random reinit"] bash recipes/quickstart.sh [--dry-run | --data] [cartpole] [numbers]
# `--dry-run` prints the commands and does nothing; `--data` makes the data of the number words and trains nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=recipes/data/binary.sh
source recipes/data/binary.sh
parts=() dry=no train=yes
for word in "$@"; do
    case $word in
        --dry-run) dry=yes train=no ;;
        --data) train=no ;;
        cartpole | numbers) parts+=("$word") ;;
        *)
            echo "quickstart: error: unknown part '$word'; there are cartpole and numbers" >&2
            exit 2
            ;;
    esac
done
if ((${#parts[@]} == 0)); then parts=(cartpole numbers); fi
if [[ -z ${LOTTERY_VENV:-} ]]; then bash recipes/setup.sh; fi
export PATH="${LOTTERY_VENV:-$PWD/.venv}/bin:$PATH"
out=${OUT:-runs/quickstart} seeds=${SEEDS:-1-3}
read -r -a kinds <<<"${KINDS:-winning random}"

# After the answer, the table and the picture, which the commands print: the page.
answered() {
    lottery report "$1" --html "$1/page.html" | tail -n 1
    echo "tickets: $1/seed-1/winning/round-*/ticket.safetensors (look into one: .venv/bin/lottery inspect TICKET)"
}

cartpole() {
    local command=(
        sb3-lottery --preset cartpole-steps --epoch timesteps:16000 --out "$out" --rounds 4 --prune-rate 0.5
        --kinds "${kinds[@]}" --jobs 2
    )
    echo "quickstart: ${command[*]} --seeds $seeds"
    if [[ $train == no ]]; then return; fi
    "${command[@]}" --seeds "$seeds"
    answered "$out"
    echo "go on with more seeds and the controls of mask and start: .venv/bin/${command[*]} --seeds 1-8 --kinds winning random reinit permuted"
}

numbers() {
    local data=$out-numbers-data
    if [[ $dry == no && ! -e $data/bin/test.en-de.de.idx ]]; then
        python recipes/data/number_words.py "$data" --train 5000 --held-out 200
        python recipes/data/units.py "$data" --size 200
        binary_data "$data/bin" "$data/preprocess.log" --source-lang en --target-lang de --joined-dictionary \
            --trainpref "$data/train.sp" --validpref "$data/valid.sp" --testpref "$data/test.sp"
    fi
    # Large blocks stay with the process instead of going back to the kernel after each update: faster on a CPU.
    export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
    # BLEU of units, since a German number is one word.
    local command=(
        fairseq-lottery --out "$out-numbers" --rounds 3 --prune-rate 0.6 --rewind update:50 --jobs 2
        --kinds "${kinds[@]}" --score subword-bleu --generate "--beam 1"
    )
    # The learning rate falls to 0, so the dense network is trained to its end.
    local training=(
        "$data/bin" --source-lang en --target-lang de --arch transformer
        --encoder-layers 1 --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 --encoder-attention-heads 4
        --decoder-layers 1 --decoder-embed-dim 64 --decoder-ffn-embed-dim 128 --decoder-attention-heads 4
        --share-all-embeddings --dropout 0 --criterion lottery_cross_entropy
        --optimizer adam --adam-betas "(0.9, 0.98)" --lr 7e-3
        --lr-scheduler polynomial_decay --warmup-updates 80 --total-num-update 400
        --max-tokens 1000 --max-update 400 --num-workers 0 --cpu
    )
    echo "quickstart: $(printf '%q ' "${command[@]}" --seeds "$seeds" -- "${training[@]}")"
    if [[ $train == no ]]; then return; fi
    "${command[@]}" --seeds "$seeds" -- "${training[@]}"
    answered "$out-numbers"
    echo "translations: $out-numbers/seed-1/winning/round-*/generate.txt; the same command goes on with --seeds 1-8"
}

for part in "${parts[@]}"; do "$part"; done
