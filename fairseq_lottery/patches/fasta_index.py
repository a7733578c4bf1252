"""The index of a FASTA file (``--dataset-impl fasta``), without a shell.

Mends ``fairseq/data/fasta_dataset.py:FastaDataset._build_index``, which puts the path of the data, with the names of
languages, into a shell command: a path from a checkpoint, or a file's name, could run code.
"""

from __future__ import annotations

from typing import Any

import numpy


def install() -> None:
    """Replace the method; calling it again changes nothing."""
    from fairseq.data.fasta_dataset import FastaDataset

    FastaDataset._build_index = build_index


def build_index(self: Any, path: str) -> tuple[Any, Any]:
    """Return where the records of a FASTA file begin, in bytes, and the lengths of their sequences, in characters.

    :param path: the file without its ending ``.fasta``
    """
    from fairseq.data.fasta_dataset import fasta_file_path

    offsets: list[int] = []
    lengths: list[int] = []
    begin = 0
    with open(fasta_file_path(path), "rb") as file:
        for line in file:
            if line.startswith(b">"):
                offsets.append(begin)
                lengths.append(0)
            elif lengths:
                lengths[-1] += len(line.rstrip(b"\n").decode(errors="replace"))
            begin += len(line)
    return numpy.array(offsets, numpy.int64), numpy.array(lengths, numpy.int64)
