"""A stranger's checkpoint or sparse file, through the real commands: none runs the code that it brings along."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fairseq_lottery  # noqa: F401  # its patches
from lottery_core import load_sparse
from lottery_core.errors import CheckpointError
from lottery_core.inference import export
from lottery_core.inference.sparse_file import save_sparse
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, commands, refusal, train

Ways = dict[str, Callable[[dict[str, Any], str], None]]
OURS = ["--user-dir", helpers.USER_DIR, "--task", "lottery_translation"]


def call(canary: str) -> str:
    return f"__import__('pathlib').Path('{canary}').touch()"


def model(**options: Any) -> Callable[[dict[str, Any], str], None]:
    """Put options into the model's section; ``CALL`` in a text stands for the code."""

    def write(state: dict[str, Any], canary: str) -> None:
        for name, value in options.items():
            text = value.replace("CALL", call(canary)) if isinstance(value, str) else value(call(canary))
            state["cfg"]["model"][name] = text

    return write


def in_args(state: dict[str, Any], canary: str) -> None:
    """fairseq prefers the options of an old checkpoint, in a ``Namespace``, to those in ``cfg``."""
    options = {**state["cfg"]["model"], "arch": "lstm", "task": "translation", "decoder_attention": call(canary)}
    state["args"] = Namespace(**options)


def interpolation(state: dict[str, Any], canary: str) -> None:
    """No part of it is an expression; a model with a configuration class sees the whole."""
    first, bracket, rest = call(canary).partition("(")
    state["cfg"]["common"] |= {"wandb_project": first + bracket, "log_file": rest}
    cutoff = "${common.wandb_project}${common.log_file}"
    state["cfg"]["model"] = {"_name": "transformer", "adaptive_softmax_cutoff": cutoff}


def overrides(state: dict[str, Any], canary: str) -> None:
    state["cfg"]["common_eval"]["model_overrides"] = f"{{'dropout': {call(canary)}}}"


# eval_bool(args.decoder_attention) of fairseq's lstm evaluates whatever eval() takes.
WAYS: Ways = {
    "text": model(decoder_attention="CALL"),
    "bytes": model(decoder_attention=str.encode),
    "bytearray": model(decoder_attention=lambda text: bytearray(text.encode())),
    "interpolation": interpolation,
    "deep sum": model(decoder_attention=lambda text: "1+" * 90 + f"bool({text})"),
    "args": in_args,
}
ONLY_REFUSED: Ways = {
    "a sum of 3,000 terms": model(decoder_attention=lambda text: "1+" * 2999 + text),
    "nested": model(inner=lambda text: {"parts": [[{"decoder_attention": text}]]}),
    "a name unknown to fairseq": model(my_attention="CALL"),
    "an assignment": model(decoder_attention="[1 for utils.x in [CALL]]"),
    "overrides": overrides,
    "a Namespace": lambda state, canary: state["cfg"].update(task=Namespace(note=call(canary))),
}


@pytest.fixture(scope="module")
def lstm(translation_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The content of an honest checkpoint of fairseq's own lstm."""
    folder = tmp_path_factory.mktemp("lstm")
    sizes = "--encoder-embed-dim 8 --encoder-hidden-size 8 --decoder-embed-dim 8 --decoder-hidden-size 8"
    words = [*TRANSLATION, "--arch", "lstm", *sizes.split(), "--decoder-out-embed-dim", 8, *ADAM, "--max-update", 2]
    train(translation_data, folder, *words)
    return helpers.load(folder / "checkpoint_last.pt")


def hostile(lstm: dict[str, Any], way: Callable[[dict[str, Any], str], None], path: Path) -> Path:
    """A checkpoint that tries to make ``CANARY`` beside it."""
    cfg = {name: dict(part) if isinstance(part, dict) else part for name, part in lstm["cfg"].items()}
    state = {**lstm, "cfg": cfg}
    path.parent.mkdir(parents=True, exist_ok=True)
    way(state, str(path.parent / "CANARY"))
    torch.save(state, path)
    return path


def canaries(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.rglob("CANARY")}


def words_of(data: Path, path: Path, name: str = "generate") -> list[Any]:
    if name == "validate":
        return [data, *OURS, "--path", path, "--valid-subset", "valid", "--max-tokens", 200, "--cpu"]
    more = ["--buffer-size", 40] if name == "interactive" else []
    return [data, *OURS, "--path", path, "--cpu", "--batch-size", 40, "--beam", 1, *more]


def test_generating_validating_and_translating_lines(
    lstm: dict[str, Any], translation_data: Path, tmp_path: Path
) -> None:
    """Every way that fairseq falls for is refused by name; they are real: without the guard the code runs."""
    lines: list[tuple[str, list[Any]]] = []
    for name, way in WAYS.items():
        if name in ("text", "bytes", "interpolation", "args"):
            path = hostile(lstm, way, tmp_path / "guarded" / name / "c.pt")
            lines.append(("generate", words_of(translation_data, path)))
        lines.append(("unguarded", [hostile(lstm, way, tmp_path / "open" / name / "c.pt")]))
    for command in ("interactive", "validate"):
        path = hostile(lstm, WAYS["interpolation"], tmp_path / "guarded" / command / "c.pt")
        lines.append((command, words_of(translation_data, path, command)))
    for (name, words), (status, text) in zip(lines, commands(lines), strict=True):
        if name != "unguarded":
            assert status == 2, (words, text[-2000:])
            assert re.search(r"c\.pt: its option \S*(attention|cutoff) is ", refusal(text)), words
    assert not canaries(tmp_path / "guarded")
    assert canaries(tmp_path / "open") == set(WAYS), "fairseq runs no such code any more"


@pytest.mark.parametrize("way", [*WAYS, *ONLY_REFUSED])
def test_where_every_command_of_fairseq_reads_a_checkpoint(way: str, lstm: dict[str, Any], tmp_path: Path) -> None:
    from fairseq import checkpoint_utils

    path = hostile(lstm, {**WAYS, **ONLY_REFUSED}[way], tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"c\.pt: its option .*(attention|cutoff|overrides|note)\S* (is|may be) "):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    with pytest.raises(CheckpointError, match=r"c\.pt: its option "):
        checkpoint_utils.load_ema_from_checkpoint(str(path))
    assert not canaries(tmp_path)


def test_options_in_a_dataclass(lstm: dict[str, Any], tmp_path: Path) -> None:
    """fairseq's own configuration classes are no part of what checkpoints may unpickle."""
    from fairseq import checkpoint_utils
    from fairseq.models.transformer import TransformerConfig

    options = TransformerConfig(adaptive_softmax_cutoff=call(str(tmp_path / "CANARY")))
    for number, state in enumerate(({**lstm, "args": options}, {**lstm, "cfg": {"model": options}})):
        path = tmp_path / f"{number}.pt"
        torch.save(state, path)
        with pytest.raises(CheckpointError, match=r"\d\.pt: it asks to unpickle fairseq\.models\.transformer"):
            checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert not canaries(tmp_path)


@pytest.mark.parametrize("way", ["bytes"])
def test_the_command_itself(way: str, lstm: dict[str, Any], translation_data: Path, tmp_path: Path) -> None:
    path = hostile(lstm, WAYS[way], tmp_path / "c.pt")
    done = helpers.run(helpers.command("fairseq-generate", *words_of(translation_data, path)), 2)
    assert "its option model.decoder_attention is " in refusal(done.stdout + done.stderr)
    assert not canaries(tmp_path)


def test_an_honest_checkpoint_is_read(lstm: dict[str, Any], translation_data: Path, tmp_path: Path) -> None:
    path = hostile(lstm, lambda state, canary: None, tmp_path / "c.pt")
    lines = [(name, words_of(translation_data, path, name)) for name in ("generate", "validate")]
    for status, text in commands(lines):
        assert status == 0, text[-3000:]


@pytest.mark.parametrize("where", ["--restore-file", "--save-dir", "--finetune-from-model"])
def test_training_on(where: str, lstm: dict[str, Any], translation_data: Path, tmp_path: Path) -> None:
    """What fairseq-train would resume from, or start from."""
    folder = tmp_path / "run"
    path = hostile(lstm, WAYS["bytes"], folder / "checkpoint_last.pt" if where == "--save-dir" else tmp_path / "c.pt")
    more = [] if where == "--save-dir" else [where, path]
    text = train(translation_data, folder, *TRANSLATION, *TRANSFORMER, *ADAM, *more, status=2)
    assert "its option model.decoder_attention is of the type bytes" in refusal(text)
    assert not canaries(tmp_path)


@pytest.mark.parametrize("way", [*WAYS, *ONLY_REFUSED])
def test_no_export_of_a_hostile_checkpoint(way: str, lstm: dict[str, Any], tmp_path: Path) -> None:
    """Exported it would be one that plain fairseq runs."""
    path = hostile(lstm, {**WAYS, **ONLY_REFUSED}[way], tmp_path / "c.pt")
    for form in ("plain", "shrunk", "csr"):
        with pytest.raises(CheckpointError, match=r"c\.pt: (its option |it asks to unpickle bytearray)"):
            export(path, tmp_path / "out.pt", form)
    assert not (tmp_path / "out.pt").exists()
    assert not canaries(tmp_path)


def test_an_export_passes_on_nothing_that_it_does_not_know(lstm: dict[str, Any], tmp_path: Path) -> None:
    path = hostile(lstm, lambda state, canary: state.update(args=Namespace(arch="lstm"), more=1), tmp_path / "c.pt")
    helpers.lottery("export", path, "-o", tmp_path / "plain.pt")
    state = helpers.load(tmp_path / "plain.pt")
    assert state["args"] is None
    assert "more" not in state


def test_pruning_takes_the_weights_alone(lstm: dict[str, Any], tmp_path: Path) -> None:
    """Its options are not looked at, and nobody evaluates them: a ticket holds none."""
    trained = hostile(lstm, WAYS["bytes"], tmp_path / "c.pt")
    start = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in lstm["model"].items()}
    torch.save(start, tmp_path / "start.pt")
    rewind = ["--rewind", tmp_path / "start.pt", "--rewind-point", "update:1"]
    helpers.lottery("prune", trained, *rewind, "--rate", 0.5, "--scope", "fc", "-o", tmp_path / "t")
    assert not canaries(tmp_path)


SPARSE: Ways = {name: way for name, way in WAYS.items() if name not in ("bytes", "bytearray", "args")}


@pytest.mark.parametrize("way", SPARSE)
def test_sparse_files(way: str, lstm: dict[str, Any], translation_data: Path, tmp_path: Path) -> None:
    """By load_sparse, where fairseq reads checkpoints, and by the command."""
    from fairseq import checkpoint_utils

    state: dict[str, Any] = {"cfg": json.loads(json.dumps(lstm["cfg"]))}
    SPARSE[way](state, str(tmp_path / "CANARY"))
    config = {"cfg": state["cfg"], "criterion_name": "C", "num_updates": 1}
    weights = {name: tensor * (torch.rand(tensor.shape) < 0.2) for name, tensor in lstm["model"].items()}
    path = tmp_path / "c.csr"
    save_sparse(weights, path, "fairseq", config)
    with pytest.raises(CheckpointError, match=r"its option cfg\.model\.\w+ is "):
        load_sparse(path, data=str(translation_data))
    with pytest.raises(CheckpointError, match=r"c\.csr: its option cfg\.model\.\w+ is "):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    if way == "interpolation":
        done = helpers.run(helpers.command("fairseq-generate", *words_of(translation_data, path)), 2)
        assert "c.csr: its option cfg.model.adaptive_softmax_cutoff is an interpolation" in refusal(
            done.stdout + done.stderr
        )
    assert not canaries(tmp_path)


def test_the_mean_of_hostile_checkpoints_is_not_written(lstm: dict[str, Any], tmp_path: Path) -> None:
    """``fairseq-lottery --average``, whose file the user's own score command reads."""
    from fairseq_lottery.launcher.scoring.scores import average

    for epoch in (1, 2):
        hostile(lstm, WAYS["text"], tmp_path / f"checkpoint{epoch}.pt")
    with pytest.raises(CheckpointError, match=r"checkpoint1\.pt: its option model\.decoder_attention is code"):
        average(tmp_path, 2)
    assert not (tmp_path / "averaged.pt").exists()


def test_our_reading_of_fairseqs_progress(lstm: dict[str, Any], tmp_path: Path) -> None:
    from fairseq_lottery.checkpoint import CheckpointProgress

    path = hostile(lstm, WAYS["bytes"], tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="is of the type bytes"):
        CheckpointProgress.of(path)
