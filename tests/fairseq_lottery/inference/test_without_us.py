"""Checkpoints of tickets in plain fairseq: as they are, and exported."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from fairseq_lottery.inference.export import export
from lottery_core.inference import PLAIN as PLAIN_FORM
from tests import preloaded
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import (
    ADAM,
    LM,
    LM_DATA,
    TRANSFORMER,
    TRANSFORMER_LM,
    TRANSLATION,
    assert_dead,
    load,
    split,
    train,
)

LSTM = split("--arch lottery_lstm_lm --decoder-embed-dim 16 --decoder-hidden-size 12 --decoder-layers 2")
# No user-dir, no path to this project, torch's own default for unpickling.
PLAIN = {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
FROM_PRETRAINED = """
import sys
from fairseq.models.transformer import TransformerModel
model = TransformerModel.from_pretrained(sys.argv[1], "plain.pt", sys.argv[2])
print("TRANSLATED", model.translate("three one four one", beam=2))
print("OURS", [name for name in sys.modules if name.partition(".")[0] in ("fairseq_lottery", "lottery_core")])
"""


def hypotheses(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if line.startswith(("H-", "D-", "P-")))


@pytest.mark.parametrize("optimizer", ["--optimizer adam --lr 0.003", "--optimizer sgd --lr 0.1 --momentum 0.9"])
def test_generating(optimizer: str, translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    """The same hypotheses with the user-dir, without it, and from the exported checkpoint."""
    # Its meters hold arrays of numpy, which plain fairseq does not unpickle.
    bleu = ["--eval-bleu"] if "sgd" in optimizer else []
    train(translation_data, tmp_path, *TRANSLATION, *TRANSFORMER, *split(optimizer), "--ticket", ticket, *bleu)
    path, plain = tmp_path / "checkpoint_last.pt", tmp_path / "plain.pt"
    said = helpers.lottery("export", path, "-o", plain).stdout
    assert "task translation, architecture transformer, criterion label_smoothed_cross_entropy" in said
    assert_dead(load(plain)["model"], ticket, aliases=3)
    words = ["--cpu", "--beam", 2, "--gen-subset", "test", "--batch-size", 40]
    ours = ["--user-dir", helpers.USER_DIR, "--task", "lottery_translation"]
    with_us = helpers.run(helpers.command("fairseq-generate", translation_data, "--path", path, *words, *ours))
    assert len(hypotheses(with_us.stdout)) == 3 * 40
    for checkpoint in (path, plain)[len(bleu) :]:
        command = helpers.command("fairseq-generate", translation_data, "--path", checkpoint, *words)
        assert hypotheses(helpers.run(command, **PLAIN).stdout) == hypotheses(with_us.stdout)


def test_from_pretrained(translation_data: Path, dense: Path, tmp_path: Path) -> None:
    helpers.lottery("export", dense / "checkpoint_last.pt", "-o", tmp_path / "plain.pt")
    assert "lottery" not in str(load(tmp_path / "plain.pt")["cfg"]).replace(str(dense), "")
    words = [sys.executable, "-c", FROM_PRETRAINED, str(tmp_path), str(translation_data)]
    done = helpers.run(words, **PLAIN, **{preloaded.PARENT: "fairseq-bare"})
    assert "TRANSLATED " in done.stdout
    assert "OURS []" in done.stdout


def loss(text: str) -> str:
    return text.split("Loss (base 2): ")[1].split("Perplexity")[0]


@pytest.mark.parametrize("model", ["transformer_lm", "lottery_lstm_lm"])
def test_language_models(model: str, lm_data: Path, tmp_path: Path) -> None:
    """Scored with the plugin and without it; our LSTM becomes fairseq's own, which is the same function."""
    scope = ["--scope", "layers"]
    words = [*LM, *LM_DATA, *(TRANSFORMER_LM if model == "transformer_lm" else LSTM), *ADAM]
    train(lm_data, tmp_path / "dense", *words, "--rewind-point", "init", *scope)
    ticket = tmp_path / "t.safetensors"
    start = ["--rewind", tmp_path / "dense" / "rewind.safetensors", "--rate", 0.5, *scope]
    helpers.lottery("prune", tmp_path / "dense" / "checkpoint_last.pt", *start, "-o", ticket)
    train(lm_data, tmp_path / "run", *words, "--ticket", ticket)
    path, plain = tmp_path / "run" / "checkpoint_last.pt", tmp_path / "plain.pt"
    assert_dead(load(path)["model"], ticket)
    helpers.lottery("export", path, "-o", plain)
    scored = ["--cpu", "--tokens-per-sample", 16, "--batch-size", 8]
    ours = ["--user-dir", helpers.USER_DIR, "--task", "lottery_language_modeling"]
    with_us = helpers.run(helpers.command("fairseq-eval-lm", lm_data, "--path", path, *scored, *ours))
    for checkpoint in (path, plain)[model == "lottery_lstm_lm" :]:
        done = helpers.run(helpers.command("fairseq-eval-lm", lm_data, "--path", checkpoint, *scored), **PLAIN)
        assert loss(done.stderr + done.stdout) == loss(with_us.stderr + with_us.stdout)


TINY = "--encoder-embed-dim 16 --encoder-layers 1 --decoder-embed-dim 16 --decoder-layers 1"
HEADS = "--encoder-ffn-embed-dim 32 --decoder-ffn-embed-dim 32 --encoder-attention-heads 2 --decoder-attention-heads 2"
ARCHITECTURES = {
    "transformer_iwslt_de_en": f"{TINY} {HEADS}",
    "transformer_align": f"{TINY} {HEADS}",
    "lstm": "--encoder-embed-dim 16 --encoder-hidden-size 16 --decoder-embed-dim 16 --decoder-hidden-size 16",
    "fconv_iwslt_de_en": "",
    "bart_base": f"{TINY} {HEADS}",
    "lightconv": f"{TINY} {HEADS} --encoder-kernel-size-list [3] --decoder-kernel-size-list [3]",
}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_architectures_are_built_from_what_a_checkpoint_holds(
    arch: str, translation_data: Path, tmp_path: Path
) -> None:
    """With the plugin, every one; without it, those that fairseq builds from a dictionary."""
    from fairseq import checkpoint_utils, models, tasks
    from omegaconf import OmegaConf

    import fairseq_lottery  # noqa: F401
    from fairseq_lottery.argv import FairseqArguments
    from fairseq_lottery.checkpoint import FROM_DICTIONARY, without_namespaces
    from fairseq_lottery.launcher.options import parse_fairseq

    words = ["--task", "translation", "--arch", arch, *split(ARCHITECTURES[arch]), "--max-tokens", "100", "--cpu"]
    cfg = parse_fairseq(FairseqArguments([str(translation_data), "-s", "en", "-t", "de", *words]))
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    held = without_namespaces(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
    assert isinstance(held["model"], dict) == (models.ARCH_MODEL_NAME_REGISTRY[arch] in FROM_DICTIONARY)
    history = [{"criterion_name": "C", "optimizer_name": "O", "lr_scheduler_state": {}, "num_updates": 3}]
    extra = {"train_iterator": {"epoch": 1}}
    state = {"args": None, "cfg": held, "model": model.state_dict(), "optimizer_history": history, "extra_state": extra}
    torch.save(state, tmp_path / "c.pt")
    loaded = checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "c.pt"))
    again = task.build_model(loaded["cfg"].model)
    again.load_state_dict(loaded["model"], strict=True, model_cfg=loaded["cfg"].model)
    if isinstance(held["model"], dict):
        plain = OmegaConf.create(held, flags={"allow_objects": True})
        assert task.build_model(plain.model).state_dict().keys() == model.state_dict().keys()


def test_export_over_itself_is_refused(dense: Path) -> None:
    last = dense / "checkpoint_last.pt"
    before = last.read_bytes()
    assert "is the checkpoint itself" in helpers.lottery("export", last, "-o", last, status=2).stderr
    assert last.read_bytes() == before


def test_a_tied_lstm_is_refused(tmp_path: Path) -> None:
    options = {"arch": "lottery_lstm_lm", "share_decoder_input_output_embed": True}
    cfg = {"model": options, "task": {"_name": "lottery_language_modeling"}}
    torch.save({"cfg": cfg, "model": {"a": torch.ones(1)}, "optimizer_history": []}, tmp_path / "c.pt")
    done = helpers.lottery("export", tmp_path / "c.pt", "-o", tmp_path / "plain.pt", status=2)
    assert "use it with --user-dir fairseq_lottery" in done.stderr
    assert not (tmp_path / "plain.pt").exists()


def test_sections_without_a_configuration_class(tmp_path: Path) -> None:
    """Of a task, a model and a criterion that take any option."""
    path, plain = tmp_path / "c.pt", tmp_path / "plain.pt"
    parts = {"task": "lottery_own", "criterion": "legacy_masked_lm_loss"}
    cfg = {part: Namespace(_name=name, ticket="t", seed=1) for part, name in parts.items()}
    cfg["model"] = Namespace(arch="bart_base", _name="bart_base", task="lottery_own")
    history = [{"criterion_name": "LegacyMaskedLmLoss"}]
    torch.save({"cfg": cfg, "model": {"a": torch.ones(1)}, "optimizer_history": history}, path)
    said = export(path, plain, PLAIN_FORM, trust=False)
    assert said == "task own, architecture bart_base, criterion legacy_masked_lm_loss"
    assert vars(load(plain)["cfg"]["task"]) == {"_name": "own", "seed": 1}
