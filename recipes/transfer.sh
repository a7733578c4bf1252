#!/usr/bin/env bash
# The transfer matrix of three games: the winning tickets of each, on the two others. A2C with a trunk of 256-256-256 units that
# policy and value share; observations and actions differ, so the first layer and the action head have no partner.
#   bash recipes/transfer.sh [--dry-run] [SEEDS=1-3] [JOBS=2] [OUT=runs/transfer] [UNMATCHED=dense] [DATA=DIR] [PAIR ...]
# Pairs are SOURCE-to-TARGET of cartpole, acrobot and lunarlander; by default all six. Each game is searched in OUT/GAME, and
# OUT/PAIR begins as a copy of the target's folder, to which its further seeds are added, so that its dense network and its own
# tickets are trained once. The pair multi30k, which needs DATA=DIR with its texts, is English-German to German-English, one seed
# (SEEDS is for the games): a small Transformer with one dictionary for both languages, so that every tensor has a partner. Run
# again, it is resumed. `--dry-run` lists the runs and trains nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pairs=() dry=() texts='' DATA=${DATA:-} SEEDS=${SEEDS:-1-3} JOBS=${JOBS:-2} OUT=${OUT:-runs/transfer} UNMATCHED=${UNMATCHED:-dense}
fail() {
    echo "transfer: error: $*" >&2
    exit 2
}
for word in "$@"; do
    case $word in
        --dry-run) dry=(--dry-run) ;;
        SEEDS=* | JOBS=* | OUT=* | UNMATCHED=* | DATA=*) declare "${word%%=*}=${word#*=}" ;;
        multi30k) texts=yes ;;
        *-to-*)
            for game in "${word%-to-*}" "${word#*-to-}"; do
                [[ $game =~ ^(cartpole|acrobot|lunarlander)$ ]] || fail "there is no game '$game' here"
            done
            [[ ${word%-to-*} != "${word#*-to-}" ]] || fail "$word is no transfer"
            pairs+=("$word")
            ;;
        *) fail "unknown word '$word'; see the head of recipes/transfer.sh" ;;
    esac
done
if ((${#pairs[@]} == 0)) && [[ -z $texts ]]; then
    for source in cartpole acrobot lunarlander; do
        for target in cartpole acrobot lunarlander; do
            if [[ $source != "$target" ]]; then pairs+=("$source-to-$target"); fi
        done
    done
fi
if [[ -z ${LOTTERY_VENV:-} ]]; then bash recipes/setup.sh; fi
export PATH="${LOTTERY_VENV:-$PWD/.venv}/bin:$PATH" OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# Four levels, half of what is left each: 50% to 6.25% of the parameters survive.
common=(--algo a2c --net-arch 256 256 256 --shared-trunk --rounds 4 --prune-rate 0.5 --eval-episodes 100)

game() { # game, folder, then options of sb3-lottery
    local name=$1 folder=$2
    shift 2
    echo "transfer: $folder" >&2
    sb3-lottery --preset "$name-steps" --out "$OUT/$folder" "${common[@]}" --seeds "$SEEDS" --jobs "$JOBS" \
        ${dry[@]+"${dry[@]}"} "$@"
}

# English-German in OUT/multi30k-en-de, and its tickets on German-English in OUT/multi30k-de-en: 45% less in each round.
multi30k() {
    [[ -n $DATA ]] || fail "multi30k needs DATA=DIR, the folder of its texts"
    local recipe=(bash recipes/multi30k_transformer.sh --from "$DATA" "PREPARED=$OUT/multi30k-data" "JOBS=$JOBS" SEEDS=1
        ROUNDS=4 PRUNE_RATE=0.45 ${dry[@]+"${dry[@]}"})
    echo "transfer: multi30k" >&2
    "${recipe[@]}" --out "$OUT/multi30k-en-de" KINDS=winning
    "${recipe[@]}" --out "$OUT/multi30k-de-en" FROM_LANG=de TO_LANG=en \
        KINDS="winning transfer transfer-values transfer-random" -- --tickets-from "$OUT/multi30k-en-de"
}

# A folder of OUT under another name where there is none, whole or not at all.
whole_copy() {
    local part
    part=$OUT/$(dirname "$2")/.$(basename "$2").part
    if [[ -d $OUT/$2 ]]; then return; fi
    rm -rf "$part"
    cp -a "$OUT/$1" "$part"
    mv "$part" "$OUT/$2"
}

games=()
for pair in ${pairs[@]+"${pairs[@]}"}; do
    for game in "${pair%-to-*}" "${pair#*-to-}"; do
        if [[ " ${games[*]-} " != *" $game "* ]]; then games+=("$game"); fi
    done
done
for game in ${games[@]+"${games[@]}"}; do game "$game" "$game" --kinds winning random; done
for pair in ${pairs[@]+"${pairs[@]}"}; do
    target=${pair#*-to-}
    if ((${#dry[@]})); then
        # Before the source is searched its tickets are missing, and the command says so.
        if [[ ! -d $OUT/${pair%-to-*} ]]; then
            echo "transfer: $pair: transfer, transfer-values and transfer-random after $OUT/${pair%-to-*}" >&2
            continue
        fi
    else
        whole_copy "$target" "$pair"
        for seed in "$OUT/$target"/seed-*; do
            if [[ -d $seed ]]; then whole_copy "$target/${seed##*/}" "$pair/${seed##*/}"; fi
        done
    fi
    game "$target" "$pair" --kinds winning random transfer transfer-values transfer-random \
        --tickets-from "$OUT/${pair%-to-*}" --unmatched "$UNMATCHED"
done
if [[ -n $texts ]]; then multi30k; fi
