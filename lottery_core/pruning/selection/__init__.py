"""Selection: which parameters of a pool survive, to the parameter, given how they are ranked."""

from lottery_core.pruning.selection.checks import RANKED, check_slices, check_start
from lottery_core.pruning.selection.masks import prune_masks, select
from lottery_core.pruning.selection.rounding import rounded_to
from lottery_core.pruning.selection.shares import check_scope_shares

__all__ = ["RANKED", "check_scope_shares", "check_slices", "check_start", "prune_masks", "rounded_to", "select"]
