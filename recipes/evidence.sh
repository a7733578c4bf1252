#!/usr/bin/env bash
# The experiments behind the table of the paper's claims, cheapest first: every kind of ticket with the same number of steps,
# the noise of training shared within a seed, games scored over 100 evaluation episodes. About 60 CPU hours
# in all; eight seeds, CartPole ten.
#   bash recipes/evidence.sh [--dry-run] [SEEDS=1-10] [JOBS=2] [OUT=runs/evidence] [DESIGN ...]
# Designs: luck cartpole gradual words episodes acrobot ppo dqn lunarlander (the default); with DATA=DIR lstm transformer layers;
# cheap chains against plain ones: cheap-cartpole (10 seeds) cheap-words cheap-acrobot (3 seeds) and, with DATA=DIR,
# cheap-multi30k (one); a chain from a pretrained network: pretrained (3 seeds); whole units against weights: units (3 seeds)
# and, with DATA=DIR, units-transformer (one).
# Run again, it is resumed. `--dry-run` lists the runs of each design and trains nothing; lstm makes its data for it, and words,
# pretrained and cheap-* have no dry run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=recipes/data/binary.sh
source recipes/data/binary.sh

designs=() dry=() SEEDS=${SEEDS:-} JOBS=${JOBS:-2} OUT=${OUT:-runs/evidence} DATA=${DATA:-}
fail() {
    echo "evidence: error: $*" >&2
    exit 2
}
for word in "$@"; do
    case $word in
        --dry-run) dry=(--dry-run) ;;
        SEEDS=* | JOBS=* | OUT=* | DATA=*) declare "${word%%=*}=${word#*=}" ;;
        luck | cartpole | gradual | words | episodes | acrobot | ppo | dqn | lunarlander) designs+=("$word") ;;
        lstm | transformer | layers | cheap-cartpole | cheap-words | cheap-acrobot | cheap-multi30k) designs+=("$word") ;;
        pretrained | units | units-transformer) designs+=("$word") ;;
        *) fail "unknown word '$word'; see the head of recipes/evidence.sh" ;;
    esac
done
# CartPole has ten seeds: besides the whole effect there are 13 contrasts, whose tests need nine.
SEEDS_GIVEN=$SEEDS seeds_of_cartpole=${SEEDS:-1-10} SEEDS=${SEEDS:-1-8}
if ((${#designs[@]} == 0)); then designs=(luck cartpole gradual words episodes acrobot ppo dqn lunarlander); fi
if [[ -z ${LOTTERY_VENV:-} ]]; then bash recipes/setup.sh; fi
export PATH="${LOTTERY_VENV:-$PWD/.venv}/bin:$PATH" OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# Six levels in equal steps of the logarithm of the size: 58% to 3.8% survive.
levels=(--rounds 6 --prune-rate 0.42)
# Every kind but the two that cost several trainings a ticket, and uniform, which random stands for.
all_kinds=(winning one-shot no-rewind random reinit permuted shuffled erk at-start signs random-scaled rewound-dense snip gradual)
# 320,000 steps a run instead of the preset's 512,000, so that all kinds fit into some hours.
shorter=(--preset cartpole-steps --epoch timesteps:16000)

game() { # name, then options of sb3-lottery
    local name=$1
    shift
    echo "evidence: $name" >&2
    sb3-lottery --out "$OUT/$name" --eval-episodes 100 --jobs "$JOBS" ${dry[@]+"${dry[@]}"} "$@"
}

text() { # name, recipe, then its settings
    local name=$1 recipe=$2
    shift 2
    [[ -n $DATA ]] || fail "$name needs DATA=DIR, the folder of its texts"
    echo "evidence: $name" >&2
    bash "recipes/$recipe.sh" ${dry[@]+"${dry[@]}"} --out "$OUT/$name" "JOBS=$JOBS" "SEEDS=$(seeds)" "$@"
}

# SEEDS as the recipes take them: 1-3 is 1 2 3.
seeds() {
    local part all=()
    for part in ${SEEDS//,/ }; do
        # shellcheck disable=SC2207 # numbers
        if [[ $part == *-* ]]; then all+=($(seq "${part%-*}" "${part#*-}")); else all+=("$part"); fi
    done
    echo "${all[*]}"
}

# Luck: three tickets of three levels, each trained with five noises.
luck() {
    game luck --preset cartpole-steps --rounds 3 --prune-rate 0.5 --kinds winning --seeds 1-3 --repeat-noise 5
}

cartpole() {
    game cartpole "${shorter[@]}" "${levels[@]}" --kinds "${all_kinds[@]}" --seeds "$seeds_of_cartpole"
}

# Gradual pruning with as many steps as finding and training the winning ticket of round 6: seven trainings.
gradual() {
    game gradual "${shorter[@]}" --epochs 140 --rounds 6 --prune-rate 0.42 --score-rounds 4 6 --kinds gradual --seeds "$SEEDS"
}

# Translation of number words by a small Transformer trained to its end, as in the quickstart: every kind.
words() {
    [[ ${#dry[@]} == 0 ]] || { echo "evidence: words has no dry run" >&2 && return; }
    OUT=$OUT/words SEEDS=1-5 KINDS="${all_kinds[*]}" bash recipes/quickstart.sh numbers
}

# The paper's length in episodes: how much of the effect is the length of training.
episodes() {
    game episodes --preset cartpole "${levels[@]}" --kinds winning random --seeds "$SEEDS"
}

acrobot() {
    game acrobot --preset acrobot-steps "${levels[@]}" --kinds winning random one-shot no-rewind rewound-dense \
        --seeds "$SEEDS"
}

lunarlander() {
    game lunarlander --preset lunarlander-steps --rounds 5 --prune-rate 0.45 --kinds winning random rewound-dense \
        --seeds "$SEEDS"
}

ppo() {
    game ppo --zoo --algo ppo --env CartPole-v1 --rounds 8 --prune-rate 0.42 --kinds winning random no-rewind rewound-dense \
        --seeds "$SEEDS"
}

dqn() {
    game dqn --zoo --algo dqn --env CartPole-v1 --rounds 8 --prune-rate 0.42 --kinds winning random rewound-dense \
        --seeds "$SEEDS"
}

lstm() {
    [[ -n $DATA ]] || fail "lstm needs DATA=DIR, the folder of valid.txt.gz and test.txt.gz"
    echo "evidence: lstm" >&2
    (
        export DATA JOBS ROUNDS=6 WORK="$OUT/lstm-data"
        OUT="$OUT/lstm" bash recipes/wikitext2_valid_lstm.sh --seeds "$SEEDS" \
            --kinds winning random one-shot no-rewind rewound-dense ${dry[@]+"${dry[@]}"}
    )
}

transformer() {
    text transformer multi30k_transformer --from "$DATA" EPOCHS=12 ROUNDS=4 PRUNE_RATE=0.45 \
        KINDS="winning random one-shot rewound-dense"
}

# Only the layers are pruned, the embeddings stay; compared at equal parameters of the whole network, too.
layers() {
    text layers multi30k_transformer --from "$DATA" EPOCHS=12 ROUNDS=4 PRUNE_RATE=0.45 SCOPE=layers KINDS="winning random"
}

cheap() { # experiment, seeds, then more options and its command if it has no name there
    [[ ${#dry[@]} == 0 ]] || { echo "evidence: cheap-$1 has no dry run" >&2 && return; }
    local name=$1 seeds=${SEEDS_GIVEN:-$2} all=(third rising settled-0.05 large-steps)
    shift 2
    # The short chain has large steps already.
    if [[ ${1:-} == --short ]]; then unset 'all[3]'; fi
    python recipes/cheap_chains "$OUT/cheap" --experiment "$name" --seeds "$seeds" --jobs "$JOBS" --ways "${all[@]}" "$@"
}

cheap-cartpole() { cheap cartpole 1-10; }

cheap-acrobot() { cheap acrobot 1-3; }

# The quickstart's command for the number words, in the array words, and their data.
number_words() { # folder
    local recipe=(env "OUT=$1" bash recipes/quickstart.sh)
    export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 # as in the quickstart
    if ((${#dry[@]} == 0)); then "${recipe[@]}" --data numbers; fi
    eval "words=($("${recipe[@]}" --dry-run numbers | grep -m 1 -o "fairseq-lottery .*"))"
}

cheap-words() {
    local words=()
    number_words "$OUT/cheap/words"
    cheap words 1-3 -- "${words[@]}"
}

# A small Transformer on real sentences, in six rounds.
cheap-multi30k() {
    [[ -n $DATA ]] || fail "cheap-multi30k needs DATA=DIR, the folder of its texts"
    local words=() recipe=(bash recipes/multi30k_transformer.sh --from "$DATA" "PREPARED=$OUT/cheap/multi30k-data")
    if ((${#dry[@]} == 0)); then "${recipe[@]}" --stop-stage data; fi
    eval "words=($("${recipe[@]}" --dry-run --stage rounds | grep -m 1 -o "fairseq-lottery .*"))"
    cheap multi30k 1 --short -- "${words[@]}"
}

# A network that has learnt the numbers below 500,000 is pruned while it learns a few of the others.
pretrained() {
    [[ ${#dry[@]} == 0 ]] || { echo "evidence: pretrained has no dry run" >&2 && return; }
    local words=() folder=$OUT/pretrained index
    echo "evidence: pretrained" >&2
    number_words "$folder-quickstart"
    for ((index = 0; index < ${#words[@]}; index++)); do if [[ ${words[index]} == -- ]]; then break; fi; done
    local training=("${words[@]:index+2}") # without the data
    if [[ ! -e $folder-new/bin/test.en-de.de.idx ]]; then
        local languages=(--source-lang en --target-lang de --joined-dictionary)
        python recipes/data/number_words.py "$folder-old" --train 5000 --held-out 200 --to 499999
        python recipes/data/units.py "$folder-old" --size 200
        python recipes/data/number_words.py "$folder-new" --train 500 --held-out 200 --from 500000
        python recipes/data/units.py "$folder-new" --model "$folder-old/units.model"
        binary_data "$folder-old/bin" "$folder-old/preprocess.log" "${languages[@]}" --trainpref "$folder-old/train.sp" \
            --validpref "$folder-old/valid.sp" --testpref "$folder-old/test.sp"
        binary_data "$folder-new/bin" "$folder-new/preprocess.log" "${languages[@]}" --srcdict "$folder-old/bin/dict.en.txt" \
            --trainpref "$folder-new/train.sp" --validpref "$folder-new/valid.sp" --testpref "$folder-new/test.sp"
    fi
    local usual=(--user-dir fairseq_lottery --save-dir "$folder-base.part" --no-epoch-checkpoints --seed 1)
    if [[ ! -d $folder-base ]]; then
        fairseq-train "$folder-old/bin" "${training[@]}" "${usual[@]}" >"$folder-old/train.log" 2>&1
        mv "$folder-base.part" "$folder-base"
    fi
    # A tenth of the numbers, a quarter of the updates, and a third of the learning rate.
    fairseq-lottery --out "$folder" --rewind init --rounds 3 --prune-rate 0.6 --kinds winning shuffled random permuted \
        --seeds "${SEEDS_GIVEN:-1-3}" --jobs "$JOBS" --score subword-bleu --generate "--beam 1" -- "$folder-new/bin" \
        "${training[@]}" --finetune-from-model "$folder-base/checkpoint_last.pt" \
        --lr 2e-3 --warmup-updates 20 --total-num-update 100 --max-update 100
}

# Five levels of 36%, whole units beside single weights.
units() {
    local granularity
    for granularity in weight unit; do
        game "units/$granularity" "${shorter[@]}" --rounds 5 --prune-rate 0.36 \
            --granularity "$granularity" --kinds winning random --seeds "${SEEDS_GIVEN:-1-3}"
    done
}

# Embeddings have no units, so both are pruned in their layers; every layer keeps a head and a unit, 15% of them in all.
units-transformer() {
    local granularity
    for granularity in weight unit; do
        SEEDS=${SEEDS_GIVEN:-1} text "units-transformer/$granularity" multi30k_transformer --from "$DATA" SCOPE=layers ROUNDS=5 \
            PRUNE_RATE=0.3 "PREPARED=$OUT/units-transformer/data" KINDS="winning random" -- --granularity "$granularity"
    done
}

for design in "${designs[@]}"; do "$design"; done
