"""The arguments of fairseq's commands: parsed once, changed by copies."""

from __future__ import annotations

import pytest

from fairseq_lottery.argv import USER_DIR, FairseqArguments, split


def test_split() -> None:
    assert split(["--out", "x", "--", "data", "--", "more"]) == (["--out", "x"], ["data", "--", "more"])
    assert split(["--help"]) == (["--help"], [])


def test_both_spellings_and_the_last_one_counts() -> None:
    arguments = FairseqArguments(
        ["data", "--task=translation", "-s", "en", "--task", "denoising", "--source-lang=fr", "-t=de", "--cpu"]
    )
    assert (arguments.task, arguments.source_lang, arguments.target_lang) == ("denoising", "fr", "de")
    assert (arguments.cpu, arguments.no_epoch_checkpoints) == (True, False)
    assert (arguments.user_dir, arguments.log_format, arguments.keep_last_epochs) == (None, None, None)
    assert FairseqArguments(["--log-format", "json", "--keep-last-epochs", "3"]).keep_last_epochs == "3"
    assert FairseqArguments(["--no-epoch-checkpoints"]).no_epoch_checkpoints
    assert FairseqArguments(["data", "--task"]).task is None


def test_changed_copies_leave_the_words_alone() -> None:
    words = ["data", "--task", "translation", "--cpu", "--restore-file=a.pt", "--seed", "1", "--restore-file", "b.pt"]
    arguments = FairseqArguments(words)
    assert arguments.without("--restore-file", "--task").words == ("data", "--cpu", "--seed", "1")
    assert arguments.plus("--lr", "1").words == (*words, "--lr", "1")
    assert arguments.words == tuple(words)
    assert arguments == FairseqArguments(tuple(words))
    with pytest.raises(AttributeError):
        arguments.words = ()  # type: ignore[misc]


def test_the_user_dir_of_the_user_stays() -> None:
    assert FairseqArguments(["data"]).with_user_dir().words == ("data", "--user-dir", USER_DIR)
    own = FairseqArguments(["data", "--user-dir=mine"])
    assert own.with_user_dir() is own
