"""Files: atomic writes, the folder lock, checked JSON and sizes, learning curves, links, printable text, signatures."""

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
from lottery_core.files.curve import CurveFile, CurvePoint, read_curve
from lottery_core.files.differences import differences, same_json
from lottery_core.files.folders import write_folder
from lottery_core.files.json_values import from_json, parse_json
from lottery_core.files.links import refuse_link_out, refuse_links_out
from lottery_core.files.printable import counted, first_line, percentage, printable
from lottery_core.files.regular import file_digest, stamp, why_not_regular
from lottery_core.files.signatures import sign, unsigned
from lottery_core.files.sizes import believable, why_no_shape

__all__ = [
    "CurveFile",
    "CurvePoint",
    "counted",
    "FolderLock",
    "believable",
    "differences",
    "disk_full",
    "from_json",
    "is_locked",
    "last_line",
    "parse_json",
    "file_digest",
    "first_line",
    "percentage",
    "printable",
    "read_curve",
    "read_json",
    "read_object",
    "refuse_inputs",
    "refuse_link_out",
    "refuse_links_out",
    "remove_parts",
    "same_json",
    "sign",
    "stamp",
    "unsigned",
    "why_no_shape",
    "why_not_regular",
    "write_atomically",
    "write_bytes",
    "write_folder",
    "write_json",
    "write_text",
]
