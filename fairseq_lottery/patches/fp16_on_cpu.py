"""Name the option that half precision needs without a GPU.

Mends ``fairseq/optim/fp16_optimizer.py:_FP16OptimizerMixin.build_fp32_params``: ``devices =
[torch.cuda.current_device()]`` asks for the GPU of the flat fp32 masters, even on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fairseq_lottery.patches.wrap_once import wrap_once
from lottery_core.errors import ConfigError


def install() -> None:
    """Replace ``FP16Optimizer.build_fp32_params``; calling it again changes nothing."""
    from fairseq.optim.fp16_optimizer import FP16Optimizer

    wrap_once(FP16Optimizer, "build_fp32_params", _checking)


def _checking(original: Callable[..., Any]) -> Callable[..., Any]:
    def build_fp32_params(args: Any, params: Any, flatten: bool = True) -> Any:
        if flatten:
            require_flat_masters()
        return original(args, params, flatten=flatten)

    return build_fp32_params


def require_flat_masters() -> None:
    """Check that there is a GPU for flat fp32 masters.

    :raises ConfigError: there is none; the message names the option that avoids flat masters
    """
    try:
        torch.cuda.current_device()
    except (AssertionError, RuntimeError) as error:
        raise ConfigError(
            "--fp16 (and bf16) without a GPU needs --fp16-no-flatten-grads; --memory-efficient-fp16 and --amp do not"
        ) from error
