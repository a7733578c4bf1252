"""``find_tickets``: a whole experiment around a function of the user's own, in this process or in several."""

from sb3_lottery.find.find_tickets import find_tickets
from sb3_lottery.find.floor import floor_of
from sb3_lottery.find.found import Found
from sb3_lottery.find.references import function_named

__all__ = ["Found", "find_tickets", "floor_of", "function_named"]
