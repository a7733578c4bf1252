"""What a checkpoint may contain before it is passed to fairseq: options from an allow-list, and no code."""

from fairseq_lottery.safety.literals import NoLiteralError, literal
from fairseq_lottery.safety.plain_options import EVALUATED, require_plain, require_plain_state

__all__ = ["EVALUATED", "NoLiteralError", "literal", "require_plain", "require_plain_state"]
