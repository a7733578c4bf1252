"""Mutated files for the readers of the core: what they are made from, how they are changed, how they are read."""

from tests.lottery_core.fuzzing.checkpoints import CHECKPOINT
from tests.lottery_core.fuzzing.folders import FOLDER
from tests.lottery_core.fuzzing.own_files import SPARSE, TICKET, WEIGHTS
from tests.lottery_core.fuzzing.reader import Finding, Reader, mutant, try_mutant

READERS = {reader.name: reader for reader in (TICKET, SPARSE, CHECKPOINT, WEIGHTS, FOLDER)}

__all__ = ["READERS", "Finding", "Reader", "mutant", "try_mutant"]
