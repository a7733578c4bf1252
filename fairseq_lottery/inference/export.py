"""Export a checkpoint for use without this project: its configuration names only fairseq's own tasks and models."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fairseq_lottery.checkpoint import load_state, with_attributes, without_namespaces
from fairseq_lottery.inference import ctranslate2, sparse_checkpoints
from fairseq_lottery.inference.shrink import shrink_state
from fairseq_lottery.language_model import LanguageModelingOptions
from fairseq_lottery.names import PREFIX
from lottery_core.errors import CheckpointError
from lottery_core.files import write_atomically
from lottery_core.inference import CSR, CTRANSLATE2, PLAIN, SHRUNK

_LSTM = "lottery_lstm_lm"
_FROM_ATTRIBUTES = {"transformer", "transformer_align", "multilingual_transformer"}
_OPTIONS = {
    field.name for field in dataclasses.fields(LanguageModelingOptions) if not str(field.default).startswith("${")
} - {"_name"}


def export(path: Path, output: Path, form: str, trust: bool, *, shrunk: bool = False, **options: Any) -> str:
    """Write a checkpoint without any reference to this project, and without the optimizer's state.

    :param path: a checkpoint of a lottery task
    :param output: the file to write; ``fairseq-generate``, ``fairseq-eval-lm`` and ``from_pretrained`` read it
    :param form: ``"plain"``, ``"shrunk"``, ``"csr"`` or ``"ctranslate2"``, see :func:`lottery_core.inference.export`
    :param trust: ignored; reading a fairseq checkpoint runs no code
    :param shrunk: whether to remove dead units before the model is converted for CTranslate2
    :param options: options of CTranslate2, see :func:`fairseq_lottery.inference.ctranslate2.convert`
    :returns: a text with the task, architecture and criterion, and what was removed
    :raises CheckpointError: the checkpoint cannot be read, fairseq lacks its model, or there is nothing to shrink
    :raises WriteError: the file cannot be written
    """
    if form not in (PLAIN, SHRUNK, CSR, CTRANSLATE2):
        raise CheckpointError(f"a fairseq model cannot be exported in the form {form}")
    if form == CTRANSLATE2:
        ctranslate2.require_package()
    plain = plain_state(path)
    if form == CSR:
        return sparse_checkpoints.write(plain, output)
    report = None
    if form == SHRUNK or shrunk:
        plain, report = shrink_state(plain, str(path), heads_stay=form != CTRANSLATE2)
    plain["args"] = _args(plain["cfg"]["model"])
    if form == CTRANSLATE2:
        return ctranslate2.convert(plain, path, output, report=report, **options)
    write_atomically(output, lambda file: torch.save(plain, file))
    cfg = plain["cfg"]
    task, criterion = (_options(cfg[part]).get("_name") for part in ("task", "criterion"))
    names = f"task {task}, architecture {_architecture(cfg)}, criterion {criterion}"
    return names if report is None else f"{names}; {report.line}"


def plain_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint as fairseq alone would have written it, without the optimizer's state.

    :param path: a checkpoint of a lottery task
    :returns: the state, as fairseq's trainer saves it
    :raises CheckpointError: the checkpoint cannot be read, its options are not plain data, or fairseq lacks its model
    """
    state = load_state(path)
    if not isinstance(state.get("cfg"), Mapping):
        raise CheckpointError(f"cannot export {path}: it has no configuration: fairseq before 0.10 wrote it")
    cfg = {name: dict(part) if isinstance(part, Mapping) else part for name, part in state["cfg"].items()}
    cfg = without_namespaces(cfg)
    model = state["model"]
    if _architecture(cfg).startswith(_LSTM):
        cfg["model"], model = _as_lstm_lm(cfg["model"], model, path)
    for part in filter(None, cfg.values()):
        if isinstance(part, (dict, Namespace)):  # with --arch the model's part holds every option
            _clean(_options(part))
    cfg["task"] = _own_options(cfg["task"])
    history = [
        {**entry, "criterion_name": entry["criterion_name"].removeprefix("Lottery")}
        for entry in state["optimizer_history"]
    ]
    extra = {name: value for name, value in state.get("extra_state", {}).items() if not name.startswith("Lottery")}
    extra.pop("metrics", None)  # --eval-bleu leaves numpy objects, which plain fairseq may refuse to unpickle
    plain = {"args": None, "cfg": cfg, "model": model, "criterion": state.get("criterion")}
    return plain | {
        "optimizer_history": history,
        "task_state": {},
        "extra_state": extra,
        "last_optimizer_state": None,
    }


def _args(options: Any) -> Any:
    """Return the options that a checkpoint has as "args", for models whose options are attributes.

    fairseq wrote them there before 0.10, as a ``Namespace``, and reads them from there still; CTranslate2's converter
    reads attributes as well (``converters/fairseq.py``).

    :param options: options of the model, which with ``--arch`` are those of everything
    :returns: the options, as entries and as attributes; ``None`` if fairseq must take those in "cfg"
    """
    from fairseq.models import ARCH_MODEL_NAME_REGISTRY

    arch = None if isinstance(options, Namespace) else options.get("arch")
    return with_attributes(options) if ARCH_MODEL_NAME_REGISTRY.get(arch) in _FROM_ATTRIBUTES else None


def _architecture(cfg: Mapping[str, Any]) -> str:
    model = _options(cfg["model"])
    return str(model.get("arch") or model.get("_name"))


def _options(section: Any) -> dict[str, Any]:
    # Tasks, models and criterions without a configuration class have a Namespace.
    return vars(section) if isinstance(section, Namespace) else section


def _clean(options: dict[str, Any]) -> None:
    for name in _OPTIONS:
        options.pop(name, None)
    for name in ("_name", "task", "criterion"):
        if isinstance(options.get(name), str):
            options[name] = options[name].removeprefix(PREFIX)
    if "user_dir" in options:
        options["user_dir"] = None


def _own_options(options: Any) -> Any:
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    known = TASK_DATACLASS_REGISTRY.get(_options(options).get("_name"))
    if known is None:  # a task without a configuration class takes any option
        return options
    names = {"_name", *(field.name for field in dataclasses.fields(known))}
    return {name: value for name, value in _options(options).items() if name in names}


def _as_lstm_lm(
    options: Mapping[str, Any], model: Mapping[str, Any], path: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rename options and weights for fairseq's ``lstm_lm``, which computes the same (``fairseq/models/lstm.py``)."""
    if options["share_decoder_input_output_embed"]:
        raise CheckpointError(
            f"cannot export {path}: the output layer of a tied {_LSTM} has a bias, and that of fairseq's lstm_lm "
            "has none; use it with --user-dir fairseq_lottery"
        )
    names = {"decoder.output_projection.weight": "decoder.fc_out.weight"}
    names["decoder.output_projection.bias"] = "decoder.fc_out.bias"
    for layer in range(options["decoder_layers"]):
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            names[f"decoder.lstm.{part}_l{layer}"] = f"decoder.layers.{layer}.{part}"
    renamed = {names.get(name, name): tensor for name, tensor in model.items()}
    plain = {name: value for name, value in options.items() if name not in ("_name", "arch")}
    plain |= {"_name": "lstm_lm", "arch": "lstm_lm", "criterion": "cross_entropy"}
    return {**plain, "decoder_out_embed_dim": options["decoder_hidden_size"]}, renamed
