"""Scores of tasks that are neither translation nor language modelling, and runs that keep apart."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher import floor
from fairseq_lottery.launcher.scoring import scoring_of, with_scoring
from fairseq_lottery.launcher.training import at_one_rate, training_arguments, with_whole_budget
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Run, Score, read_score
from lottery_core.experiments import dense as dense_run
from tests.conftest import one_line
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import TRANSFORMER, split
from tests.fairseq_lottery.launcher.test_after_rewind import rates
from tests.fairseq_lottery.launcher.test_command import LSTM, chain
from tests.lottery_core import toy

MULTILINGUAL = split(
    "--task multilingual_translation --arch multilingual_transformer --lang-pairs en-de,de-en --max-tokens 400 "
    "--max-update 2 --optimizer adam --lr 0.01 --cpu --criterion label_smoothed_cross_entropy --label-smoothing 0.1"
)


@pytest.fixture
def both_ways(translation_data: Path, tmp_path: Path) -> Path:
    """The data of both directions of translation."""
    return shutil.copytree(translation_data, tmp_path / "bin")


def test_multilingual_translation_is_scored_by_its_loss(both_ways: Path, tmp_path: Path) -> None:
    words = [*MULTILINGUAL, *split(" ".join(TRANSFORMER[2:]).replace("--share-all-embeddings", "--share-encoders"))]
    own = ["--out", tmp_path / "out", "--rounds", 0, "--rewind", "update:1"]
    refused = helpers.run(chain(*own, "--score", "log_ppl", "--", both_ways, *words), status=2)
    one_line(refused, "give --score loss, the loss of the task's own criterion")
    assert not (tmp_path / "out").exists()
    done = helpers.run(chain(*own, "--", both_ways, *words))
    assert "loss (bits a token) on the test split" in done.stdout


@pytest.mark.parametrize(
    "schedule",
    [
        "--lr-scheduler inverse_sqrt --warmup-updates 400 --warmup-init-lr 1e-7",
        "--lr-scheduler cosine --lr-period-updates=30 --t-mult 2 --min-lr 1e-9",
        "--lr-scheduler triangular --max-lr 0.1 --lr-period-updates 3 --shrink-min",
        "--lr-scheduler fixed --force-anneal 2",
        "--lr-scheduler manual --update2lr {0:1e-3} --epoch2lr {1:1e-4}",
        "--lr-scheduler polynomial_decay --total-num-update 7 --end-learning-rate 1e-9",
        "--warmup-updates 4",
    ],
)
def test_one_rate_instead_of_any_schedule(schedule: str) -> None:
    words = ["bin", *split(schedule), "--lr", "0.1", "--max-update", "7", "--clip-norm", "0.2"]
    assert at_one_rate(FairseqArguments(words), 2.5e-05).words == (
        *("bin", "--max-update", "7", "--clip-norm", "0.2", "--lr-scheduler", "fixed", "--lr", "2.5e-05"),
    )


@pytest.mark.parametrize(
    ("schedule", "longer"),
    [
        ("--max-update 20 --lr-scheduler cosine --lr-period-updates 20", "--max-update 60 --lr-period-updates 60"),
        ("--max-epoch 20 --force-anneal 10", "--max-epoch 60 --force-anneal 30"),
        (
            "--max-update 20 --lr-scheduler polynomial_decay --total-num-update 2e1",
            "--max-update 60 --total-num-update 60.0",
        ),
    ],
)
def test_a_schedule_is_stretched_over_the_whole_budget(schedule: str, longer: str, tmp_path: Path) -> None:
    own = {"arguments": [], "threads": 1}
    chain_ = Experiment(tmp_path, "fairseq", own, 0.2, "init", ("random-budget",), (1,), 2, scoring={"average": 1})
    run = Run(1, "random-budget", 2)
    found = with_whole_budget(FairseqArguments(["bin", *split(schedule)]), chain_, run, tmp_path)
    for option, value in zip(*[iter(split(longer))] * 2, strict=True):
        assert found.value(option) == value


@pytest.mark.parametrize(
    "schedule",
    ["--lr-scheduler cosine --warmup-updates 2", "--lr-scheduler polynomial_decay --total-num-update 12"],
)
def test_what_continues_does_so_at_the_rate_of_the_last_update(schedule: str, lm_data: Path, tmp_path: Path) -> None:
    """Not at that of the next one, which the schedule has set already: 0, or the first one of a new period."""
    own = [
        "--out",
        tmp_path,
        "--rounds",
        1,
        "--kinds",
        "winning",
        "--prune-rate",
        0.5,
        "--rewind",
        "none",
        "--no-floor",
    ]
    length = split(f"--max-epoch 0 --max-update 12 {schedule} --log-interval 1")
    helpers.run(chain(*own, "--no-floor", "--", lm_data, *LSTM, *length))
    dense_rates, ticket_rates = (rates(tmp_path / run.folder) for run in (dense_run(1), Run(1, "winning", 1)))
    last = dense_rates[11]  # fairseq logs the rate of the next update
    assert all(rate == pytest.approx(last, rel=1e-3) for rate in ticket_rates.values())
    assert 0 < last < dense_rates[6]


def test_every_run_has_a_place_of_its_own(tmp_path: Path) -> None:
    own = {"arguments": [], "threads": 1}
    chain_ = Experiment(tmp_path, "fairseq", own, 0.2, "lr", ("winning",), (1,), 1, scoring={"average": 1})
    words = FairseqArguments(["bin", "--tensorboard-logdir", "boards", f"--log-file={tmp_path}/logs/train.txt"])
    for run, folder in ((dense_run(1), "seed-1/dense"), (Run(1, "winning", 1), "seed-1/winning/round-01")):
        given = training_arguments(words, chain_, run, tmp_path)
        assert given.value("--tensorboard-logdir") == f"boards/{folder}"
        assert given.value("--log-file") == f"{tmp_path}/logs/{folder}/train.txt"
        assert not given.given("--rewind-point")


def test_what_keeps_the_weights_needs_the_last_rate(lm_data: Path, tmp_path: Path) -> None:
    from fairseq_lottery.launcher import command as cli
    from fairseq_lottery.launcher.options import experiment_of, resolve, with_task
    from lottery_core.errors import ConfigError

    def rewind(*words: str) -> str:
        args = resolve(vars(cli.parser().parse_args(["--out", str(tmp_path), *words])))
        return experiment_of(args, with_task(FairseqArguments([str(lm_data)]))).rewind

    assert [rewind(), rewind("--rewind", "none"), rewind("--rewind-what", "lr")] == ["epochs:1", "none", "lr"]
    for words, expected in (
        (("--rewind", "lr"), "use --rewind-what lr"),
        (("--rewind-what", "lr", "--rewind", "init"), "leave --rewind out"),
        (("--rewind", "soon"), "accepted: updates:N, epochs:N, init, none"),
    ):
        with pytest.raises(ConfigError, match=expected):
            rewind(*words)


def test_tasks_and_user_dirs_without_the_plugin(lm_data: Path, tmp_path: Path) -> None:
    from fairseq_lottery.launcher.options import parse_fairseq, with_task
    from lottery_core.errors import ConfigError

    (tmp_path / "plain").mkdir()
    words = [str(lm_data), "--task", "denoising"]
    for more, expected in (
        ([], r"no lottery task for 'denoising'; there are .*masked_lm.*fairseq_lottery.lottery_task\('denoising'\)"),
        (["--user-dir", str(tmp_path / "plain")], "holds no Python file"),
        (["--user-dir", str(tmp_path / "other")], "must import fairseq_lottery"),
    ):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / "__init__.py").write_text("")
        with pytest.raises(ConfigError, match=expected):
            parse_fairseq(with_task(FairseqArguments([*words, *more])))


def test_a_ticket_resumes_although_the_dense_run_resets_what_it_loads(tmp_path: Path) -> None:
    """It loads nothing else, and what is reset is not resumed."""
    own = {"arguments": [], "threads": 1}
    chain_ = Experiment(tmp_path, "fairseq", own, 0.2, "init", ("winning",), (1,), 1, scoring={"average": 1})
    words = split("bin --restore-file base.pt --reset-optimizer --reset-lr-scheduler --reset-dataloader --reset-meters")
    arguments = FairseqArguments([*words, "--optimizer-overrides", "{'lr': 1}", "--clip-norm", "1"])
    assert set(words) < set(training_arguments(arguments, chain_, dense_run(1), tmp_path).words)
    given = training_arguments(arguments, chain_, Run(1, "winning", 1), tmp_path).words
    assert given[:3] == ("bin", "--clip-norm", "1")
    assert not [word for word in given if "reset" in word]


OWN = """
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
@register_task("own_translation", dataclass=TranslationConfig)
class OwnTranslation(TranslationTask):
    pass
fairseq_lottery.lottery_task("own_translation")
"""


def experiment_with(user_dir: Path, data: Path, out: Path) -> Experiment:
    words = [str(data), "--task", "lottery_own_translation", "--cpu", "--user-dir", str(user_dir)]
    made = toy.experiment(out, framework="fairseq", settings={"arguments": words, "threads": 1}, rewind="updates:3")
    return with_scoring(made, scoring_of({"score": ["loss", "log_ppl"]}, {}, "loss"))


def test_a_task_of_ones_own_is_scored(dense: Path, translation_data: Path, tmp_path: Path) -> None:
    """The worker is a process of its own: it imports the user-dir, as the training does."""
    package = helpers.own_user_dir(tmp_path / "user", "own_task", OWN)
    experiment = experiment_with(package, translation_data, tmp_path / "x")
    experiment.write()
    folder = shutil.copytree(dense, experiment.out / dense_run(1).folder)
    state = helpers.load(folder / "checkpoint_last.pt")
    state["cfg"]["task"]["_name"] = "lottery_own_translation"
    helpers.save(state, folder / "checkpoint_last.pt")
    done = helpers.run([sys.executable, "-m", "fairseq_lottery.launcher.worker", str(folder), "--floor"])
    assert "already trained: 12 updates" in done.stdout
    assert read_score(folder).more.keys() == {"log_ppl"}
    assert "floor" in done.stdout
    assert (experiment.out / "floor.json").exists(), done.stdout


def test_the_floor_of_a_task_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``fairseq-lottery floor`` parses no arguments of a training, and imports the user-dir all the same."""
    package = helpers.own_user_dir(tmp_path / "user", "own_task_of_a_floor", "")
    experiment_with(package, tmp_path, tmp_path / "x").write()
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(floor, "read_marker", lambda *_: True)
    monkeypatch.setattr(floor, "measure_floor", lambda *_: (Score(1.0), str(package.name in sys.modules)))
    floor.floor([str(tmp_path / "x")])
    assert json.loads((tmp_path / "x/floor.json").read_text())["policy"] == "True"
    shutil.rmtree(package)
    with pytest.raises(ConfigError, match=r"--user-dir .* holds no Python file"):
        floor.floor([str(tmp_path / "x")])
