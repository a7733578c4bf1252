#!/usr/bin/env bash
# Figures 4, 6 and 7: tickets of A2C on the paper's classic control games (section 3.3, Table A1).
#   bash recipes/classic_control.sh [GAME ...] [option ...] [NAME=VALUE ...] [-- more options of sb3-lottery]
# Mean reward of the last 100 training episodes. Games: cartpole acrobot lunarlander (these three when none is named;
# --small: cartpole, 2 minutes), and, not in the paper, ppo and dqn: these algorithms on CartPole-v1 as tuned in rl_zoo3.
# On 2 cores CartPole takes about 40 minutes; Acrobot in about an hour: ROUNDS=7 PRUNE_RATE=0.47 KINDS="winning random".
# Run again, it is resumed.
# shellcheck disable=SC2153,SC2154 # "setting" assigns the settings
set -euo pipefail
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
recipe classic_control "$@"
if [[ $SMALL = yes ]]; then games cartpole; else games cartpole acrobot lunarlander; fi
known_games cartpole acrobot lunarlander ppo dqn

# The settings of one game.
game_settings() {
    # The paper's      name          value                                 with --small
    if [[ $1 = ppo || $1 = dqn ]]; then
        setting        ROUNDS        8                                     3
        setting        PRUNE_RATE    0.42                                  0.6
        setting        KINDS         "winning random"
    else
        setting        ROUNDS        20                                    4
        setting        PRUNE_RATE    0.2                                   0.5
        setting        REWIND        epoch:1
        setting        KINDS         "winning random one-shot no-rewind"   "winning random"
        setting        ALGO          a2c
        setting        N_ENVS        32
        setting        N_STEPS       4
        setting        REWARD_SCALE  0.01
        setting        OPTIMIZER     rmsprop
        setting        LR            1e-4
        setting        ALPHA         0.99
        setting        EPS           1e-8
        setting        ACTIVATION    relu
        setting        EPOCHS        20
        setting        LAST          100
    fi
    setting            SEEDS         "1 2 3"                               1
    setting            SCOPE         all
    case $1 in
        cartpole)
            setting    EPOCH         episodes:160
            setting    NET           "128 128 128"
            ;;
        acrobot)
            setting    EPOCH         episodes:320
            setting    NET           "256 256 256"
            ;;
        lunarlander)
            setting    EPOCH         episodes:640
            setting    NET           "256 256 256"
            ;;
    esac
    # This machine and this folder.
    setting            GPUS          0
    setting            JOBS          2
    setting            OUT           "runs/$1"                             "runs/$1-small"
}

# The chain of sb3-lottery with so many rounds; none is the dense run alone.
tickets() {
    local kinds seeds scope net game
    read -r -a kinds <<<"$KINDS"
    read -r -a seeds <<<"$SEEDS"
    read -r -a scope <<<"$SCOPE"
    if [[ $GAME = ppo || $GAME = dqn ]]; then
        game=(--zoo --algo "$GAME" --env CartPole-v1)
    else
        read -r -a net <<<"$NET"
        # The preset gives the game itself (and LunarLander-v3 where there is no v2); actor and critic share a trunk.
        game=(
            --preset "$GAME" --rewind "$REWIND" --algo "$ALGO" --n-envs "$N_ENVS" --reward-scale "$REWARD_SCALE"
            --hyperparams "n_steps:$N_STEPS" "learning_rate:$LR"
            --optimizer "$OPTIMIZER" --optimizer-kwargs "alpha:$ALPHA" "eps:$EPS"
            --net-arch "${net[@]}" --activation "$ACTIVATION" --shared-trunk
            --epoch "$EPOCH" --epochs "$EPOCHS" --score-episodes "$LAST"
        )
    fi
    if ((GPUS)); then game+=(--device cuda); fi
    chain sb3-lottery "$1" "${game[@]}" --prune-rate "$PRUNE_RATE" --kinds "${kinds[@]}" --seeds "${seeds[@]}" \
        --scope "${scope[@]}" --jobs "$JOBS" ${2+"$2"}
}

# Nothing to fetch; everything that the runs need is made once: the game, the network, the settings.
stage_data() { RUN=run_logged tickets "$ROUNDS" --dry-run; }
stage_dense() { tickets 0; }
stage_rounds() { tickets "$ROUNDS"; }
stage_report() { report; }

go_games
