#!/usr/bin/env bash
# The whole test suite: style, types, shell scripts, then the tests, long ones first. Arguments go to pytest.
#   bash recipes/test.sh -k ticket
#   bash recipes/test.sh --quick     while working: until the first failure, and only tests that take little time
#   bash recipes/test.sh --slow      also long chains of real processes, ten minutes more
#   bash recipes/test.sh --coverage  with line coverage of the three packages, child processes included
# A path in tests among the arguments is tested whole.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash recipes/setup.sh
# One thread each: for small networks two threads on two busy cores are several times slower.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# Modules are compiled once, not in every process.
unset PYTHONDONTWRITEBYTECODE
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/shellcheck -x recipes/*.sh .ci/run
paths=(tests/fairseq_lottery tests/sb3_lottery tests/test_*.py tests/recipes tests/lottery_core)
marks=(-m "not slow") choice=() named='' arguments=()
for argument in "$@"; do
    case $argument in
        --slow) marks=() ;;
        --coverage) arguments+=(--cov --cov-report=term) ;;
        --quick)
            # The core, and of each plugin what makes its masks hold.
            paths=(tests/test_imports.py tests/lottery_core tests/sb3_lottery/training/test_callback.py
                tests/sb3_lottery/test_networks.py tests/fairseq_lottery/language_model)
            # Not those that start, kill and wait for processes, nor thousands of mutants; by name, wherever they lie.
            choice=(-x -q -k "not (mutants or executors or killed or ctrl_c or side_by_side or get_longer or failed_run or resuming or two_ranks)")
            ;;
        # No other path: the value of -k may be the name of a folder too.
        tests | tests/* | "$PWD"/tests | "$PWD"/tests/*) named=yes arguments+=("$argument") ;;
        *) arguments+=("$argument") ;;
    esac
done
if [[ -n $named ]]; then paths=() marks=(); fi
# Two processes; the tests of a file share what they have trained, so they stay together.
exec .venv/bin/python -m pytest -n "${LOTTERY_TEST_WORKERS:-2}" --dist loadfile ${choice[@]+"${choice[@]}"} \
    ${marks[@]+"${marks[@]}"} ${paths[@]+"${paths[@]}"} ${arguments[@]+"${arguments[@]}"}
