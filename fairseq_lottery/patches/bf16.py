"""Let ``--bf16`` on the command line train on a GPU or a CPU.

Mends ``fairseq/options.py:parse_args_and_arch``: with ``if args.bf16: args.tpu = True`` fairseq looks for a TPU and
fails with a traceback unless ``torch_xla`` is installed. A Hydra configuration (``common.bf16=true``) has no such line.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from fairseq import options

from fairseq_lottery.patches.wrap_once import wrap_once


def install() -> None:
    """Replace ``options.parse_args_and_arch``; calling it again changes nothing."""
    wrap_once(options, "parse_args_and_arch", _without_tpu)


def _without_tpu(original: Callable[..., Any]) -> Callable[..., Any]:
    def parse_args_and_arch(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        parsed = result[0] if isinstance(result, tuple) else result
        if getattr(parsed, "bf16", False) and importlib.util.find_spec("torch_xla") is None:
            parsed.tpu = False
        return result

    return parse_args_and_arch
