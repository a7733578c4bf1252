#!/usr/bin/env bash
# The quick loop while working, about a minute: style, types, shell scripts, then the quick tests, until the first that
# fails. Before a commit that changes behaviour: recipes/test.sh. Arguments go to pytest.
#   bash recipes/check.sh -k ticket
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash recipes/setup.sh
# One thread each: for small networks two threads on two busy cores are several times slower.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/shellcheck -x recipes/*.sh .ci/run
# The core, and of each plugin what makes its masks hold.
paths=(tests/test_imports.py tests/lottery_core
    tests/sb3_lottery/training/test_callback.py tests/sb3_lottery/test_networks.py tests/fairseq_lottery/language_model)
# Not here: tests that start, kill and wait for processes; by name, so that it holds wherever they lie.
slow="executors or killed or ctrl_c or side_by_side or get_longer or failed_run or resuming or two_ranks"
for argument in "$@"; do
    [[ -e ${argument%%::*} ]] && paths=()
done
exec .venv/bin/python -m pytest -x -q --durations=0 --durations-min=3 -k "not ($slow)" "${paths[@]}" "$@"
