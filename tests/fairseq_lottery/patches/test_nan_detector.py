"""The search for the first NaN does not take the place of the error that it is for."""

from __future__ import annotations

import pytest
import torch
from fairseq.nan_detector import NanDetector
from fairseq.trainer import Trainer

from fairseq_lottery.patches import nan_detector
from tests.fairseq_lottery.patches.upstream import source


def test_upstream_repeats_the_update_and_raises_again() -> None:
    step = source(Trainer.train_step)
    assert "except FloatingPointError:" in step
    assert "with NanDetector(self.get_model()):" in step
    assert "module.register_backward_hook(self.bhook_fn)" in source(NanDetector.add_hooks)
    assert "self.close()" in source(NanDetector.__exit__)


class Words(torch.nn.Module):
    """A module like fairseq's encoders: what it returns is a dictionary that may hold no tensor."""

    def forward(self, value: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        return {"states": [value]}


def test_the_first_error_stays() -> None:
    nan_detector.install()
    model = Words()

    def update() -> None:
        try:
            raise FloatingPointError("gradients are Nan/Inf")
        except FloatingPointError:
            with NanDetector(model):
                model(torch.ones(2, requires_grad=True))
            raise

    with pytest.raises(FloatingPointError, match="gradients are Nan/Inf"):
        update()
    assert not model._forward_hooks


def test_ctrl_c_is_no_error_of_the_search() -> None:
    nan_detector.install()
    with pytest.raises(KeyboardInterrupt), NanDetector(Words()):
        raise KeyboardInterrupt
