#!/usr/bin/env bash
# The whole test suite: style, types, shell scripts, then the tests, long ones first. Arguments go to pytest.
#   bash recipes/test.sh -k ticket
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash recipes/setup.sh
# One thread each: for small networks two threads on two busy cores are several times slower.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/shellcheck -x recipes/*.sh .ci/run
# Paths among the arguments replace these. Long chains of real processes, ten minutes more, need --slow or their path.
paths=(tests/fairseq_lottery tests/sb3_lottery tests/test_*.py tests/recipes tests/lottery_core)
marks=(-m "not slow")
arguments=()
for argument in "$@"; do
    [[ -e ${argument%%::*} ]] && paths=() && marks=()
    if [[ $argument == --slow ]]; then marks=(); else arguments+=("$argument"); fi
done
# Two processes; the tests of a file share what they have trained, so they stay together.
exec .venv/bin/python -m pytest -n "${LOTTERY_TEST_WORKERS:-2}" --dist loadfile \
    ${marks[@]+"${marks[@]}"} ${paths[@]+"${paths[@]}"} ${arguments[@]+"${arguments[@]}"}
