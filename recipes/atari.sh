#!/usr/bin/env bash
# Figures 5, 6 and 7: tickets on the paper's nine Atari games (section 3.3, Table A1).
#   bash recipes/atari.sh [GAME ...] [option ...] [NAME=VALUE ...] [-- more options of sb3-lottery]
# Mean reward of the last 1024 training episodes. Games: assault berzerk breakout centipede kangaroo krull qbert seaquest
# spaceinvaders (all nine when none is named; --small: breakout by the same network, a few episodes, 2 minutes, which
# shows that everything works and nothing about tickets). A GPU's work. Run again, it is resumed.
# shellcheck disable=SC2153,SC2154 # "setting" assigns the settings
set -euo pipefail
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
recipe atari "$@"
paper=(assault berzerk breakout centipede kangaroo krull qbert seaquest spaceinvaders)
if [[ $SMALL = yes ]]; then games breakout; else games "${paper[@]}"; fi
known_games "${paper[@]}"

# The settings of one game.
game_settings() {
    # The paper's   name         value                                 with --small
    setting         ROUNDS       20                                    2
    setting         PRUNE_RATE   0.2                                   0.5
    setting         REWIND       epoch:1                               updates:1
    case $1 in
        assault | breakout | seaquest) # the games of the ablations, Figures 6 and 7
            setting KINDS        "winning random one-shot no-rewind"   "winning random"
            ;;
        *)
            setting KINDS        "winning random"
            ;;
    esac
    setting         SEEDS        "1 2 3"                               1
    setting         SCOPE        all
    # PPO stands in for A2C with importance correction: a clip range of 0.5 clamps the ratio at 1.5. SB3 normalises the
    # advantages of a batch where the paper clips them to [-1, 1].
    setting         ALGO         ppo
    setting         CLIP_RANGE   0.5
    setting         PASSES       1
    setting         N_ENVS       1024                                  1
    setting         N_STEPS      6                                     128
    setting         BATCH        128
    setting         ENTROPY      0.01
    setting         OPTIMIZER    adam
    setting         LR           1e-3
    setting         BETAS        "[0.9,0.999]"
    setting         EPS          1e-3
    # Conv(5,64,1,2) MaxPool(2) Conv(5,64,1,2) MaxPool(2) Conv(3,64,1,1) MaxPool(2) Conv(3,64,1,1) MaxPool(2), then 1920
    # features of a frame of 105 x 80, and two hidden layers.
    setting         CNN          pooling
    setting         FRAME        "105 80"
    setting         NET          "512 512"
    setting         ACTIVATION   relu
    setting         EPOCH        updates:1000                          episodes:2
    setting         EPOCHS       25                                    1
    setting         LAST         1024                                  2
    # This machine and this folder.
    setting         GPUS         1                                     0
    setting         JOBS         1                                     2
    setting         ENV_THREADS  ""    # that step the games; "": the cores of the job
    setting         OUT          "runs/$1"                             "runs/$1-small"
}

# The chain of sb3-lottery with so many rounds; none is the dense run alone.
tickets() {
    local kinds seeds scope net frame device=cpu threads=()
    read -r -a kinds <<<"$KINDS"
    read -r -a seeds <<<"$SEEDS"
    read -r -a scope <<<"$SCOPE"
    read -r -a net <<<"$NET"
    read -r -a frame <<<"$FRAME"
    if ((GPUS)); then device=cuda; fi
    if [[ -n $ENV_THREADS ]]; then threads=(--env-threads "$ENV_THREADS"); fi
    chain sb3-lottery "$1" --preset "$GAME" --prune-rate "$PRUNE_RATE" --rewind "$REWIND" --kinds "${kinds[@]}" \
        --seeds "${seeds[@]}" --scope "${scope[@]}" \
        --algo "$ALGO" --n-envs "$N_ENVS" --clip-reward \
        --hyperparams "n_steps:$N_STEPS" "batch_size:$BATCH" "n_epochs:$PASSES" "ent_coef:$ENTROPY" \
        "clip_range:$CLIP_RANGE" "learning_rate:$LR" \
        --optimizer "$OPTIMIZER" --optimizer-kwargs "betas:$BETAS" "eps:$EPS" \
        --cnn "$CNN" --frame-size "${frame[@]}" --net-arch "${net[@]}" --activation "$ACTIVATION" \
        --epoch "$EPOCH" --epochs "$EPOCHS" --score-episodes "$LAST" --device "$device" --jobs "$JOBS" \
        ${threads[@]+"${threads[@]}"} ${2+"$2"}
}

# Nothing to fetch: the games are in ale-py; everything that the runs need is made once.
stage_data() { RUN=run_logged tickets "$ROUNDS" --dry-run; }
stage_dense() { tickets 0; }
stage_rounds() { tickets "$ROUNDS"; }
stage_report() { report; }

go_games
