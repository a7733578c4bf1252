"""Everything of fairseq and torch that this plugin patches, a module a patch; importing the room patches nothing."""

from fairseq_lottery.patches.excepthook import ended_badly, is_fairseq_command

__all__ = ["ended_badly", "install", "is_fairseq_command"]


def install() -> None:
    """Install every patch; doing it twice is fine.

    :raises FairseqError: fairseq is missing or broken
    """
    from fairseq_lottery import preflight
    from fairseq_lottery.patches import excepthook

    excepthook.install()
    preflight.require_fairseq()  # before anything imports it, so that a broken one is told in one line

    from fairseq_lottery.patches import call_main, checkpoints

    checkpoints.allow()
    checkpoints.read_clearly()
    call_main.install()
    checkpoints.write_plainly()
