"""The place of ``weights_of`` in version 0.1, kept for scripts that import it from here."""

from sb3_lottery.models import weights_of

__all__ = ["weights_of"]
