# shellcheck shell=bash
# Shared by the recipes, which source it: options, settings, stages. A recipe reads
#   recipe NAME "$@"               its options
#   setting NAME PAPER [SMALL]     one line a setting: from the command line, the environment, or these
#   ready                          after the last setting
#   stage_data, stage_dense, stage_rounds, stage_report     functions: what each stage runs, by run, fetch and chain
#   go                             the stages from --stage to --stop-stage, those that are done left out
# and one of several games games, known_games, a function game_settings, and go_games, which does the last two lines.
# Written for bash 3.2 too, macOS's: no associative arrays, and "${array[@]+...}" where an array may be empty.
set -euo pipefail

STAGES=(data dense rounds report)
HERE=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD

START=data STOP=report
MODE=work # show: print the commands; key: print what decides a stage's results
SMALL=no HELP=no
SLURM=
RUN=run_table # how a chain's command is run
GIVEN_NAMES=() GIVEN_VALUES=() SETTINGS=() WORDS=()
EXTRA=() LAST_WORDS=() # behind the first -- and behind the second

OPTIONS="  --stage S, --stop-stage S  begin and end with a stage: data, dense, rounds, report; what is done is left out
  --small                    the same at a size for 2 cores and minutes, with data that it makes itself
  --dry-run                  print the settings and the commands, do nothing
  --gpus N                   GPUs of this machine to use; 0: the CPU
  --jobs N                   runs trained side by side, which share the GPUs
  --slurm \"partition=gpu,gpus_per_node=8\"   each run as a job of a cluster, by --executor slurm
  --from DIR                 a folder that has the data's files already
  --out DIR                  the experiment's folder, as seen from the checkout
  NAME=VALUE                 a setting, here or in the environment
  -- ... [-- ...]            more options of the command that does the rounds, and more arguments of fairseq-train
An environment of your own instead of .venv: LOTTERY_VENV=DIR"

# One line, exit 2: what is wrong and what is accepted.
fail() {
    echo "$RECIPE: error: $*" >&2
    exit 2
}

say() { echo "$RECIPE: $*" >&2; }

# The words as they could be typed.
quoted() {
    local word line=''
    local quote="'\\''"
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./:,+=@%-]+$ ]]; then line+=" $word"; else line+=" '${word//\'/$quote}'"; fi
    done
    printf '%s' "${line# }"
}

give() {
    GIVEN_NAMES+=("$1")
    GIVEN_VALUES+=("$2")
}

# The folder $1 as it was meant where the recipe was started.
absolute() {
    if [[ $1 = /* ]]; then printf '%s' "$1"; else printf '%s' "$HERE/$1"; fi
}

take() {
    case $1 in
        --stage) START=$2 ;;
        --stop-stage) STOP=$2 ;;
        --gpus) give GPUS "$2" ;;
        --jobs) give JOBS "$2" ;;
        --slurm) SLURM=$2 ;;
        --from) give FROM "$2" ;;
        --out) give OUT "$2" ;;
    esac
}

recipe() {
    RECIPE=$1
    shift
    while (($#)); do
        case $1 in
            --stage | --stop-stage | --gpus | --jobs | --slurm | --from | --out)
                (($# > 1)) || fail "$1 needs a value"
                take "$1" "$2"
                shift
                ;;
            --stage=* | --stop-stage=* | --gpus=* | --jobs=* | --slurm=* | --from=* | --out=*)
                take "${1%%=*}" "${1#*=}"
                ;;
            --dry-run) MODE=show ;;
            --small) SMALL=yes ;;
            -h | --help) HELP=yes ;;
            --)
                shift
                while (($#)) && [[ $1 != -- ]]; do
                    EXTRA+=("$1")
                    shift
                done
                if (($#)); then LAST_WORDS=("${@:2}"); fi
                break
                ;;
            -*) fail "unknown option '${1%%=*}' (see --help); options of the command that does the rounds go behind --" ;;
            *=*) give "${1%%=*}" "${1#*=}" ;;
            *) WORDS+=("$1") ;;
        esac
        shift
    done
}

# A setting: NAME, its value in the paper, and that of --small where it is another.
setting() {
    local name=$1 value=$2 index
    if [[ $SMALL = yes && $# -gt 2 ]]; then value=$3; fi
    if [[ -n ${!name+set} ]]; then value=${!name}; fi
    for ((index = 0; index < ${#GIVEN_NAMES[@]}; index++)); do
        if [[ ${GIVEN_NAMES[index]} = "$name" ]]; then value=${GIVEN_VALUES[index]}; fi
    done
    printf -v "$name" '%s' "$value"
    SETTINGS+=("$name")
}

# Whether $1 is among the words behind it.
among() {
    local word=$1 other
    shift
    for other in "$@"; do
        if [[ $word = "$other" ]]; then return 0; fi
    done
    return 1
}

# Where a stage stands among the stages.
place() {
    local index
    for ((index = 0; index < ${#STAGES[@]}; index++)); do
        if [[ ${STAGES[index]} = "$1" ]]; then echo "$index"; fi
    done
}

whole() {
    [[ ${!1} =~ ^[0-9]+$ ]] || fail "$1 must be a whole number, not '${!1}'"
}

# Checks what was asked for, before anything is done.
ready() {
    local name
    if [[ $HELP = yes ]]; then
        awk 'NR > 1 { if (!/^#/) exit; if (!/^# shellcheck/) print substr($0, 3) }' "$ROOT/recipes/$RECIPE.sh"
        echo "$OPTIONS"
        echo "Settings:"
        print_settings
        exit 0
    fi
    for name in ${GIVEN_NAMES[@]+"${GIVEN_NAMES[@]}"}; do
        among "$name" "${SETTINGS[@]}" || fail "unknown setting '$name'; there are ${SETTINGS[*]}"
    done
    for name in "$START" "$STOP"; do
        among "$name" "${STAGES[@]}" || fail "unknown stage '$name'; there are ${STAGES[*]}"
    done
    (($(place "$START") <= $(place "$STOP"))) || fail "stages out of order: --stage $START comes after --stop-stage $STOP"
    if ((${#WORDS[@]})); then fail "unexpected word '${WORDS[0]}': a setting is NAME=VALUE, an option begins with --"; fi
    for name in GPUS JOBS WORKERS; do
        if among "$name" "${SETTINGS[@]}"; then whole "$name"; fi
    done
    ((JOBS)) || fail "JOBS must be at least 1"
    if among FROM "${SETTINGS[@]}" && [[ -n $FROM ]]; then
        FROM=$(absolute "$FROM")
        [[ -d $FROM ]] || fail "there is no folder $FROM for --from"
    fi
    per_run
    # Large blocks stay with the process instead of going back to the kernel after each update: a fifth faster on a CPU.
    if ((GPUS == 0)); then
        export CUDA_VISIBLE_DEVICES='' # fairseq would start a rank for each GPU that it sees
        export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456
    fi
}

# GPUs that each run has: all, its share of them, or those of its Slurm job.
per_run() {
    local part gpus='' each='' nodes=1 tasks=1 parts
    PER_RUN=$GPUS
    if [[ -n $SLURM ]]; then
        IFS=, read -r -a parts <<<"$SLURM"
        for part in "${parts[@]}"; do
            case $part in
                gpus_per_node=*) gpus=${part#*=} ;;
                gpus_per_task=*) each=${part#*=} ;;
                tasks_per_node=* | ntasks_per_node=*) tasks=${part#*=} ;;
                nodes=*) nodes=${part#*=} ;;
                ?*=*) ;;
                *) fail "--slurm '$SLURM' is not of the form name=value,name=value: '$part'" ;;
            esac
        done
        [[ $gpus$each =~ ^[0-9]*$ && $nodes =~ ^[1-9][0-9]*$ && $tasks =~ ^[1-9][0-9]*$ ]] ||
            fail "--slurm '$SLURM': gpus_per_node, gpus_per_task, tasks_per_node and nodes are whole numbers"
        if [[ -n $each ]]; then gpus=$((each * tasks)); fi
        if [[ -n $gpus ]]; then PER_RUN=$((gpus * nodes)) GPUS=$((gpus * nodes)); fi
        if ((nodes * tasks > 1)); then
            part=nodes=$nodes
            if ((nodes == 1)); then part=tasks_per_node=$tasks; fi
            [[ " ${EXTRA[*]-} " = *" --launcher"[\ =]* ]] ||
                fail "--slurm $part needs a launcher of its ranks behind --, e.g. -- --launcher 'srun python' (see README.md)"
        fi
    elif ((GPUS && JOBS > 1)); then
        PER_RUN=$((GPUS / JOBS > 0 ? GPUS / JOBS : 1))
    fi
}

# The part of $1 (a setting's name) that each GPU of a run does; 0 GPUs are one CPU.
divided() {
    local count=$((PER_RUN > 0 ? PER_RUN : 1)) number fitting=''
    whole "$1"
    for ((number = 1; number <= ${!1}; number++)); do
        if ((${!1} % number == 0)); then fitting+=" $number"; fi
    done
    ((${!1} % count == 0)) ||
        fail "$1=${!1} does not divide by the $count GPUs of a run: give another $1, or a number that divides it:$fitting"
    echo $((${!1} / count))
}

print_settings() {
    local name
    for name in "${SETTINGS[@]}"; do echo "  $name=$(quoted "${!name}")"; done
}

# Runs a command, or prints it.
run() {
    if [[ $MODE != work ]]; then
        echo "  $(quoted "$@")"
        return
    fi
    note "$(quoted "$@")"
    "$@"
}

# Runs a command whose table the stage report shows too: here it goes to recipe.log.
run_table() {
    if [[ $MODE != work ]]; then
        run "$@"
        return
    fi
    note "$(quoted "$@")"
    "$@" >>"$OUT/recipe.log"
}

# Runs a command that says much; what it says goes to the end of data.log.
run_logged() {
    local log status=0
    log=$(data_folder)/data.log
    if [[ $MODE != work ]]; then
        run "$@"
        return
    fi
    note "$(quoted "$@")"
    "$@" >>"$log" 2>&1 || status=$?
    if ((status)); then
        say "error: $1 failed: $(tail -n 1 "$log"), see $log"
        exit "$status"
    fi
}

# The files of a list in recipes/data into $PREPARED.
fetch() {
    local words=(python recipes/data/fetch.py "recipes/data/$1.json" "$PREPARED")
    # Where a file came from does not decide what it is.
    if [[ -n $FROM && $MODE != key ]]; then words+=(--from "$FROM"); fi
    run "${words[@]}"
}

# A binary data set of fairseq from the options given, there whole or not at all.
preprocess() {
    local more=()
    if [[ $MODE != key ]]; then more=(--workers "$WORKERS"); fi # they do not decide what it is
    run_logged rm -rf "$PREPARED/data-bin.part" "$PREPARED/data-bin"
    run_logged fairseq-preprocess "$@" ${more[@]+"${more[@]}"} --destdir "$PREPARED/data-bin.part"
    run_logged mv "$PREPARED/data-bin.part" "$PREPARED/data-bin"
}

# One chain of rounds: the command, its rounds, then its own options; arguments of a framework behind a -- of its own.
chain() {
    local before=("$1" --out "$OUT" --rounds "$2") behind=()
    shift 2
    while (($#)); do
        if [[ $1 = -- ]]; then
            behind=("$@")
            break
        fi
        before+=("$1")
        shift
    done
    if [[ -n $SLURM ]]; then before+=(--executor slurm --slurm "$SLURM"); fi
    "$RUN" "${before[@]}" ${EXTRA[@]+"${EXTRA[@]}"} ${behind[@]+"${behind[@]}"} ${LAST_WORDS[@]+"${LAST_WORDS[@]}"}
}

# What the rounds of the recipe's tickets would refuse is refused before the dense networks are trained.
try_rounds() {
    [[ $MODE = work ]] || return 0
    # Two lines: in bash 3.2 a local array is empty where its value is made.
    local RUN=silently given=(${EXTRA[@]+"${EXTRA[@]}"})
    local EXTRA=(${given[@]+"${given[@]}"} --dry-run)
    tickets "$ROUNDS"
}

silently() { "$@" >/dev/null; }

report() { run lottery report "$OUT"; }

# Where the data stage leaves its traces; with nothing to fetch the experiment's folder.
data_folder() {
    if among PREPARED "${SETTINGS[@]}"; then echo "$PREPARED"; else echo "$OUT"; fi
}

# The marker of a stage that is done; it holds the commands that did it.
marker() {
    if [[ $1 = data ]]; then echo "$(data_folder)/.done-data"; else echo "$OUT/.done-$1"; fi
}

note() {
    mkdir -p "$OUT"
    echo "$(date '+%Y-%m-%d %H:%M:%S') $STAGE: $1" >>"$OUT/recipe.log"
}

# The stages from --stage to --stop-stage.
go() {
    local from to index
    from=$(place "$START") to=$(place "$STOP")
    if [[ $MODE = show ]]; then
        echo "settings"
        print_settings
        for ((index = from; index <= to; index++)); do
            echo "stage ${STAGES[index]}"
            "stage_${STAGES[index]}"
        done
        return
    fi
    for ((index = 0; index < from; index++)); do
        [[ -e $(marker "${STAGES[index]}") ]] ||
            fail "stage out of order: $START needs ${STAGES[index]}, which is not done: begin with --stage ${STAGES[index]}, or without --stage"
    done
    prepare
    for ((index = from; index <= to; index++)); do do_stage "${STAGES[index]}"; done
}

do_stage() {
    local key mark
    STAGE=$1
    mark=$(marker "$STAGE")
    key=$(MODE=key && "stage_$STAGE")
    if [[ -e $mark && $(cat "$mark") = "$key" ]]; then
        say "stage $STAGE: done before"
        return
    fi
    if [[ $STAGE = data && -e $mark && $(data_folder) != "$OUT" ]]; then
        fail "$PREPARED was made with other settings (see $mark): give another PREPARED, or delete it"
    fi
    say "stage $STAGE"
    mkdir -p "$(dirname "$mark")"
    "stage_$STAGE"
    if [[ $STAGE = report ]]; then return; fi
    # Written beside and renamed: it is there whole or not at all.
    printf '%s\n' "$key" >"$mark.part"
    mv "$mark.part" "$mark"
}

# The games to do where the command line names none.
games() {
    if ((${#WORDS[@]} == 0)); then WORDS=("$@"); fi
}

known_games() {
    local game
    for game in "${WORDS[@]}"; do
        among "$game" "$@" || fail "unknown game '$game'; there are $*"
    done
    GAMES=("${WORDS[@]}") WORDS=()
}

# The stages of each game, with game_settings of its own; several games share a folder given by --out.
go_games() {
    local games=("${GAMES[@]}")
    if [[ $HELP = yes ]]; then games=("${games[0]}"); fi
    for GAME in "${games[@]}"; do
        # In a process of its own: the settings of one are not those of the next.
        (
            game_settings "$GAME"
            if ((${#games[@]} > 1)) && [[ $OUT != "runs/$GAME" && $OUT != "runs/$GAME-small" ]]; then OUT+=/$GAME; fi
            ready
            if ((${#games[@]} > 1)); then say "$GAME"; fi
            go
        )
    done
}

# The environment and the GPUs that the stages need.
prepare() {
    local found venv=$ROOT/.venv
    if [[ -z ${LOTTERY_VENV:-} ]]; then bash recipes/setup.sh; else venv=$(absolute "$LOTTERY_VENV"); fi
    [[ -d $venv/bin ]] || fail "LOTTERY_VENV=$LOTTERY_VENV is not a virtual environment"
    PATH=$venv/bin:$PATH
    export PATH
    if [[ -n $SLURM ]]; then
        # Here, not hours later, when the data stage is done.
        python -c 'import sys
from lottery_core.cli import run_command
from lottery_core.experiments.executors import require_slurm, slurm_options
sys.exit(run_command(lambda: slurm_options(sys.argv[2]) and require_slurm(), sys.argv[1]))' "$RECIPE" "$SLURM"
    fi
    if ((GPUS == 0)) || [[ -n $SLURM ]]; then return; fi
    found=$(python -c 'import torch; print(torch.cuda.device_count())')
    ((GPUS <= found)) || fail "GPUS=$GPUS, but torch sees $found here: give --gpus N, or 0 for the CPU"
    if ((GPUS < found)); then
        CUDA_VISIBLE_DEVICES=$(python -c 'import os, sys
seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(int(sys.argv[2]))))
print(",".join(seen.split(",")[: int(sys.argv[1])]))' "$GPUS" "$found")
        export CUDA_VISIBLE_DEVICES
    fi
}
