#!/usr/bin/env bash
# Tickets of A2C on the paper's classic control games (Table A1, Figure 4), and of PPO and DQN on CartPole-v1.
#   bash recipes/classic_control.sh GAME [more options of sb3-lottery]     GAME: cartpole acrobot lunarlander ppo dqn
# CartPole is the paper's: 20 rounds at 0.2, 3 seeds, about an hour of 2 cores. Acrobot and LunarLander take larger steps
# to about the same share of survivors, as many as fit in about an hour; `--rounds 20 --prune-rate 0.2 --seeds 1 2 3`
# behind the game is the paper's. Run again, it goes on where it was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
game=${1:-}
case $game in
    cartpole) settings=(--preset cartpole --rounds 20 --prune-rate 0.2 --seeds 1 2 3 --kinds winning random one-shot no-rewind) ;;
    acrobot) settings=(--preset acrobot --rounds 7 --prune-rate 0.47 --seeds 1 2 3) ;;
    lunarlander) settings=(--preset lunarlander --rounds 5 --prune-rate 0.59 --seeds 1) ;;
    ppo | dqn) settings=(--zoo --algo "$game" --env CartPole-v1 --rounds 8 --prune-rate 0.42 --seeds 1 2 3) ;;
    *)
        echo "classic_control: error: name a game: cartpole, acrobot, lunarlander, ppo or dqn" >&2
        exit 2
        ;;
esac
shift
bash recipes/setup.sh
command=(.venv/bin/sb3-lottery "${settings[@]}" --jobs "${JOBS:-2}" --out "${OUT:-runs/$game}" "$@")
echo "classic_control: ${command[*]}"
"${command[@]}"
