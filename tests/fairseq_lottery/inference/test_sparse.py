"""Tickets that translate and score with sparse layers, and sparse files where fairseq reads checkpoints."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fairseq_lottery.inference import loads_of_generation
from lottery_core import load_sparse
from lottery_core.errors import CheckpointError, ConfigError
from lottery_core.inference import Load
from lottery_core.inference.export import export
from lottery_core.inference.layers import SparseEmbedding, SparseLinear
from lottery_core.inference.sparse_file import SparseFile, save_sparse
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, LM, LM_DATA, TRANSFORMER, TRANSLATION, split, train

OURS = ["--user-dir", helpers.USER_DIR, "--task", "lottery_translation"]
WORDS = ["--cpu", "--beam", 2, "--batch-size", 40, *OURS]


@pytest.fixture(scope="module")
def sparse_ticket(translation_data: Path, dense: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a trained ticket, 80% pruned."""
    folder = tmp_path_factory.mktemp("sparse")
    rewind = ["--rewind", dense / "rewind.safetensors"]
    helpers.lottery("prune", dense / "checkpoint_last.pt", *rewind, "--fraction", 0.8, "-o", folder / "t")
    train(translation_data, folder, *TRANSLATION, *TRANSFORMER, *ADAM, "--ticket", folder / "t", "--max-epoch", 6)
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="module")
def sparse_file(sparse_ticket: Path) -> Path:
    """The same as a sparse file."""
    path = sparse_ticket.parent / "ticket.csr"
    said = helpers.lottery("export", sparse_ticket, "-o", path, "--form", "csr").stdout
    assert re.search(r"ticket\.csr: \d+ matrices, [78]\d\.\d% of their weights pruned; ", said), said
    return path


def hypotheses(text: str) -> dict[str, tuple[float, str]]:
    translations = {}
    for line in text.splitlines():
        if line.startswith("H-"):
            name, score, words = line.split("\t")
            translations[name] = (float(score), words)
    return translations


def generate(data: Path, path: Path, *more: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    words = ["--path", path, "--gen-subset", "test", *WORDS, *more]
    return helpers.run(helpers.command("fairseq-generate", data, *words), status)


def test_the_same_hypotheses(translation_data: Path, sparse_ticket: Path, sparse_file: Path) -> None:
    dense = hypotheses(generate(translation_data, sparse_ticket).stdout)
    assert len(dense) == 40
    runs = [(sparse_ticket, "csr"), (sparse_ticket, "auto"), (sparse_file, "off")]
    for path, mode in runs:
        done = generate(translation_data, path, "--sparse-inference", mode)
        said = done.stdout + done.stderr
        translations = hypotheses(done.stdout)
        assert {name: words for name, (_, words) in translations.items()} == {
            name: words for name, (_, words) in dense.items()
        }
        for name, (score, _) in translations.items():
            assert score == pytest.approx(dense[name][0], rel=1e-5)
        if mode == "csr":
            assert re.search(r"1[5-7] of 17 layers are sparse", said), said[-3000:]
        if mode == "auto":  # layers of 16 units: none is faster, or hardly any, and each is listed
            assert re.search(r"\d+ of 17 layers are sparse", said), said[-3000:]
            assert "encoder.layers.0.fc1" in said


@pytest.mark.parametrize("whole", [False, True])
def test_what_a_decoder_sees_in_one_call(whole: bool) -> None:
    """One token of each hypothesis, or, without autoregression, whole sentences in each iteration."""
    from fairseq.models.nat import NATransformerModel

    model = NATransformerModel.__new__(NATransformerModel) if whole else torch.nn.Linear(1, 1)
    options = SimpleNamespace(gen_subset="test", batch_size=64, max_tokens=None)
    load = loads_of_generation(SimpleNamespace(lottery_options=options), model, beam=5)
    sentences = Load(64 * 25, 25)
    assert load("encoder.layers.0.fc1") == sentences
    assert load("decoder.layers.0.fc1") == (sentences if whole else Load(64 * 5))
    assert load("decoder.layers.0.encoder_attn.k_proj") == (sentences if whole else Load(64 * 5 * 25))


def test_interactive(translation_data: Path, sparse_ticket: Path) -> None:
    words = helpers.command("fairseq-interactive", translation_data, "--path", sparse_ticket, *WORDS[:3], *OURS)
    env = helpers.environment()
    lines = "one two three four\nnine eight one two\n"
    translations = []
    for mode in ("off", "csr"):
        more = ["--sparse-inference", mode]
        done = subprocess.run([*words, *more], input=lines, capture_output=True, text=True, env=env, check=True)
        translations.append({name: said for name, (_, said) in hypotheses(done.stdout).items()})
        assert ("layers are sparse" in done.stdout + done.stderr) == (mode == "csr")
    assert len(translations[0]) == 2
    assert translations[0] == translations[1]


def test_a_sparse_file_in_python(translation_data: Path, sparse_ticket: Path, sparse_file: Path) -> None:
    from fairseq import checkpoint_utils

    from fairseq_lottery.task import register as lottery_tasks

    model: Any = load_sparse(sparse_file, data=str(translation_data))
    overrides = {"data": str(translation_data)}
    [dense], dense_cfg = checkpoint_utils.load_model_ensemble([str(sparse_ticket)], overrides)
    dense.eval()
    assert isinstance(model.encoder.embed_tokens, SparseEmbedding)
    assert isinstance(model.decoder.layers[0].fc1, SparseLinear)
    assert model.decoder.output_projection.matrix is model.encoder.embed_tokens.matrix
    source, lengths = torch.randint(4, 14, (3, 5)), torch.tensor([5, 5, 5])
    before = torch.full((3, 4), 2)
    with torch.no_grad():
        outputs = [m(source, lengths, before)[0] for m in (dense, model)]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    with pytest.raises(CheckpointError, match="--task lottery_"):
        checkpoint_utils.load_model_ensemble([str(sparse_file)], overrides)
    with pytest.raises(ConfigError, match=r"unknown option 'dat': did you mean data"):
        load_sparse(sparse_file, dat="x")
    with pytest.raises(ConfigError, match=r"/nope.*: give data=\.\.\., the folder of the dictionaries"):
        load_sparse(sparse_file, data="/nope")
    # The next ordinary checkpoint is read as ever, even when it was read before a sparse file.
    state = checkpoint_utils.load_checkpoint_to_cpu(str(sparse_ticket), overrides)
    checkpoint_utils.load_checkpoint_to_cpu(str(sparse_file), overrides)
    task = lottery_tasks.LotteryTranslation.setup_task(dense_cfg.task)
    [again], *_ = checkpoint_utils.load_model_ensemble_and_task([str(sparse_ticket)], overrides, task, state=state)
    assert helpers.same(again.state_dict(), dense.state_dict())
    [again], _ = checkpoint_utils.load_model_ensemble([str(sparse_ticket)], overrides)
    assert helpers.same(again.state_dict(), dense.state_dict())


def on_meta(model: torch.nn.Module) -> set[bool]:
    return {parameter.is_meta for parameter in model.parameters()}


def test_only_the_model_of_a_sparse_file_is_built_without_memory(
    translation_data: Path, sparse_ticket: Path, sparse_file: Path
) -> None:
    """Reading a checkpoint changes nothing but what it returns: states can be read and built in any order."""
    from fairseq import checkpoint_utils

    from fairseq_lottery.inference.sparse_checkpoints import MARK
    from fairseq_lottery.task import register

    overrides = {"data": str(translation_data)}
    read = checkpoint_utils.load_checkpoint_to_cpu
    dense_state, sparse_state = (read(str(path), overrides) for path in (sparse_ticket, sparse_file))
    task = register.LotteryTranslation.setup_task(dense_state["cfg"].task)
    cfg = sparse_state["cfg"].model
    assert MARK in cfg
    dense = task.build_model(dense_state["cfg"].model, from_checkpoint=True)
    assert on_meta(dense) == {False}
    sparse = task.build_model(cfg, from_checkpoint=True)
    assert on_meta(sparse) == {True}
    assert MARK not in cfg
    assert on_meta(task.build_model(cfg, from_checkpoint=True)) == {False}
    dense.load_state_dict(dense_state["model"], strict=True, model_cfg=dense_state["cfg"].model)
    sparse.load_state_dict(sparse_state["model"], strict=True, model_cfg=cfg)
    assert on_meta(sparse) == {False}
    assert isinstance(sparse.decoder.layers[0].fc1, SparseLinear)
    words, lengths, before = torch.randint(4, 14, (2, 5)), torch.tensor([5, 5]), torch.full((2, 4), 2)
    with torch.no_grad():
        outputs = [model.eval()(words, lengths, before)[0] for model in (dense, sparse)]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    # Other weights than those of the file are loaded as ever.
    cfg = read(str(sparse_file), overrides)["cfg"].model
    other = task.build_model(cfg, from_checkpoint=True)
    other.load_state_dict(dense_state["model"], strict=True, model_cfg=cfg)
    assert helpers.same(other.state_dict(), dense.state_dict())


def test_the_mark_of_a_dictionary(sparse_file: Path) -> None:
    """Of a model with a configuration class; that of a Namespace is tested above."""
    from omegaconf import OmegaConf

    from fairseq_lottery.inference.sparse_checkpoints import MARK, build_for_checkpoint

    cfg = OmegaConf.create({"_name": "transformer_lm", MARK: True})
    OmegaConf.set_struct(cfg, True)
    marked, unmarked = (build_for_checkpoint(cfg, lambda: torch.nn.Linear(2, 2)) for _ in range(2))
    assert (on_meta(marked), on_meta(unmarked)) == ({True}, {False})
    assert cfg == {"_name": "transformer_lm"}


def test_what_is_refused(
    translation_data: Path, sparse_ticket: Path, sparse_file: Path, dense: Path, tmp_path: Path
) -> None:
    done = generate(translation_data, sparse_ticket, "--sparse-inference", "dense", status=2)
    assert "unknown --sparse-inference 'dense': accepted: auto, csr, off" in helpers.refusal(done.stdout + done.stderr)
    words = ["--path", sparse_file, "--gen-subset", "test", *WORDS[:5], *OURS[:2]]
    done = helpers.run(helpers.command("fairseq-generate", translation_data, *words), 2)
    assert "is a sparse file, which only lottery tasks load: add --task lottery_" in helpers.refusal(
        done.stdout + done.stderr
    )
    last = dense / "checkpoint_last.pt"
    with pytest.raises(CheckpointError, match=r"no matrix contains zeros \(is this the checkpoint"):
        export(last, tmp_path / "no.csr", "csr")
    with pytest.raises(ConfigError, match=r"unknown form 'crs': did you mean csr\?"):
        export(last, tmp_path / "no.csr", "crs")
    with pytest.raises(CheckpointError, match="is the checkpoint itself"):
        export(last, last, "csr")
    assert not (tmp_path / "no.csr").exists()
    (tmp_path / "damaged.csr").write_bytes(sparse_file.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="damaged"):
        load_sparse(tmp_path / "damaged.csr", data=str(translation_data))


@pytest.mark.parametrize("form", ["sparse file", "checkpoint"])
def test_options_are_not_run(form: str, sparse_ticket: Path, sparse_file: Path, tmp_path: Path) -> None:
    """fairseq evaluates options that are text; a file from a stranger must not call anything."""
    from fairseq import checkpoint_utils

    import fairseq_lottery  # noqa: F401

    code = f"[__import__('pathlib').Path('{tmp_path}/touched').touch()]"
    state = helpers.load(sparse_ticket)
    state["cfg"]["model"] = {**dict(state["cfg"]["model"]), "adaptive_softmax_cutoff": code}
    if form == "checkpoint":
        torch.save(state, tmp_path / "evil")
        with pytest.raises(CheckpointError, match=r"option \S*model.adaptive_softmax_cutoff is code"):
            checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "evil"))
    else:
        config = SparseFile(sparse_file).config
        config["cfg"]["model"]["adaptive_softmax_cutoff"] = code
        save_sparse(state["model"], tmp_path / "evil", "fairseq", config)
        with pytest.raises(CheckpointError, match=r"option \S*model.adaptive_softmax_cutoff is code"):
            load_sparse(tmp_path / "evil")
    assert not (tmp_path / "touched").exists()


@pytest.fixture(scope="module")
def lstm_ticket(lm_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a language model, 80% pruned."""
    folder = tmp_path_factory.mktemp("lstm")
    lstm = split("--arch lottery_lstm_lm --decoder-embed-dim 16 --decoder-hidden-size 12 --decoder-layers 2")
    words = [*LM, *LM_DATA, *lstm, *ADAM]
    train(lm_data, folder, *words, "--rewind-point", "init")
    start = ["--rewind", folder / "rewind.safetensors", "--fraction", 0.8]
    helpers.lottery("prune", folder / "checkpoint_last.pt", *start, "-o", folder / "t")
    train(lm_data, folder / "run", *words, "--ticket", folder / "t")
    return folder / "run" / "checkpoint_last.pt"


@pytest.mark.parametrize("form", ["ticket", "exported"])
def test_scoring_with_an_lstm(form: str, lstm_ticket: Path, lm_data: Path, tmp_path: Path) -> None:
    """nn.LSTM of the plugin, and the cells of fairseq's own lstm_lm."""
    path = lstm_ticket
    if form == "exported":
        path = tmp_path / "plain.pt"
        export(lstm_ticket, path)
    scored = ["--cpu", "--tokens-per-sample", 16, "--batch-size", 8, "--user-dir", helpers.USER_DIR]
    scored += ["--task", "lottery_language_modeling"]
    losses = []
    for mode in ("off", "csr"):
        more = ["--path", path, "--sparse-inference", mode]
        done = helpers.run(helpers.command("fairseq-eval-lm", lm_data, *scored, *more))
        said = done.stdout + done.stderr
        losses.append(float(said.split("Loss (base 2): ")[1].split(",")[0]))
        all_of_them = "2 of 2" if form == "ticket" else "3 of 3"
        assert (f"{all_of_them} layers are sparse" in said) == (mode == "csr"), said[-3000:]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
