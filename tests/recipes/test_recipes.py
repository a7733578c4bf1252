"""The recipes at full size: their commands against the paper's settings, and what they refuse."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lottery_core.experiments.configuration import Experiment
from tests import preloaded
from tests.conftest import one_line
from tests.recipes.helpers import RECIPES, ROOT, environment, options, plan, plans, run
from tests.sb3_lottery.helpers import request_for

CHAIN = {"--rounds": "20", "--prune-rate": "0.2", "--seeds": "1 2 3", "--scope": "all"}
ABLATED = "winning random one-shot no-rewind"
# PAPER 3.2, and fairseq's "Scaling NMT" set-up that it takes over.
TRANSLATION = {
    **CHAIN, "--rewind": "update:1000", "--score": "tokenized-bleu", "--average": "10",
    "--generate": "--beam 4 --lenpen 0.6 --remove-bpe", "": "runs/wmt14-data/data-bin", "--max-update": "50000",
    "--share-all-embeddings": "", "--optimizer": "adam", "--adam-betas": "(0.9, 0.98)", "--clip-norm": "0.0",
    "--lr": "1e-3", "--lr-scheduler": "inverse_sqrt", "--warmup-updates": "4000", "--warmup-init-lr": "1e-07",
    "--weight-decay": "0.0", "--criterion": "lottery_label_smoothed_cross_entropy", "--label-smoothing": "0.1",
    "--max-tokens": "3584", "--update-freq": "16", "--fp16": "", "--encoder-layers": "6", "--decoder-layers": "6",
}  # fmt: skip
PAPER = {
    "wikitext2_lstm": {
        **CHAIN, "--rewind": "epoch:1", "--kinds": ABLATED, "--score": "log_ppl", "--task": "language_modeling",
        "--arch": "lottery_lstm_lm_wikitext2", "--decoder-layers": "2", "--decoder-hidden-size": "650",
        "--decoder-embed-dim": "650", "--dropout": "0.5", "--truncated-bptt": "50", "--batch-size": "30",
        "--required-batch-size-multiple": "1", "--optimizer": "adam", "--lr": "1e-3", "--adam-betas": "(0.9, 0.999)",
        "--adam-eps": "1e-3", "--max-epoch": "10",
    },
    "wmt14_transformer_base": {
        **TRANSLATION, "--kinds": ABLATED, "--arch": "transformer_wmt_en_de", "--encoder-embed-dim": "512",
        "--decoder-ffn-embed-dim": "2048", "--encoder-attention-heads": "8", "--dropout": "0.1",
    },
    "wmt14_transformer_big": {
        **TRANSLATION, "--kinds": "winning random", "--arch": "transformer_vaswani_wmt_en_de_big",
        "--encoder-embed-dim": "1024", "--decoder-ffn-embed-dim": "4096", "--encoder-attention-heads": "16",
        "--dropout": "0.3",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_settings_of_language(name: str) -> None:
    made = plan(name)
    before, behind = made.chain()
    assert before[0] == "fairseq-lottery"
    found = {**options(before[1:]), **options(behind)}
    for option, value in PAPER[name].items():
        assert (option, " ".join(found[option])) == (option, value)
    assert "--cpu" not in found
    # The dense stage is the same command without rounds.
    assert made.chain("dense") == (["0" if word == "20" else word for word in before], behind)
    assert made.stages["report"] == [["lottery", "report", made.settings["OUT"]]]


def test_the_papers_data() -> None:
    first, *_, binary, _ = plan("wikitext2_lstm").stages["data"]
    assert first == ["python", "recipes/data/fetch.py", "recipes/data/wikitext-2.json", "runs/wikitext2-data"]
    assert options(binary[1:])["--trainpref"] == ["runs/wikitext2-data/train.txt"]
    assert "--only-source" in binary
    for name in ("wmt14_transformer_base", "wmt14_transformer_big"):
        first, *_, binary, _ = plan(name).stages["data"]
        assert first == ["python", "recipes/data/fetch.py", "recipes/data/wmt14-en-de.json", "runs/wmt14-data"]
        found = options(binary[1:])
        assert [found[option] for option in ("--nwordssrc", "--nwordstgt", "--joined-dictionary")] == [
            ["32768"],
            ["32768"],
            [],
        ]
    unpacked = json.loads((ROOT / "recipes/data/wmt14-en-de.json").read_text())["files"][0]["unpack"]
    assert unpacked["test.de"] == "newstest2014.tok.bpe.32000.de"


def experiment(words: list[str]) -> Experiment:
    return request_for(words).experiment


# PAPER's Table A1: network, M.
CLASSIC = {
    "cartpole": ([128] * 3, "episodes:160"),
    "acrobot": ([256] * 3, "episodes:320"),
    "lunarlander": ([256] * 3, "episodes:640"),
}


@pytest.mark.parametrize("name", ["classic_control", "atari"])
def test_the_papers_settings_of_games(name: str) -> None:
    found = plans(name)
    games = [Path(made.settings["OUT"]).name for made in found]
    assert len(games) == {"classic_control": 3, "atari": 9}[name]
    for game, made in zip(games, found, strict=True):
        words, _ = made.chain()
        # cuda: a preset leaves the device open.
        mine = experiment([word if word != "cuda" else "cpu" for word in words[1:]])
        ablated = game in (*CLASSIC, "assault", "breakout", "seaquest")
        short = ["--preset", game, "--out", made.settings["OUT"], "--seeds", "1", "2", "3", "--kinds"]
        preset = experiment([*short, *(ABLATED if ablated else "winning random").split()])
        assert mine.fixed() == preset.fixed()
        assert mine.plan() == preset.plan()
        model, settings = mine.settings["model"], mine.settings
        assert (mine.rounds, mine.prune_rate, mine.seeds) == (20, 0.2, (1, 2, 3))
        if game in CLASSIC:
            assert (model["net_arch"], settings["epoch"]) == CLASSIC[game]
            assert (settings["epochs"], settings["score_episodes"], model["n_envs"]) == (20, 100, 32)
            assert model["hyperparams"] == {"n_steps": 4, "learning_rate": 1e-4}
            assert (model["reward_scale"], model["optimizer_kwargs"]) == (0.01, {"alpha": 0.99, "eps": 1e-8})
        else:
            assert options(words)["--device"] == ["cuda"]
            assert (settings["epochs"], settings["epoch"], settings["score_episodes"]) == (25, "updates:1000", 1024)
            assert (model["n_envs"], model["optimizer_kwargs"]) == (1024, {"betas": [0.9, 0.999], "eps": 1e-3})
            expected = {"n_steps": 6, "batch_size": 128, "ent_coef": 0.01, "clip_range": 0.5, "learning_rate": 1e-3}
            assert model["hyperparams"] == {**expected, "n_epochs": 1}
        assert made.chain("dense")[0] == ["0" if word == "20" and words[k - 1] == "--rounds" else word
                                          for k, word in enumerate(words)]  # fmt: skip


def test_fairseq_knows_every_argument() -> None:
    """All commands through the parsers of fairseq-lottery and of fairseq itself, at full size and small."""
    pytest.importorskip("fairseq")
    commands = [
        plan(name, *more).chain()
        for name in ("wikitext2_lstm", "wmt14_transformer_base", "wmt14_transformer_big", "multi30k_transformer")
        for more in ((), ("--small",))
    ]
    code = (
        "import json, sys\n"
        "from fairseq_lottery.argv import FairseqArguments\n"
        "from fairseq_lottery.launcher.options import parse_fairseq, parser, resolve, with_task\n"
        "for before, behind in json.load(sys.stdin):\n"
        "    args = resolve(vars(parser().parse_args(before[1:])))\n"
        "    cfg = parse_fairseq(with_task(FairseqArguments(behind)))\n"
        "    print(cfg.model.decoder_layers, cfg.optimization.lr[0], cfg.optimizer._name, args.average or 1)\n"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(
        words,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, preloaded.PARENT: "fairseq"},
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [
        "2 0.001 adam 1", "2 0.005 adam 1", "6 0.001 adam 10", "2 0.005 adam 2", "6 0.001 adam 10", "2 0.005 adam 2",
        "2 0.003 adam 1", "2 0.005 adam 1",
    ]  # fmt: skip


def test_the_table_of_settings_is_true() -> None:
    """Each row of recipes/README.md names a setting and its value; both are as the recipe has them."""
    page = (ROOT / "recipes/README.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| `(\w+)\.sh`(?: (\w+))? \| ((?:`\w+=[^`]*`(?:, )?)+) \|$", page, re.M)
    assert len(rows) > 40
    made: dict[tuple[str, ...], dict[str, str]] = {}
    for name, game, settings in rows:
        key = (name, game) if game else (name,)
        if key not in made:
            made[key] = plans(*key)[0].settings
        for setting in re.findall(r"`([^`]*)`", settings):
            variable, _, value = setting.partition("=")
            assert (name, variable, made[key][variable]) == (name, variable, value.strip("\"'"))
    # Nothing of the settings that decide a result is missing from the table.
    mentioned = {
        (name, part.partition("=")[0]) for name, _, settings in rows for part in re.findall(r"`([^`]*)`", settings)
    }
    here = {"GPUS", "JOBS", "WORKERS", "OUT", "PREPARED", "FROM", "SCOPE", "PRECISION", "ENV_THREADS"}
    for name in RECIPES[:-1]:
        assert set(plans(name)[0].settings) - here <= {setting for recipe, setting in mentioned if recipe == name}


@pytest.mark.parametrize("name", RECIPES)
def test_small_needs_no_download_and_no_gpu(name: str) -> None:
    made = plan(name, "--small")
    assert made.settings["GPUS"] == "0"
    assert "fetch.py" not in str(made.stages)
    assert "small" in made.settings["OUT"]
    before, behind = made.chain()
    assert "--cpu" in behind or "cuda" not in before


def test_settings_from_the_environment_and_the_command_line() -> None:
    made = plan("wikitext2_lstm", "ROUNDS=7", "--out=here", "KINDS=winning random", ROUNDS="5", SEEDS="4 5", LR="2e-3")
    found = options(made.chain()[0])
    assert (found["--rounds"], found["--seeds"], found["--kinds"]) == (["7"], ["4", "5"], ["winning", "random"])
    assert (found["--out"], options(made.chain()[1])["--lr"]) == (["here"], ["2e-3"])
    assert plan("wikitext2_lstm", "--small", ROUNDS="9").settings["ROUNDS"] == "9"


def test_what_stands_behind_the_dashes() -> None:
    before, behind = plan("wikitext2_lstm", "--", "--threads", 2, "--", "--seed", "a b").chain()
    assert before[-2:] == ["--threads", "2"]
    assert behind[-2:] == ["--seed", "a b"]
    odd = 'it\'s a "$HOME" \\ *'
    assert plan("wikitext2_lstm", "--", odd).chain()[0][-1] == odd
    assert plan("classic_control", "cartpole", "--", "--quiet").chain()[0][-1] == "--quiet"


@pytest.mark.parametrize(
    ("words", "frequency"),
    [
        (("--gpus", 8), "16"),
        (("--gpus", 1), "128"),
        (("--gpus", 8, "--jobs", 4), "64"),
        (("--slurm", "partition=gpu,gpus_per_node=8"), "16"),
        (("--slurm", "partition=gpu,nodes=2,gpus_per_node=8", "--", "--launcher", "srun python"), "8"),
        (("--slurm", "gpus_per_task=1,tasks_per_node=8", "--", "--launcher", "srun python"), "16"),
    ],
)
def test_the_batch_is_the_same_on_any_number_of_gpus(words: tuple[object, ...], frequency: str) -> None:
    before, behind = plan("wmt14_transformer_big", *words).chain()
    assert options(behind)["--update-freq"] == [frequency]
    if "--slurm" in words:
        assert options(before)["--executor"] == ["slurm"]
        assert options(before)["--slurm"] == [words[1]]


def test_streams_are_divided_among_gpus() -> None:
    assert options(plan("wikitext2_lstm", "--gpus", 3).chain()[1])["--batch-size"] == ["10"]


BAD = {
    "stage": (("--stage", "training"), "unknown stage 'training'; there are data dense rounds report"),
    "stop": (("--stop-stage=last",), "unknown stage 'last'"),
    "order": (("--stage", "rounds", "--stop-stage", "data"), "--stage rounds comes after --stop-stage data"),
    "not done": (
        ("--stage", "rounds", "--out", "/nowhere/x", "PREPARED=/nowhere/y"),
        "rounds needs data, which is not done",
    ),
    "option": (("--kinds", "winning"), "unknown option '--kinds' (see --help)"),
    "setting": (("ROUND=3",), "unknown setting 'ROUND'; there are "),
    "word": (("winning",), "unexpected word 'winning'"),
    "no value": (("--stage",), "--stage needs a value"),
    "gpus": (("--gpus", "all"), "GPUS must be a whole number, not 'all'"),
    "jobs": (("JOBS=0",), "JOBS must be at least 1"),
    "slurm": (("--slurm", "gpu"), "--slurm 'gpu' is not of the form name=value,name=value"),
    "nodes": (("--slurm", "nodes=2,gpus_per_node=8"), "--slurm nodes=2 needs a launcher of its ranks behind --"),
    "slurm's GPUs": (("--slurm", "gpus_per_node=many"), "tasks_per_node and nodes are whole numbers"),
    "from": (("--from", "/nowhere"), "there is no folder /nowhere for --from"),
    "tasks": (("--slurm", "gpus_per_task=1,tasks_per_node=5"), "--slurm tasks_per_node=5 needs a launcher"),
    "a batch that does not divide": (
        ("--gpus", "8"),
        "BATCH=30 does not divide by the 8 GPUs of a run: give another BATCH, or a number that divides it: "
        "1 2 3 5 6 10 15 30",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str) -> None:
    words, line = BAD[case]
    one_line(run("wikitext2_lstm", *words), "wikitext2_lstm: error: ", line)


def test_without_gpus_nothing_sees_one(tmp_path: Path) -> None:
    """fairseq starts a rank for each GPU that it sees, with ``--cpu`` as well."""
    show = tmp_path / "show.sh"
    lines = [f"source {ROOT}/recipes/lib.sh", "recipe show GPUS=$1", "setting GPUS 1", "setting JOBS 1", "ready"]
    show.write_text("\n".join([*lines, 'echo "${CUDA_VISIBLE_DEVICES-all}"']))
    seen = [
        subprocess.run(["bash", str(show), gpus], capture_output=True, text=True, check=True, env=environment).stdout
        for gpus in ("0", "1")
        for environment in ({"PATH": os.environ["PATH"]}, {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "3"})
    ]
    assert seen == ["\n", "\n", "all\n", "3\n"]


@pytest.mark.parametrize(
    ("words", "slow"),
    [
        (["-k", "docs"], False),
        (["tests"], True),
        (["tests/test_docs.py::test_x"], True),
        (["--slow"], True),
        ([], False),
    ],
)
def test_only_a_path_in_tests_is_tested_whole(words: list[str], slow: bool, tmp_path: Path) -> None:
    """``docs`` after ``-k`` is a folder too."""
    for folder in ("recipes", ".venv/bin", "docs", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "recipes/test.sh", tmp_path / "recipes")
    (tmp_path / "recipes/setup.sh").touch()
    for name in ("ruff", "mypy", "shellcheck", "python"):
        (tmp_path / ".venv/bin" / name).write_text('#!/bin/sh\necho "$@"\n')
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    script = ["bash", str(tmp_path / "recipes/test.sh"), *words]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert ("not slow" not in done.stdout.splitlines()[-1]) == slow


@pytest.mark.skipif(os.getuid() != 0, reason="chroot needs root")
def test_half_a_debian_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "debootstrap").mkdir()
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3").symlink_to(sys.executable)
    one_line(run("test-python", tmp_path), "test-python: error: debootstrap was stopped while it made ")


def test_unknown_games() -> None:
    one_line(run("classic_control", "pong"), "unknown game 'pong'; there are cartpole acrobot lunarlander ppo dqn")
    one_line(run("atari", "breakout", "pong"), "unknown game 'pong'; there are assault berzerk ")


@pytest.mark.parametrize("name", RECIPES)
def test_help_shows_what_it_is_and_its_settings(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0
    assert "shellcheck" not in done.stdout
    assert all(word in done.stdout for word in (f"bash recipes/{name}.sh", "--stop-stage", "  ROUNDS=", "  OUT="))


def test_the_commands_of_kept_results(tmp_path: Path) -> None:
    """What recipes/results says was run is still the same experiment."""
    page = (ROOT / "recipes/results/multi30k/README.md").read_text()
    whole, layers = re.findall(r"^ +DATA=\S+ (?:OUT=\S+ )?bash recipes/multi30k_transformer\.sh ?(.*)$", page, re.M)
    assert whole == ""
    arguments = (
        "runs/multi30k-data/data-bin --source-lang en --target-lang de --arch transformer --encoder-layers 2 "
        "--encoder-embed-dim 128 --encoder-ffn-embed-dim 256 --encoder-attention-heads 4 --decoder-layers 2 "
        "--decoder-embed-dim 128 --decoder-ffn-embed-dim 256 --decoder-attention-heads 4 --share-all-embeddings "
        "--dropout 0.1 --criterion lottery_label_smoothed_cross_entropy --label-smoothing 0.1 --optimizer adam "
        "--adam-betas|(0.9, 0.98)|--lr 3e-3 --lr-scheduler inverse_sqrt --warmup-updates 400 --max-tokens 2000 "
        "--max-epoch 4 --num-workers 0 --cpu"
    )
    expected = [word for part in arguments.split("|") for word in ([part] if "(" in part else part.split())]
    before, behind = plan("multi30k_transformer", DATA=str(tmp_path)).chain()
    assert behind == expected
    found = options(before)
    assert (found["--rounds"], found["--prune-rate"], found["--rewind"]) == (["6"], ["0.36"], ["update:100"])
    assert found["--generate"] == ["--beam 5 --remove-bpe sentencepiece --max-tokens 4000"]
    more = [word.strip('"') for word in re.findall(r'\w+=(?:"[^"]*"|\S+)', layers)]
    found = options(plan("multi30k_transformer", *[word.replace('"', "") for word in more]).chain()[0])
    assert (found["--kinds"], found["--scope"]) == (["winning", "random"], ["layers"])
    made = plan("multi30k_transformer", DATA=str(tmp_path), OUT="o", WORK="w", ROUNDS="3", EPOCHS="5", JOBS="1")
    found = {**options(made.chain()[0]), **options(made.chain()[1])}
    assert [found[name] for name in ("--out", "--rounds", "--jobs", "--max-epoch")] == [["o"], ["3"], ["1"], ["5"]]
    assert made.stages["data"][0][-2:] == ["--from", str(tmp_path)]


def test_the_transfer_matrix_has_all_pairs_and_one_network(tmp_path: Path) -> None:
    script, out = ROOT / "recipes/transfer.sh", tmp_path / "out"
    env = {**environment(tmp_path), "OUT": str(out), "SEEDS": "1"}
    done = subprocess.run(
        ["bash", str(script), "--dry-run"], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = re.findall(r"^transfer: (\S+?):? ?(?:transfer|$)", done.stderr, re.MULTILINE)
    games = ["cartpole", "acrobot", "lunarlander"]
    assert told == [*games, *(f"{one}-to-{other}" for one in games for other in games if one != other)]
    assert done.stdout.count("9 runs, 0 done") == 3  # dense, winning and random at four levels
    assert not out.exists()
    refused = subprocess.run(
        ["bash", str(script), "cartpole-to-pong"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "there is no game 'pong' here" in refused.stderr


def test_tickets_of_one_direction_of_translation_are_tried_on_the_other(tmp_path: Path) -> None:
    words = ["bash", str(ROOT / "recipes/transfer.sh"), "--dry-run", "multi30k"]
    env = {**environment(tmp_path), "OUT": "out", "DATA": str(tmp_path)}
    done = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there, here = [
        shlex.split(line) for line in re.findall(r"^ +(fairseq-lottery .*--rounds 4 .*)$", done.stdout, re.M)
    ]
    assert options(there)["--out"] == ["out/multi30k-en-de"] == options(here)["--tickets-from"][:1]
    assert options(here)["--kinds"] == ["winning", "transfer", "transfer-values", "transfer-random"]
    assert [there[there.index("--source-lang") + 1], here[here.index("--source-lang") + 1]] == ["en", "de"]
    assert there[there.index("--") + 1] == here[here.index("--") + 1] == "out/multi30k-data/data-bin"
    assert done.stdout.count("fairseq-preprocess --source-lang en --target-lang de ") == 2  # the same files
    refused = subprocess.run(words, env={**env, "DATA": ""}, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (refused.returncode, "multi30k needs DATA=DIR" in refused.stderr) == (2, True)


def test_probes_have_the_settings_of_the_recipes_whose_results_they_explain(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "OUT": str(tmp_path / "out"), "SEEDS": "1"}
    words = ["bash", str(ROOT / "recipes/stability.sh"), "--dry-run"]
    done = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "stability of 5 points: init timesteps:3200 " in done.stderr
    assert "16 runs, 0 done, 16 to do" in done.stdout
    (line,) = re.findall(r"^fairseq-lottery stability .* -- (.*)$", done.stdout, re.MULTILINE)
    quickstart = ["bash", str(ROOT / "recipes/quickstart.sh"), "--dry-run", "numbers"]
    shown = subprocess.run(
        quickstart,
        env={**env, "OUT": f"{tmp_path}/out/quickstart"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shlex.split(line) == shlex.split(shown.stdout.partition(" -- ")[2])
    assert "--max-update" in line
    assert not (tmp_path / "out").exists()
    refused = subprocess.run([*words, "multi30k"], env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "multi30k needs DATA=DIR" in refused.stderr
