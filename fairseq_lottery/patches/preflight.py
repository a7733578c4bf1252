"""Check that fairseq can be imported; if not, report it in one line with the command that installs or repairs it.

This module patches nothing, and does not import fairseq at the top.
"""

from __future__ import annotations

import logging

from lottery_core.errors import LotteryError
from lottery_core.files import first_line

MEND = (
    "pip install torch numpy cython ninja wheel setuptools && pip install --no-build-isolation fairseq-fixed==0.12.3.1"
)


class FairseqError(LotteryError, ImportError):
    """fairseq is missing or broken."""


def require_fairseq() -> None:
    """Import fairseq.

    :raises FairseqError: the import fails; the message gives the reason and a command to run
    """
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # one of fairseq's tasks asks for tensorboardX whenever it is imported
    try:
        import fairseq.tasks  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "fairseq":
            raise FairseqError(f"fairseq is not installed: {MEND}") from error
        raise FairseqError(f"fairseq needs the module '{error.name}', which is missing: pip install it") from error
    except Exception as error:  # a broken installation may raise anything; 0.12.2 on Python 3.11 raises a ValueError
        first = first_line(error)
        raise FairseqError(f"fairseq is broken ({first}): pip uninstall -y fairseq; {MEND}") from error
    finally:
        logging.disable(before)
