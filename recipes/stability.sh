#!/usr/bin/env bash
# How stable candidate rewind points are, on CartPole and two Transformers: number words and Multi30K English-German.
#   bash recipes/stability.sh [--dry-run] [SEEDS=1-3] [JOBS=2] [OUT=runs/stability] [DATA=DIR] [PROBE ...]
# Probes: cartpole numbers (the default), and multi30k, which needs DATA=DIR with its texts, as multi30k_transformer.sh does.
# The set-ups are those of classic_control.sh and multi30k_transformer.sh, so that the probes stand beside their results.
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
    sb3-lottery stability --preset cartpole-steps --out "$OUT/cartpole" --seeds "$SEEDS" --jobs "$JOBS" \
        ${dry[@]+"${dry[@]}"}
}

# A probe with the options of fairseq-train that multi30k_transformer.sh prints for its dense run.
transformer() { # folder, then settings of the recipe
    local folder=$1 line words=()
    shift
    local recipe=(recipes/multi30k_transformer.sh "$@" "OUT=$OUT/$folder-recipe" "PREPARED=$OUT/$folder-data")
    if ((${#dry[@]} == 0)); then bash "${recipe[@]}" --stop-stage data; fi
    line=$(bash "${recipe[@]}" --stage dense --stop-stage dense --dry-run | grep -m 1 -o "fairseq-lottery .*") ||
        fail "multi30k_transformer.sh prints no command"
    eval "words=(${line#* -- })" # as printed, quoted for a shell
    if ((${#dry[@]})); then
        echo "fairseq-lottery stability --out $OUT/$folder --seeds $SEEDS --jobs $JOBS -- ${words[*]@Q}"
        return
    fi
    fairseq-lottery stability --out "$OUT/$folder" --seeds "$SEEDS" --jobs "$JOBS" -- "${words[@]}"
}

# Without dropout only the order of the data is noise, as in the results of multi30k_transformer.sh --small.
numbers() { transformer numbers --small; }

multi30k() {
    [[ -n $DATA ]] || fail "multi30k needs DATA=DIR, the folder of its texts"
    transformer multi30k --from "$DATA" EPOCHS=12
}

for probe in "${probes[@]}"; do
    echo "stability: $probe" >&2
    "$probe"
done
