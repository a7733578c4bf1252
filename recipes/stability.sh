#!/usr/bin/env bash
# How stable candidate rewind points are, on CartPole and two Transformers: number words and Multi30K English-German.
#   bash recipes/stability.sh [--dry-run] [SEEDS=1-3] [JOBS=2] [OUT=runs/stability] [DATA=DIR] [PROBE ...]
# Probes: cartpole numbers (the default), and multi30k, which needs DATA=DIR with its texts, as multi30k_transformer.sh does.
# The trainings are those of the results beside which the probes stand: cartpole and words of evidence.sh, and Multi30K.
# Run again, it is resumed. `--dry-run` lists the runs and trains nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

probes=() dry=() SEEDS=${SEEDS:-1-3} JOBS=${JOBS:-2} OUT=${OUT:-runs/stability} DATA=${DATA:-}
fail() {
    echo "stability: error: $*" >&2
    exit 2
}
for word in "$@"; do
    case $word in
        --dry-run) dry=(--dry-run) ;;
        SEEDS=* | JOBS=* | OUT=* | DATA=*) declare "${word%%=*}=${word#*=}" ;;
        cartpole | numbers | multi30k) probes+=("$word") ;;
        *) fail "unknown word '$word'; see the head of recipes/stability.sh" ;;
    esac
done
if ((${#probes[@]} == 0)); then probes=(cartpole numbers); fi
if [[ -z ${LOTTERY_VENV:-} ]]; then bash recipes/setup.sh; fi
export PATH="${LOTTERY_VENV:-$PWD/.venv}/bin:$PATH" OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

cartpole() {
    sb3-lottery stability --preset cartpole-steps --epoch timesteps:16000 --out "$OUT/cartpole" --seeds "$SEEDS" \
        --jobs "$JOBS" ${dry[@]+"${dry[@]}"}
}

# A probe with the options of fairseq-train in a command that a recipe prints, quoted for a shell.
probe() { # folder, then the command
    local folder=$1 words=()
    [[ $2 == *" -- "* ]] || fail "the recipe prints no command of fairseq-lottery"
    eval "words=(${2#* -- })"
    if ((${#dry[@]})); then
        echo "fairseq-lottery stability --out $OUT/$folder --seeds $SEEDS --jobs $JOBS -- $(printf '%q ' "${words[@]}")"
        return
    fi
    fairseq-lottery stability --out "$OUT/$folder" --seeds "$SEEDS" --jobs "$JOBS" -- "${words[@]}"
}

# Without dropout only the order of the data is noise.
numbers() {
    export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 # as in the quickstart
    local recipe=(env "OUT=$OUT/quickstart" bash recipes/quickstart.sh)
    if ((${#dry[@]} == 0)); then "${recipe[@]}" --data numbers; fi
    probe numbers "$("${recipe[@]}" --dry-run numbers | grep -m 1 -o "fairseq-lottery .*")"
}

multi30k() {
    [[ -n $DATA ]] || fail "multi30k needs DATA=DIR, the folder of its texts"
    local recipe=(
        recipes/multi30k_transformer.sh --from "$DATA" "OUT=$OUT/multi30k-recipe" "PREPARED=$OUT/multi30k-data"
    )
    if ((${#dry[@]} == 0)); then bash "${recipe[@]}" --stop-stage data; fi
    probe multi30k "$(bash "${recipe[@]}" --stage dense --stop-stage dense --dry-run | grep -m 1 -o "fairseq-lottery .*")"
}

for probe in "${probes[@]}"; do
    echo "stability: $probe" >&2
    "$probe"
done
