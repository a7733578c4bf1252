"""The allow-list of values that an option in a checkpoint may have.

fairseq evaluates options that are text, or bytes (``fairseq/utils.py:eval_str_list``: ``x = eval(x)``;
``fairseq/models/fconv.py``), after OmegaConf has replaced the interpolations in them; so the author of a checkpoint
could run code on the machine that reads it. Only plain data is accepted: numbers, booleans, ``None``, strings, and
lists and dictionaries of them. A string without interpolations is checked as it is, because nothing will change it
later.
"""

from __future__ import annotations

import ast
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from fairseq_lottery.safety.literals import NoLiteralError, literal, parse
from lottery_core.errors import CheckpointError
from lottery_core.files import printable

# Options that fairseq, or one of its examples, evaluates. A test finds them in fairseq's source.
EVALUATED = frozenset(
    {
        *("adafactor_eps", "adam_betas", "adamax_betas", "lamb_betas", "optimizer_overrides", "model_overrides"),
        *("adaptive_input_cutoff", "adaptive_softmax_cutoff", "character_filters", "xformers_att_config"),
        *("encoder_layers", "decoder_layers", "encoder_attention", "decoder_attention", "decoder_zero_init"),
        *("self_attention", "project_input", "gated_attention", "downsample", "pretrained"),
        *("conv_feature_layers", "conv_aggregator_layers", "conv_layers", "conv_dec_config", "conv_enc_config"),
        *("feature_encoder_spec", "input_layers", "transformer_context", "transformer_sampling", "wer_args"),
        *("transformer_enc_config", "transformer_dec_config", "vggblock_enc_config"),
        *("left_pad_source", "left_pad_target", "pipeline_balance", "pipeline_devices"),
        *("pipeline_encoder_balance", "pipeline_encoder_devices"),
        *("pipeline_decoder_balance", "pipeline_decoder_devices"),
    }
)
# Paths, names and patterns, which may look like calls (runs/a(1)) and which are never evaluated.
_NEVER_EVALUATED = frozenset(
    {
        *("data", "save_dir", "restore_file", "finetune_from_model", "continue_once", "path", "results_path"),
        *("tensorboard_logdir", "log_file", "wandb_project", "azureml_logging", "aim_repo", "aim_run_hash"),
        *("user_dir", "ticket", "rewind", "rewind_point", "scope", "source_lang", "target_lang", "lang_pairs"),
        *("distributed_init_method", "plasma_path", "input", "lm_path"),
    }
)
# Expressions that are harmless even where no evaluation is known: they cannot call anything, nor assign (as a
# comprehension can).
_HARMLESS = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.expr_context, ast.Tuple, ast.List, ast.Dict, ast.Set),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
_BRACKETS = "([{"  # without any of them, an expression neither calls nor assigns
_MAPPINGS = (dict, OrderedDict)
_PLAIN = (int, float, bool, type(None))
_MOST = 200_000  # options in total
_DEEPEST = 32
_ACCEPTED = "accepted are numbers, lists, tuples and dictionaries of them, + and *, as in [(512, 3)] * 20"


def require_plain_state(state: Any, source: str) -> None:
    """Check the options in the content of a checkpoint, in either of the two places where they may be.

    :param state: the result of ``torch.load``
    :param source: the file, for messages
    :raises CheckpointError: an option is not on the allow-list, or the file is not a checkpoint
    """
    if type(state) not in _MAPPINGS:
        raise CheckpointError(f"cannot read {source}: it is not a checkpoint of fairseq")
    for key in ("cfg", "args"):
        options = dict.get(state, key)
        if options is not None and not isinstance(options, (*_MAPPINGS, Namespace, DictConfig)):
            raise CheckpointError(f"cannot read {source}: its options are a {type(options).__name__}")
        require_plain(options, source)


def require_plain(options: Any, source: str) -> None:
    """Check that options are plain data, and that none of their texts would run code when fairseq evaluates it.

    :param options: the configuration in a checkpoint, or a part of it
    :param source: the file, for messages
    :raises CheckpointError: an option is not on the allow-list; the message names it
    """
    budget = [_MOST]
    for name, reason in _refused(options, (), budget):
        raise CheckpointError(f"cannot read {source}: its option {printable(name, 200)} {reason}")
    if budget[0] < 0:
        raise CheckpointError(f"cannot read {source}: it has more than {_MOST:,} options")


def _refused(value: Any, path: tuple[str, ...], budget: list[int]) -> Iterator[tuple[str, str]]:
    # Yields the name of each option that is not on the list, with the reason.
    budget[0] -= 1
    if budget[0] < 0:
        return
    if isinstance(value, (DictConfig, ListConfig)):
        value = OmegaConf.to_container(value, resolve=False, enum_to_str=True)
    name = ".".join(path) or "cfg"
    if len(path) > _DEEPEST:
        yield name, "is nested too deeply"
    elif type(value) is Namespace or type(value) in _MAPPINGS:
        for key, part in _entries(value):
            reason = _why_no_key(key)
            if reason is not None:
                yield f"{name}.{key!r}" if type(key) is str else f"in {name}", reason
            yield from _refused(part, (*path, str(key)), budget)
    elif type(value) in (list, tuple):
        for part in value:
            yield from _refused(part, (*path, "*"), budget)
    elif type(value) is str:
        reason = _why_not_text(value, next((part for part in reversed(path) if part != "*"), ""))
        if reason is not None:
            yield name, reason
    elif type(value) not in _PLAIN:
        yield name, f"is of the type {printable(type(value).__name__, 80)}: options are numbers, strings, lists"


def _entries(value: Any) -> Iterator[tuple[Any, Any]]:
    # A file may give an OrderedDict attributes beside its entries, even one with the name of a method.
    if not isinstance(value, Namespace):
        yield from dict.items(value)
    yield from getattr(value, "__dict__", {}).items()


def _why_no_key(key: Any) -> str | None:
    if type(key) not in (str, *_PLAIN):
        return f"has a key of the type {printable(type(key).__name__, 80)}"
    return "has an interpolation in its name" if type(key) is str and "${" in key else None


def _why_not_text(text: str, option: str) -> str | None:
    shown = repr(printable(text, 80))
    if "${" in text:
        return f"is an interpolation, which may stand for anything: {shown}"
    if option in EVALUATED:
        try:
            literal(text or "None")
        except NoLiteralError as error:
            return f"is code, which fairseq would run: {shown} ({error}; {_ACCEPTED})"
        return None
    if option in _NEVER_EVALUATED or not any(bracket in text for bracket in _BRACKETS):
        return None
    try:
        expressions = [found for found in map(parse, {text, text.strip()}) if found is not None]
    except NoLiteralError as error:
        return f"may be code, which fairseq would run: {shown} ({error})"
    for node in (node for expression in expressions for node in ast.walk(expression)):
        if not isinstance(node, _HARMLESS):
            return f"is code, which fairseq would run: {shown}"
    return None
