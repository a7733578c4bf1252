#!/usr/bin/env bash
# Builds the documentation's site into build/site, and checks its links; with --serve shows it while the pages are edited.
#   bash recipes/docs.sh [--serve]
# Options of the commands, messages and the Python reference come from the code: python recipes/upkeep/reference.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${LOTTERY_VENV:-}
if [[ -z $venv ]]; then
    bash recipes/setup.sh
    venv=.venv
fi
export NO_MKDOCS_2_WARNING=1 PYTHONDONTWRITEBYTECODE=1
if [[ ${1:-} == --serve ]]; then exec "$venv/bin/mkdocs" serve; fi
"$venv/bin/mkdocs" build --strict --quiet
"$venv/bin/python" recipes/upkeep/check_links.py build/site
