"""Whether fairseq and torch still contain the lines that a patch mends."""

from __future__ import annotations

import inspect
import re
from typing import Any


def source(function: Any) -> str:
    """The source of an upstream function, of the original where it is patched, with every whitespace as one space."""
    return re.sub(r"\s+", " ", inspect.getsource(inspect.unwrap(function)))
