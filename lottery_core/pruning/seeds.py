"""Seeds derived from words and numbers."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """Derive a seed of 31 bits, the same on every machine; numpy and gymnasium take no more bits."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1
