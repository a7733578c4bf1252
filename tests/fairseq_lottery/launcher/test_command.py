"""The command fairseq-lottery: whole chains of real processes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_lottery.argv import USER_DIR, FairseqArguments
from fairseq_lottery.launcher import command as cli
from fairseq_lottery.launcher.options import experiment_of, parser, resolve
from fairseq_lottery.launcher.scoring.scores import average
from fairseq_lottery.launcher.training import training_arguments
from lottery_core import Ticket
from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.executors.local import Processes
from lottery_core.experiments.graph.plan import Run
from lottery_core.files import read_curve
from lottery_core.tickets import networks_of
from tests.conftest import one_line
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import TRANSFORMER, assert_dead, load, split

LSTM = split(
    "--task language_modeling --criterion lottery_cross_entropy --arch lottery_lstm_lm --decoder-embed-dim 16 "
    "--decoder-hidden-size 16 --truncated-bptt 7 --batch-size 5 --max-epoch 2 --optimizer adam --lr 0.01 --cpu"
)


def chain(*own: object) -> list[str]:
    return [sys.executable, "-m", "fairseq_lottery.launcher", *map(str, own)]


def test_translation_with_averaging(translation_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mean of the last checkpoints is as dead as they are; both BLEUs are kept; shares are separate."""
    words = [*TRANSFORMER, *split("--task translation --max-tokens 200 --max-epoch 2 --optimizer adam --lr 0.01 --cpu")]
    own = ["--out", tmp_path, "--rounds", 1, "--kinds", "random", "--average", 2, "--rewind", "update:2"]
    own += ["--scope-shares", "separate"]
    done = helpers.run(chain(*own, "--generate", "--beam 1", "--", translation_data, *words))
    assert "BLEU (sacrebleu, detokenised) on the test split" in done.stdout
    folder = tmp_path / "seed-1" / "winning" / "round-01"
    mean = load(folder / "averaged.pt")["model"]
    assert_dead(mean, folder / "ticket.safetensors", aliases=3)
    first, second = (load(folder / f"checkpoint{epoch}.pt")["model"] for epoch in (1, 2))
    assert all(torch.allclose(mean[name], (first[name] + second[name]) / 2) for name in mean)
    control = Ticket.load(tmp_path / "seed-1" / "random" / "round-01" / "ticket.safetensors")
    assert control.origin.kind == "random"
    assert control.masks.survivors() == Ticket.load(folder / "ticket.safetensors").masks.survivors()
    assert control.origin.scope_shares == "separate"
    networks = {network.name: network for network in networks_of(control.masks, control.rest)}
    assert set(networks) == {"encoder", "decoder", "shared"}
    for network in networks.values():
        assert network.surviving == pytest.approx(0.8 * network.pool, abs=1)
        assert network.inputs is None
    assert "surviving 80.0% (encoder 80.0%, decoder 80.0%, shared 79.9%)" in done.stderr
    curve = read_curve(folder / "curve.csv")
    assert [point.epoch for point in curve] == [1, 2]
    assert {point.measure for point in curve} <= {"loss, valid", "log ppl, valid"}
    text = (folder / "bleu.json").read_text()
    assert "tok:13a" in text
    assert "tok:none" in text
    # The checkpoints of epochs are needed only where a run is scored again.
    for path in tmp_path.rglob("checkpoint[12].pt"):
        path.unlink()
    assert cli.main([*map(str, own), "--dry-run", "--generate", "--beam 1", "--", str(translation_data), *words]) == 0
    assert "seed 1 random round 1 (done)" in capsys.readouterr().out
    assert cli.main(["rescore", str(tmp_path), "--score", "chrf"]) == 2
    assert "it was trained for a smaller --average, or they were deleted" in capsys.readouterr().err


REFUSED = {
    "ours": (["--seed", "3"], "--seed is set by fairseq-lottery for each round"),
    "flag": (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
    "no checkpoint": (["--no-save"], "--no-save leaves no checkpoint to prune"),
    "another name": (["--checkpoint-suffix", "_x"], "--checkpoint-suffix gives the checkpoint that is pruned another"),
    "not the last": (
        ["--max-epoch", "3", "--save-interval", "2"],
        "--save-interval 2 does not save the last of 3 epochs, which is pruned and scored",
    ),
    "too short": (
        ["--max-epoch", "0", "--max-update", "3"],
        "the rewind point epochs:1 is never reached: it comes after ",
    ),
}
OWN_REFUSED = {
    "average": (["--average", 3], "--average 3 needs the checkpoints of 3 epochs, and the training leaves fewer"),
    "one network": (
        ["--scope-shares", "separate"],
        "scope shares 'separate' need a pool of several networks (actor and critic, encoder and decoder), and this one "
        "has only 'model': leave them 'together'",
    ),
    "rewind": (["--rewind", "soon"], "--rewind 'soon' is not understood; accepted: updates:N, epochs:N, init, none"),
    "bleu": (["--score", "bleu"], "BLEU needs a translation task"),
}


def test_out_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--rounds", "1", "--", "data"]) == 2
    assert capsys.readouterr().err == "fairseq-lottery: error: --out is missing: give the experiment's folder\n"


def test_the_word_fairseq_train_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--out", str(tmp_path / "out"), "--", "fairseq-train", "data", "--arch", "transformer"]) == 2
    said = "leave out the word fairseq-train: its arguments follow --, the data folder first"
    assert capsys.readouterr().err == f"fairseq-lottery: error: {said}\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, lm_data: Path, tmp_path: Path) -> None:
    words, expected = REFUSED[name]
    done = helpers.run(chain("--out", tmp_path / "out", "--", lm_data, *LSTM, *words), status=2)
    assert expected in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_built(lm_data: Path, tmp_path: Path) -> None:
    words = split(
        "--task language_modeling --criterion lottery_cross_entropy --arch transformer_lm --decoder-embed-dim 16 "
        "--decoder-attention-heads 3 --tokens-per-sample 16 --batch-size 5 --max-epoch 2 --optimizer adam --cpu"
    )
    done = helpers.run(chain("--out", tmp_path / "out", "--", lm_data, *words), status=2)
    one_line(done, "fairseq cannot build the model: AssertionError: embed_dim must be divisible by num_heads")


def test_averages_of_more_epochs_than_the_updates_reach(lm_data: Path, tmp_path: Path) -> None:
    words = ["--average", 2, "--rewind", "update:2", "--", lm_data, *LSTM, "--max-epoch", 0, "--max-update", 5]
    done = helpers.run(chain("--out", tmp_path / "out", *words), status=2)
    one_line(done, "--average 2 needs the checkpoints of 2 epochs, and the training leaves fewer")


def test_a_launcher_that_trains_nothing(lm_data: Path, tmp_path: Path) -> None:
    words = chain("--out", tmp_path / "out", "--rounds", 1, "--launcher", "true", "--", lm_data, *LSTM)
    done = helpers.run(words, status=2)
    assert "exited with status 0 but left no checkpoint_last.pt: true trained nothing" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", OWN_REFUSED)
def test_refusals_of_its_own_options(name: str, lm_data: Path, tmp_path: Path) -> None:
    words, expected = OWN_REFUSED[name]
    done = helpers.run(chain("--out", tmp_path / "out", *words, "--", lm_data, *LSTM), status=2)
    assert expected in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_what_scores_a_translation(tmp_path: Path) -> None:
    """References in the order of the split, the best hypothesis of several, lines that end where a line feed is."""
    from fairseq_lottery.launcher.scoring.generation import Translations, decodes, generate_arguments, read_lines

    text = "T-1\tb\nH-1\t-0.1\tb\nH-1\t-0.9\tworse\nT-0\ta\u2028a\nH-0\t-0.2\ta\u2028a\n"
    translations = Translations.of(text)
    assert translations.hypotheses == translations.targets == ["a\u2028a", "b"]
    (tmp_path / "reference").write_text("a\u2028a\nb\n", encoding="utf-8-sig")
    assert read_lines(tmp_path / "reference") == ["a\u2028a", "b"]
    (tmp_path / "reference").write_text("Übung\n", encoding="latin-1")
    with pytest.raises(ConfigError, match="reference is not a text file in UTF-8"):
        read_lines(tmp_path / "reference")
    assert decodes(FairseqArguments(["--beam", "2", "--bpe=sentencepiece"]))
    assert not decodes(FairseqArguments(["--remove-bpe"]))
    scoring = {"gen_subset": "test", "generate": "--beam 1"}
    arguments = FairseqArguments(["bin", "-s", "en", "--target-lang=de", "--task", "translation", "--cpu"])
    # With fairseq's own 8 the last sentences of a split would be dropped.
    assert generate_arguments(arguments, "bin", scoring).words == (
        *("bin", "--gen-subset", "test", "--user-dir", USER_DIR, "--task", "translation"),
        *("--source-lang", "en", "--target-lang", "de", "--cpu"),
        *("--max-tokens", "4000", "--required-batch-size-multiple", "1", "--beam", "1"),
    )
    given = {**scoring, "generate": "--required-batch-size-multiple 4 --batch-size=2"}
    assert generate_arguments(FairseqArguments(["bin"]), "bin", given).words == (
        *("bin", "--gen-subset", "test", "--user-dir", USER_DIR),
        *("--required-batch-size-multiple", "4", "--batch-size=2"),
    )


def test_translations_are_utf_8_whatever_the_locale_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fairseq_lottery.launcher.scoring.generation import translate

    script = tmp_path / "python"
    script.write_text('#!/bin/sh\nprintf "H-0\t-0.1\tb\\377 \\303\\274$PYTHONIOENCODING\\n"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    assert translate(tmp_path, FairseqArguments(), tmp_path).hypotheses == ["b\ufffd üutf-8"]


def test_references_of_sentences_that_are_left_out(
    translation_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would be missed only after each training."""
    text = translation_data.parent / "test.de"
    own = ["--out", tmp_path / "x", "--rewind", "update:1", "--reference", text, "--dry-run", "--no-floor"]
    own += ["--score", "bleu", "--generate", "--beam 1 --skip-invalid-size-inputs-valid-test"]
    words = [*TRANSFORMER, *split("--task translation --max-tokens 200 --max-epoch 1 --optimizer adam --lr 0.01 --cpu")]
    for most, status in ((64, 0), (4, 2)):
        more = ["--max-source-positions", most]
        assert cli.main([str(word) for word in (*own, "--", translation_data, *words, *more)]) == status
    assert "fairseq-generate leaves out 40 of them as too long" in capsys.readouterr().err


def test_which_way_a_score_is_better_is_part_of_the_experiment(tmp_path: Path) -> None:
    from fairseq_lottery.argv import FairseqArguments
    from fairseq_lottery.launcher.options import experiment_of, parser, resolve
    from lottery_core.reports import question_of

    def lower(*words: str) -> bool:
        given = parser().parse_args(["--out", str(tmp_path), "--rewind", "init", *words])
        task = FairseqArguments(["data", "--task", "lottery_translation"])
        return question_of(experiment_of(resolve(vars(given)), task).score_label, "fairseq").lower_is_better

    assert lower("--score", "./loss.sh", "--lower-is-better")
    assert not lower("--score", "awk '{print $1}'")
    assert lower("--score", "log_ppl")
    assert not lower("--score", "bleu")
    with pytest.raises(ConfigError, match="of bleu it is known"):
        lower("--score", "bleu", "--lower-is-better")


def test_a_command_as_score_and_a_dry_run(lm_data: Path, tmp_path: Path) -> None:
    from fairseq_lottery.launcher.scoring.scores import by_command

    (tmp_path / "checkpoint.pt").write_text("12.5")
    assert by_command('echo text; cat "$LOTTERY_CHECKPOINT"', tmp_path / "checkpoint.pt", tmp_path) == 12.5
    assert by_command("printf '\\377\\n12.5\\n'", tmp_path, tmp_path) == 12.5  # bytes of another encoding
    with pytest.raises(RunError, match="not a number: 'text'"):
        by_command("echo text", tmp_path, tmp_path)
    with pytest.raises(RunError, match="failed with exit status 3"):
        by_command("exit 3", tmp_path, tmp_path)
    done = helpers.run(chain("--out", tmp_path / "out", "--rounds", 2, "--dry-run", "--", lm_data, *LSTM))
    assert done.stdout.count("fairseq_lottery.launcher.worker") == 5
    inner = [line for line in done.stdout.splitlines() if line.startswith("  which runs: ")]
    assert len(inner) == 5
    folder = tmp_path / "out" / "seed-1" / "dense"
    assert f" -m fairseq_cli.train {lm_data} --criterion lottery_cross_entropy " in inner[0]
    assert f" --save-dir {folder} --seed 1 " in inner[0]
    assert inner[0].endswith("--rewind-point epochs:1")
    assert all(" --ticket " in line for line in inner[1:])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # One process would wait for ranks that nobody starts.
        ("nodes=2,gpus_per_node=8", "--slurm nodes=2 needs a --launcher that starts the ranks on all of them"),
        ("tasks_per_node=8,gpus_per_task=1", "--slurm tasks_per_node=8 needs a --launcher that starts the ranks"),
        ("gpu_per_node=8", "unknown Slurm option 'gpu_per_node': did you mean gpus_per_node"),
    ],
)
def test_jobs_that_cannot_be(options: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--out", tmp_path / "x", "--executor", "slurm", "--slurm", options]
    assert cli.main([*map(str, own), "--", "data"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "more", "gpus", "cpus"),
    [
        ("gpus_per_node=8", [], 8, 16),  # fairseq's ranks in one task, each with a process that loads its data
        ("gpus_per_node=8", ["--num-workers", "3"], 8, 32),
        ("gpus_per_task=1,tasks_per_node=4,nodes=2", ["--num-workers=0"], 8, 1),
        ("gres=gpu:a100:4,cpus_per_task=5", [], 4, 5),
        ("partition=cpu", ["--cpu"], None, 1),
    ],
)
def test_the_gpus_and_the_cpus_of_a_job(
    options: str, more: list[str], gpus: int | None, cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are shown by ``--dry-run``; Slurm itself would give all ranks of a task one CPU."""
    seen: list[Any] = []

    def only_remember(experiment: Experiment, framework: object, executor: Any, *_: bool, **__: object) -> None:
        seen.extend([experiment.settings.get("gpus_per_run"), executor.options["cpus_per_task"]])
        assert f"cpus_per_task={cpus}, " in executor.description()

    monkeypatch.setattr(cli, "_preflight", lambda experiment, *_: experiment)
    monkeypatch.setattr(cli, "run_experiment", only_remember)
    own = ["--dry-run", "--executor", "slurm", "--slurm", options, "--launcher", "srun python"]
    assert cli.main(["--out", str(tmp_path), *own, "--", "data", *more]) == 0
    assert seen == [gpus, cpus]


@pytest.mark.parametrize(
    ("jobs", "more", "expected"),
    [(2, [], ["4,5", "6,7"]), (8, [], ["4", "5", "6", "7"]), (1, [], []), (2, ["--cpu"], [])],
)
def test_jobs_share_the_gpus(
    jobs: int, more: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def only_remember(experiment: Experiment, framework: object, executor: Processes, *_: bool, **__: object) -> None:
        given.extend(executor.gpus)

    monkeypatch.setattr(cli, "visible_gpus", lambda: ["4", "5", "6", "7"])
    monkeypatch.setattr(cli, "_preflight", lambda experiment, *_: experiment)
    monkeypatch.setattr(cli, "run_experiment", only_remember)
    assert cli.main(["--out", str(tmp_path), "--jobs", str(jobs), "--", "data", *more]) == 0
    assert given == expected


def test_changed_arguments_are_refused_one_by_one(lm_data: Path, tmp_path: Path) -> None:
    from fairseq_lottery.launcher.options import experiment_of, resolve, with_task

    def experiment(*words: str) -> Experiment:
        args = resolve(vars(cli.parser().parse_args(["--out", str(tmp_path), "--rounds", "1"])))
        return experiment_of(args, with_task(FairseqArguments([str(lm_data), *LSTM, *words])))

    experiment().write()
    experiment().check_same_as_before()
    with pytest.raises(ConfigError) as caught:
        experiment("--lr", "0.02", "--clip-norm", "0.1").check_same_as_before()
    expected = "(settings.arguments --lr: 0.01 -> 0.02; settings.arguments --clip-norm: not given -> 0.1)"
    assert expected in str(caught.value)


def test_a_folder_of_checkpoints_beside_it_is_of_another_training(
    lm_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fairseq-train without --save-dir leaves one."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/checkpoint_last.pt").write_bytes(b"foreign")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["--out", "x", "--rounds", "1", "--dry-run", "--no-floor", "--", str(lm_data), *LSTM]) == 0


def test_the_score_of_a_command_has_no_floor(lm_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = [
        "--out",
        str(tmp_path / "x"),
        "--rounds",
        "1",
        "--dry-run",
        "--stop-at-floor",
        "2",
        "--score",
        "cat score.txt",
    ]
    assert cli.main([*own, "--", str(lm_data), *LSTM]) == 2
    assert "--stop-at-floor: the score of a command of your own has no floor" in capsys.readouterr().err


def test_checkpoints_of_epochs_are_kept_for_those_who_ask_for_them(tmp_path: Path) -> None:
    arguments = FairseqArguments(["bin", "--task", "lottery_translation", "--cpu"])
    given = vars(parser().parse_args(["--out", str(tmp_path), "--rewind", "update:3"]))
    experiment = experiment_of(resolve(given), arguments)
    for own, kept in (([], False), (["--keep-last-epochs", "5"], True), (["--save-interval", "2"], True)):
        made = training_arguments(arguments.plus(*own), experiment, Run(1, "winning", 1), tmp_path)
        assert ("--no-epoch-checkpoints" not in made.words) == kept


def test_an_average_with_denser_networks_is_no_score_of_a_ticket(dense: Path, ticket: Path, tmp_path: Path) -> None:
    for epoch in (1, 2):
        shutil.copy(dense / "checkpoint_last.pt", tmp_path / f"checkpoint{epoch}.pt")
    assert average(tmp_path, 2).name == "averaged.pt"
    shutil.copy(ticket, tmp_path / "ticket.safetensors")
    with pytest.raises(RunError, match="from before the last step of pruning"):
        average(tmp_path, 2)
