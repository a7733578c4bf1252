"""Every way of starting fairseq trains the ticket, once; or it says in one line why not."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lottery_core import Ticket
from lottery_core.experiments.results import read_rows
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, assert_dead, load, refusal, split, train

BASE = [*TRANSLATION, *TRANSFORMER, *ADAM]
TORCHRUN = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29501", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
MEET = ["--distributed-init-method", "tcp://127.0.0.1:29501"]
GLOO = split("--distributed-world-size 2 --distributed-backend gloo")

STREAMS = split(
    "--criterion lottery_cross_entropy --task language_modeling --arch lottery_lstm_lm --decoder-embed-dim 16 "
    "--decoder-hidden-size 16 --truncated-bptt 7 --batch-size 3 --max-epoch 1 --optimizer adam --lr 0.01 --cpu"
)
SRUN = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "3", "SLURM_LOCALID": "3"}

REFUSED = {
    "eight copies": ([], SRUN, "srun started 8 processes, and each would run the whole training"),
    "two copies": ([], TORCHRUN, "torchrun started 2 processes, and each would run the whole training"),
    "no spawn": ([*GLOO, *MEET], {}, "nothing would be trained; start one process per rank"),
    "no ranks": (GLOO, {}, "nothing would be trained; start one process per rank"),
    "nccl": (GLOO[:2], TORCHRUN, "needs GPUs: add --distributed-backend gloo"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_launches_that_train_nothing_or_all_twice(
    name: str, translation_data: Path, ticket: Path, tmp_path: Path
) -> None:
    words, environment, expected = REFUSED[name]
    text = train(translation_data, tmp_path, *BASE, "--ticket", ticket, *words, status=2, **environment)
    assert expected in refusal(text)
    assert not list(tmp_path.glob("*.pt"))


def test_torchrun(lm_data: Path, tmp_path: Path) -> None:
    """Two ranks by torchrun without GPUs, in an experiment: one training a round, scored once."""
    own = ["--out", tmp_path, "--rounds", 1, "--kinds", "winning", "--rewind", "update:5", "--no-floor", "--launcher"]
    start = [sys.executable, "-m", "fairseq_lottery.launcher", *map(str, own)]
    torchrun = f"{sys.executable} -m torch.distributed.run --nproc_per_node 2"
    helpers.run([*start, torchrun, "--", str(lm_data), *STREAMS, *GLOO])
    rows = read_rows(tmp_path)
    assert len(rows) == 2
    for row in rows:
        folder = tmp_path / row.run.folder
        state = load(folder / "checkpoint_last.pt")
        assert state["optimizer_history"][-1]["num_updates"] == row.steps == 27
        text = (folder / "train.log").read_text()
        assert "rank 1" in text
        assert text.count("\nlog_ppl ") == 1
    assert_dead(load(folder / "checkpoint_last.pt")["model"], folder / "ticket.safetensors")


def torchrun_of_two_nodes(rank: int, port: int) -> dict[str, str]:
    return {**TORCHRUN, "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": "0", "GROUP_RANK": str(rank)}


def srun_of_two_nodes(rank: int, port: int) -> dict[str, str]:
    """One task a node."""
    tasks = {"SLURM_NNODES": "2", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1"}
    return {"SLURM_JOB_NODELIST": "node[1-2]", **tasks, "SLURM_NODEID": str(rank), "SLURM_PROCID": str(rank)}


def srun_of_two_tasks(rank: int, port: int) -> dict[str, str]:
    """Both on one node."""
    tasks = {"SLURM_NNODES": "1", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
    return {"SLURM_STEP_NODELIST": "node1", **tasks, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}


@pytest.mark.parametrize("launch", [torchrun_of_two_nodes, srun_of_two_nodes, srun_of_two_tasks])
def test_several_nodes(
    launch: Callable[[int, int], dict[str, str]], translation_data: Path, ticket: Path, tmp_path: Path
) -> None:
    """Each rank learns who it is from its launcher alone, and all make the same random ticket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scontrol = tmp_path / "scontrol"  # it names the nodes: both are this machine
    scontrol.write_text("#!/bin/sh\necho 127.0.0.1\necho 127.0.0.1\n")
    scontrol.chmod(0o755)
    words = [translation_data, "--user-dir", helpers.USER_DIR, "--save-dir", tmp_path / "run", *helpers.COMMON, *BASE]
    words += [*GLOO, "--ddp-backend", "legacy_ddp", "--max-update", 4, "--ticket", ticket, "--ticket-kind", "random"]
    words += ["--distributed-port", port] if launch is not torchrun_of_two_nodes else []
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    texts = helpers.side_by_side([words, words], [launch(rank, port) | path for rank in (0, 1)])
    made = Ticket.load(tmp_path / "run/ticket.safetensors")
    for rank, text in enumerate(texts):
        assert f"initialized host {socket.gethostname()} as rank {rank}" in text
    assert f"all 2 ranks have the same tickets, {made.digest[:12]}" in texts[0]  # fairseq silences the others
    assert sum("Saved checkpoint" in text for text in texts) == 1
    state = load(tmp_path / "run/checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 4
    assert_dead(state["model"], made, aliases=3)


# The ranks that fairseq itself spawns, one per GPU: there is none here, so torch pretends that there are two.
TWO_GPUS = "import torch\ntorch.cuda.device_count = lambda: 2"


def test_a_spawned_rank_says_it_in_one_line(translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    package = helpers.own_user_dir(tmp_path / "user", "two_gpus", TWO_GPUS)
    words = [*BASE, "--ticket", ticket, *GLOO, "--user-dir", package, "--encoder-ffn-embed-dim", 48]
    words += ["--save-dir", tmp_path / "run", "--ddp-backend", "legacy_ddp"]  # without --cpu, which has one rank
    (text,) = helpers.side_by_side([[translation_data, *words]], [{}], status=2)
    assert "is (32,) in the ticket, but (48,) in the model" in refusal(text)


# A machine with eight GPUs, as far as one counts them.
EIGHT_GPUS = """
import os, torch
torch.cuda.device_count = lambda: 0 if os.environ.get("CUDA_VISIBLE_DEVICES") == "" else 8
"""


def test_the_cpu_of_a_machine_with_eight_gpus(translation_data: Path, lm_data: Path, tmp_path: Path) -> None:
    """fairseq would start eight ranks by nccl, with ``--cpu`` too: by hand, and in an experiment."""
    user_dir = ["--user-dir", helpers.own_user_dir(tmp_path / "user", "eight_gpus", EIGHT_GPUS)]
    eight = {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}
    words = [translation_data, *user_dir, "--save-dir", tmp_path / "run", *helpers.COMMON, *BASE]
    helpers.run(helpers.command("fairseq-train", *words, "--max-update", 3), **eight)
    own = ["--out", tmp_path / "out", "--rounds", 0, "--kinds", "winning", "--rewind", "update:5", "--no-floor", "--"]
    command = [sys.executable, "-m", "fairseq_lottery.launcher", *own, lm_data, *user_dir, *STREAMS]
    helpers.run([*map(str, command)], **eight)
    (row,) = read_rows(tmp_path / "out")
    for folder in (tmp_path / "run", tmp_path / "out" / row.run.folder):
        cfg = load(folder / "checkpoint_last.pt")["cfg"]
        assert cfg["distributed_training"]["distributed_world_size"] == 1


HYDRA = """
common: {{user_dir: {user_dir}, bf16: true, cpu: true, seed: 3, log_format: json}}
checkpoint: {{save_dir: {save_dir}, no_epoch_checkpoints: true}}
task: {{_name: lottery_translation, data: {data}, ticket: {ticket}}}
criterion: {{_name: lottery_label_smoothed_cross_entropy, label_smoothing: 0.1}}
dataset: {{max_tokens: 200}}
optimization: {{max_epoch: 2, lr: [0.003], clip_norm: 0.2}}
optimizer: {{_name: adam, adam_betas: "(0.9, 0.98)", weight_decay: 0.01}}
lr_scheduler: {{_name: fixed}}
model:
  _name: transformer
  share_all_embeddings: true
  dropout: 0.1
  max_source_positions: 64
  max_target_positions: 64
  encoder: {{layers: 1, embed_dim: 16, ffn_embed_dim: 32, attention_heads: 2}}
  decoder: {{layers: 1, embed_dim: 16, ffn_embed_dim: 32, attention_heads: 2}}
"""


def test_hydra_in_bf16(translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    values = {"user_dir": helpers.USER_DIR, "save_dir": tmp_path / "run", "data": translation_data, "ticket": ticket}
    (tmp_path / "run.yaml").write_text(HYDRA.format(**values))
    words = ["--config-dir", tmp_path, "--config-name", "run", f"hydra.run.dir={tmp_path / 'hydra'}"]
    done = helpers.run(helpers.command("fairseq-hydra-train", *words))
    assert "surviving 50.00%" in done.stdout + done.stderr
    state = load(tmp_path / "run" / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["optimizer_name"] == "FP16Optimizer"
    values = state["model"]["encoder.layers.0.fc1.weight"]
    assert state["cfg"]["common"]["bf16"]
    assert not torch.equal(values, values.bfloat16().float()), "its fp32 masters are not in the checkpoint"
    assert_dead(state["model"], ticket, aliases=3)
