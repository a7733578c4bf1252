"""The data that the fairseq plugin's tests have."""

from tests.fairseq_lottery.conftest import lm_data

__all__ = ["lm_data"]
