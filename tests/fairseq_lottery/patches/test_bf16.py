"""``--bf16`` on the command line, which fairseq takes for a TPU."""

from __future__ import annotations

import pytest
from fairseq import options

import fairseq_lottery  # noqa: F401
from tests.fairseq_lottery.patches.upstream import source


def test_upstream_means_a_tpu() -> None:
    assert "if args.bf16: args.tpu = True" in source(options.parse_args_and_arch)


@pytest.mark.parametrize(("words", "bf16"), [(["--bf16"], True), (["--memory-efficient-bf16"], True), ([], False)])
def test_it_means_the_device_that_is_there(words: list[str], bf16: bool) -> None:
    parsed = options.parse_args_and_arch(options.get_training_parser(), ["data", "--arch", "transformer", *words])
    assert (parsed.bf16, parsed.tpu) == (bf16, False)
