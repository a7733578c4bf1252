"""``--budget``: levels, search and seeds chosen from what the dense run took, and seeds from the spread alone.

The number of seeds is fixed in two stages (Stein, 1945): a few seeds show how much the differences spread, and the
spread alone says how many are needed. Whether a difference was significant is never looked at.
"""

from lottery_core.cli.budget.ways import (
    CPU,
    RUNS,
    WALL,
    Budget,
    Plan,
    check_ways,
    parse_budget,
    plan_within,
    sentence,
    ways,
)
from lottery_core.cli.budget.within import run_within, seeds_by_spread

__all__ = [
    "CPU",
    "RUNS",
    "WALL",
    "Budget",
    "Plan",
    "check_ways",
    "parse_budget",
    "plan_within",
    "run_within",
    "seeds_by_spread",
    "sentence",
    "ways",
]
