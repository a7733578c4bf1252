"""The old module of ``weights_of``, kept for scripts of version 0.1 that import it from here."""

from sb3_lottery.models import weights_of

__all__ = ["weights_of"]
