"""``lottery export --form ctranslate2``: convert a translation model, and check what it translates."""

from __future__ import annotations

import errno
import logging
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from fairseq.data import data_utils, indexed_dataset

from fairseq_lottery.checkpoint import CheckpointProgress, with_attributes
from fairseq_lottery.inference.ctranslate2.compare import SPLIT, compare
from fairseq_lottery.inference.ctranslate2.heads import leave_out_dead_heads
from lottery_core.errors import CheckpointError, ConfigError, WriteError
from lottery_core.experiments import paths
from lottery_core.files import read_object, write_folder, write_json
from lottery_core.inference import Report
from lottery_core.version import VERSION

EXTRA = "the form ctranslate2 needs ctranslate2 and sacrebleu: pip install -c constraints.txt ctranslate2 sacrebleu"
_GIVE = "give the folder that fairseq-preprocess wrote, --data DIR"
FACTS = "lottery.json"  # in the model's folder: where it comes from, and what the check said
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LACKING = ("no_cross_attention", "cross_self_attention")  # options at which its converter fails without naming them
_INT8, _FLOAT32 = "int8", "float32"
# Entries of result.json that the folder names.
_RESULT = ("kind", "round", "seed", "pruned", "surviving", "score")


def require_package() -> None:
    """Check that ctranslate2 and sacrebleu are installed.

    :raises ConfigError: one is not; the message has the pip command
    """
    try:
        import ctranslate2  # noqa: F401
        import sacrebleu  # noqa: F401
    except ImportError as error:
        raise ConfigError(EXTRA) from error


def convert(
    state: Mapping[str, Any],
    path: Path,
    output: Path,
    *,
    report: Report | None = None,
    int8: bool = False,
    data: Path | str | None = None,
) -> str:
    """Convert a translation model with ``ctranslate2.converters.FairseqConverter``, and check it on the test split.

    :param state: plain state, see :func:`fairseq_lottery.inference.export.plain_state`
    :param path: the checkpoint that it was read from
    :param output: the folder to write
    :param report: which units were removed from ``state`` before; ``None`` if none were looked for
    :param int8: whether to store the weights in 8 bits
    :param data: folder with the dictionaries and the test split; ``None`` for the folder of training
    :returns: a description of the model and of the check
    :raises ConfigError: a package, a dictionary or the test split is missing, or no sentence of it can be translated
    :raises CheckpointError: CTranslate2 lacks something of the model, it translates differently, or with a report
        neither units nor heads are dead
    :raises WriteError: the folder exists or cannot be written
    """
    require_package()
    folder, languages = _data(state, path, data)
    options = _options(state)
    if options["arch"] is None:
        raise CheckpointError(f"CTranslate2 cannot convert {path}: it was not trained with --arch")
    lacking = next((name for name in _LACKING if options.get(name)), None)
    if lacking is not None:
        raise CheckpointError(f"CTranslate2 cannot convert {path}: it lacks --{lacking.replace('_', '-')}")
    kind = _INT8 if int8 else _FLOAT32
    used = {"shrunk": report is not None, "weights": kind}

    def write(target: Path) -> str:
        with tempfile.TemporaryDirectory() as temporary, _quiet():
            plain = Path(temporary, "plain.pt")
            try:
                torch.save({**state, "args": with_attributes(options)}, plain)
            except (OSError, RuntimeError) as error:  # torch's writer raises a RuntimeError where the disk is full
                reason = " ".join(str(error).split())[:200]
                raise WriteError(f"cannot write in {temporary}, where temporary files go: {reason}") from error
            try:
                removed, heads = convert_files(plain, folder, languages, target, kind)
            except Exception as error:  # the converter names the option that it lacks, or fails at an architecture
                if isinstance(error, OSError) and error.errno in _NO_ROOM:
                    raise  # it is about the folder that is written
                raise CheckpointError(f"CTranslate2 cannot convert {path}: {_reason(error)}") from error
            if report is not None and not report and not removed:
                raise CheckpointError(f"{path}: {report.line}, and no attention head is dead")
            comparison = compare(plain, target, folder, kind)
        if not int8 and not comparison.fine:
            raise CheckpointError(f"the converted model translates differently: {comparison}")
        write_json(target / FACTS, {**_facts(path), **used, "check": comparison.as_json()})
        size = sum(file.stat().st_size for file in target.iterdir())
        dead = f"; left out {removed:,} of {heads:,} attention heads, which are dead" if removed else ""
        return f"{options['arch']}, {kind}, {size / 1e6:,.1f} MB; {comparison}{dead}{_words(report)}"

    return write_folder(output, write)


def _words(report: Report | None) -> str:
    if report is None:
        return ""
    return f"; {report.line}" if report else "; no unit of a feed-forward block is dead"


@contextmanager
def _quiet() -> Iterator[None]:
    # fairseq logs what it loads, and hydra warns of fairseq's ways.
    loggers = {name: logging.getLogger(name) for name in ("fairseq", "hydra")}
    levels = {name: logger.level for name, logger in loggers.items()}
    try:
        for logger in loggers.values():
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, logger in loggers.items():
            logger.setLevel(levels[name])


def _options(state: Mapping[str, Any]) -> dict[str, Any]:
    model = state["cfg"]["model"]
    options = dict(vars(model)) if isinstance(model, Namespace) else dict(model)
    return {"arch": None, **options}


def convert_files(checkpoint: Path, data: Path, languages: tuple[str, str], target: Path, kind: str) -> tuple[int, int]:
    """Convert a checkpoint with CTranslate2's own converter, without its dead attention heads.

    :param checkpoint: plain checkpoint of fairseq
    :param data: folder with the dictionaries
    :param languages: source and target language
    :param target: the folder to write
    :param kind: type of the weights, ``"float32"`` or ``"int8"``
    :returns: how many heads were left out, and how many there were
    """
    from ctranslate2.converters import FairseqConverter

    heads = (0, 0)

    class Converter(FairseqConverter):  # type: ignore[misc]
        def _load(self) -> Any:
            nonlocal heads
            spec = super()._load()
            heads = leave_out_dead_heads(spec)
            return spec

    Converter(str(checkpoint), str(data), *languages).convert(str(target), quantization=kind, force=True)
    return heads


def _reason(error: Exception) -> str:
    reason = " ".join(str(error).split())
    return (f"{type(error).__name__}: {reason}" if isinstance(error, (KeyError, AttributeError)) else reason)[:300]


def _data(state: Mapping[str, Any], path: Path, data: Path | str | None) -> tuple[Path, tuple[str, str]]:
    # The folder of the data, and the languages; without them fairseq takes those of the first file in it.
    task = state["cfg"]["task"]
    options = vars(task) if isinstance(task, Namespace) else task
    if "source_lang" not in options:
        raise CheckpointError(
            f"{path} is no translation model (its task is {options.get('_name')}), and the form ctranslate2 is for them"
        )
    folder = Path(str(options.get("data")).partition(":")[0] if data is None else data)
    inferred = data_utils.infer_language_pair(str(folder)) if folder.is_dir() else (None, None)
    source, target = (options.get(f"{side}_lang") or inferred[n] for n, side in enumerate(("source", "target")))
    if source is None or target is None:
        raise ConfigError(f"{folder} has no translation data: {_GIVE}")
    # fairseq takes either order of the languages (load_langpair_dataset).
    pairs = [f"{SPLIT}.{source}-{target}", f"{SPLIT}.{target}-{source}"]
    pair = next((pair for pair in pairs if (folder / f"{pair}.{source}.idx").is_file()), pairs[0])
    files = [f"{pair}.{language}.{part}" for language in (source, target) for part in ("bin", "idx")]
    needed = [f"dict.{source}.txt", f"dict.{target}.txt", *files]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"{folder} has no {missing[0]}: {_GIVE}")
    _check_split(folder, [f"{pair}.{language}" for language in (source, target)])
    return folder, (source, target)


def _check_split(folder: Path, names: Iterable[str]) -> None:
    # What makes fairseq's reader print a traceback beside its error.
    for name in names:
        if indexed_dataset.infer_dataset_impl(str(folder / name)) is None:
            raise ConfigError(f"cannot read the {SPLIT} split of {folder}: {name}.idx is no index of fairseq")
        if not (folder / f"{name}.bin").stat().st_size:
            raise ConfigError(f"the {SPLIT} split of {folder} has no sentences")


def _facts(path: Path) -> dict[str, Any]:
    row = read_object(path.parent / paths.MARKER)
    tickets = [digest for digest in CheckpointProgress.of(path).tickets.values() if digest]
    return {
        "checkpoint": path.name,
        "ticket": tickets[0] if tickets else row.get("ticket") or None,
        **{name: row[name] for name in _RESULT if name in row},
        "version": VERSION,
    }
