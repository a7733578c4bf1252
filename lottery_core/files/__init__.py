"""Files: regular ones alone, atomic writes, the folder lock, JSON of the right shape, and text fit to be printed."""

from lottery_core.files.atomic import (
    FolderLock,
    disk_full,
    is_locked,
    last_line,
    read_json,
    read_object,
    refuse_inputs,
    remove_parts,
    write_atomically,
    write_bytes,
    write_json,
    write_text,
)
from lottery_core.files.differences import differences
from lottery_core.files.json_values import from_json, parse_json
from lottery_core.files.printable import printable
from lottery_core.files.regular import why_not_regular

__all__ = [
    "FolderLock",
    "differences",
    "disk_full",
    "from_json",
    "is_locked",
    "last_line",
    "parse_json",
    "printable",
    "read_json",
    "read_object",
    "refuse_inputs",
    "remove_parts",
    "why_not_regular",
    "write_atomically",
    "write_bytes",
    "write_json",
    "write_text",
]
