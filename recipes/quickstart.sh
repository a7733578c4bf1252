#!/usr/bin/env bash
# Winning against random tickets on CartPole: the paper's A2C setting (Table A1), 10 rounds, one seed.
# About 4 minutes on 2 idle cores; run again, it goes on where it was. Other settings: see the last line it prints.
#   OUT=runs/mine bash recipes/quickstart.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash recipes/setup.sh

out=${OUT:-runs/quickstart}
command=(.venv/bin/sb3-lottery --preset cartpole --out "$out" --rounds 10 --prune-rate 0.28 --jobs 2)
echo "quickstart: ${command[*]}"
"${command[@]}" --seeds 1
echo "tickets: $out/seed-1/winning/round-*/ticket.safetensors (look into one: .venv/bin/lottery inspect TICKET)"
echo "go on with two more seeds and another control: ${command[*]} --seeds 1 2 3 --kinds winning random reinit"
