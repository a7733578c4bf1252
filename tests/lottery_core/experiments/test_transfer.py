"""Experiments with the tickets of another one: which ticket each run gets, what is refused, what the report says."""

from __future__ import annotations

import csv
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from lottery_core import Ticket, Weights
from lottery_core.cli import DEFAULTS, transfer_settings
from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import Experiment, Run, TicketSource, dense, paths
from lottery_core.experiments.results import read_csv, read_rows
from lottery_core.pruning import TRANSFERS
from lottery_core.reports import Question, answer
from lottery_core.reports.report import report
from tests.lottery_core.experiments.test_runner import here
from tests.lottery_core.toy import experiment

ROUNDS = 2


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with winning tickets of two seeds."""
    out = tmp_path_factory.mktemp("there") / "a"
    here(out, kinds=("winning",), rounds=ROUNDS, seeds=(1, 2))
    return out


def source(there: Path, out: Path, unmatched: str = "dense") -> dict[str, Any]:
    return TicketSource(there, (), unmatched).as_json(out)


def ticket(out: Path, kind: str, round_: int, seed: int = 1) -> Ticket:
    return Ticket.load(out / Run(seed, kind, round_).folder / paths.TICKET)


def test_each_seed_and_round_gets_its_own_ticket(there: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "b"
    options = {"kinds": ("winning", *TRANSFERS), "rounds": ROUNDS, "seeds": (1, 2)}
    rows, _ = here(out, **options, transfer=source(there, out))
    for seed in (1, 2):
        for round_ in (1, 2):
            own = ticket(out, "transfer", round_, seed)
            assert own.masks == ticket(there, "winning", round_, seed).masks
            assert (own.origin.round, own.origin.seed) == (round_, seed)
            control = ticket(out, "transfer-random", round_, seed)
            assert control.masks.survivors() == own.masks.survivors()
            assert control.masks != own.masks
    # Both experiments are the same, so the winning ticket is what was carried over, and it is not trained again.
    assert {row.same_as for row in rows if row.kind == "transfer"} == {"winning/round-01", "winning/round-02"}
    assert {(row.carried, row.unmatched) for row in rows if row.kind in TRANSFERS} == {(386, "dense")}
    assert {row.carried for row in rows if row.kind not in TRANSFERS} == {None}
    report([out])
    told = capsys.readouterr().out
    assert (
        "transfer, transfer-values, transfer-random: masks of another experiment for 386 of 386 parameters (100.0%); "
        "surviving in rounds 1 2: 50.0% 25.1%"
    ) in told
    assert "the places of the mask of another experiment, transfer against transfer-random" in told
    assert read_csv(out / paths.RESULTS)[1].carried is None
    assert {row.carried for row in read_csv(out / paths.RESULTS) if row.kind == "transfer"} == {386}
    # Nothing is left to do, even without the other experiment.
    assert here(out, **options)[1] == []


def test_tables_without_such_tickets_have_no_columns_for_them(there: Path) -> None:
    with open(there / paths.RESULTS, newline="") as file:
        assert "carried" not in next(csv.reader(file))


def test_one_seed_can_give_its_tickets_to_all(there: Path, tmp_path: Path) -> None:
    here(tmp_path, kinds=("transfer",), rounds=1, seeds=(3,), transfer=source(there / "seed-2", tmp_path))
    assert ticket(tmp_path, "transfer", 1, seed=3).masks == ticket(there, "winning", 1, seed=2).masks
    assert ticket(tmp_path, "transfer", 1, seed=3).origin.seed == 3


@pytest.mark.parametrize("way", ["link", "here"])
def test_the_folder_of_a_seed_by_another_name(
    way: str, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its experiment is that of the folder itself."""
    place = next(there.glob("seed-*"))
    if way == "here":
        monkeypatch.chdir(place)
        other = Path()
    else:
        other = tmp_path / "link"
        other.symlink_to(place)
    own, found = (TicketSource(path, ()).as_json(tmp_path) for path in (place, other))
    assert own["sha256"] == found["sha256"]


def test_tickets_that_were_only_searched_do(tmp_path: Path) -> None:
    there, out = tmp_path / "a", tmp_path / "b"
    here(there, kinds=("winning",), rounds=2, search="0.5", score_rounds=(2,))
    here(out, kinds=("transfer",), rounds=2, transfer=source(there, out))
    searched = Ticket.load(there / Run(1, "winning", 1, search=True).folder / paths.TICKET)
    assert ticket(out, "transfer", 1).masks == searched.masks


def test_tickets_can_be_added_to_a_folder_and_stay_those_of_one_experiment(there: Path, tmp_path: Path) -> None:
    out, again, other = tmp_path / "b", tmp_path / "a", tmp_path / "c"
    shutil.copytree(there, again)
    here(other, kinds=("winning",), rounds=2, settings={"lr": 0.05, "steps": 20})
    here(out, kinds=("winning",), rounds=1)
    _, trained = here(out, kinds=("winning", "transfer-random"), rounds=1, transfer=source(there, out))
    assert trained == [Run(1, "transfer-random", 1)]
    assert Experiment.load(out).tickets_from == TicketSource(there.resolve())
    with pytest.raises(ConfigError, match=r"has tickets of another experiment already .*sha256: "):
        here(out, kinds=("transfer",), rounds=1, transfer=source(other, out))
    rows, trained = here(out, kinds=("winning",), rounds=2)
    assert trained == [Run(1, "winning", 2)]
    assert "transfer-random" in {row.kind for row in rows}
    # The other experiment has moved: it is known by its configuration.
    _, trained = here(out, kinds=("winning", "transfer-random"), rounds=2, transfer=source(again, out))
    assert trained == [Run(1, "transfer-random", 2)]
    assert Experiment.load(out).tickets_from == TicketSource(again.resolve())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": (3,)}, r"winning.round-01.*is missing \(it has the seeds 1 2\): .*/seed-1 gives every seed"),
        ({"rounds": 3}, r"seed 1 transfer round 3 needs .* missing \(it has rounds 01 to 02\)"),
    ],
)
def test_missing_tickets_are_told_before_the_start(
    there: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    options = {"kinds": ("transfer",), "rounds": 1, "transfer": source(there, tmp_path), **change}
    with pytest.raises(ConfigError, match=words):
        experiment(tmp_path, **options).check_transfer(None)


def test_what_is_refused(there: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"the kind transfer has the masks of another experiment: .*--tickets-from RUN"
    ):
        experiment(tmp_path, kinds=("transfer",))
    with pytest.raises(ConfigError, match="the kind transfer carries masks over tensor by tensor"):
        experiment(tmp_path, kinds=("transfer",), transfer=source(there, tmp_path), granularity="unit")
    with pytest.raises(ConfigError, match="is this experiment: give another one"):
        experiment(there, kinds=("transfer",), rounds=1, transfer=source(there, there)).check_transfer(None)
    with pytest.raises(ConfigError, match="is not the folder of an experiment with winning tickets"):
        experiment(tmp_path, kinds=("transfer",), rounds=1, transfer=source(tmp_path / "no", tmp_path)).check_transfer(
            None
        )


def test_the_options(there: Path, tmp_path: Path) -> None:
    values = {**DEFAULTS, "out": tmp_path}
    assert transfer_settings(values) == {"kinds": ("winning", "random"), "transfer": {}}
    found = transfer_settings({**values, "tickets_from": there, "map": ["a=b"], "unmatched": "prune"})
    assert found["kinds"] == ("winning", "random", "transfer")
    assert TicketSource.of_json(tmp_path, found["transfer"]).maps == ("a=b",)
    own = transfer_settings({**values, "tickets_from": there, "kinds": ["transfer-values"]})
    assert own["kinds"] == ("transfer-values",)
    with pytest.raises(
        ConfigError, match="--unmatched is for tickets of another experiment: it needs --tickets-from RUN"
    ):
        transfer_settings({**values, "unmatched": "dense"})


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the entry 'transfer' in .*tickets_from"):
        experiment(tmp_path, kinds=("transfer",), transfer={"tickets_from": 3})


def test_another_experiment_in_the_place_of_the_source_is_refused(tmp_path: Path) -> None:
    there, out = tmp_path / "a", tmp_path / "b"
    here(there, kinds=("winning",), rounds=2)
    options = {"kinds": ("transfer", "transfer-random"), "rounds": 2}
    here(out, kinds=("transfer",), rounds=1, transfer=source(there, out))
    shutil.rmtree(there)
    here(there, kinds=("winning",), rounds=2, settings={"lr": 0.05, "steps": 20})
    with pytest.raises(ConfigError, match=r"has tickets of another experiment already \(sha256: "):
        here(out, **options, transfer=source(there, out))
    with pytest.raises(ConfigError, match="holds another experiment than when this one took its tickets"):
        experiment(out, **options).check_transfer(None)


def test_kinds_of_one_round_come_from_one_ticket_even_in_a_folder_of_an_earlier_version(tmp_path: Path) -> None:
    there, out = tmp_path / "a", tmp_path / "b"
    here(there, kinds=("winning",), rounds=2)
    older = {name: value for name, value in source(there, out).items() if name != "sha256"}
    here(out, kinds=("transfer",), rounds=1, transfer=older)
    assert Experiment.load(out).transfer == older
    shutil.rmtree(there)
    here(there, kinds=("winning",), rounds=2, settings={"lr": 0.05, "steps": 20})
    with pytest.raises(RunError, match=r"has other tickets than when .*transfer.round-01 took its own: remove that"):
        here(out, kinds=("transfer", "transfer-random"), rounds=2, transfer=older)


def test_an_experiment_may_have_the_name_of_a_seeds_folder(tmp_path: Path) -> None:
    there, out = tmp_path / "seed-1", tmp_path / "b"
    here(there, kinds=("winning",), rounds=1, seeds=(2,))
    here(out, kinds=("transfer",), rounds=1, seeds=(2,), transfer=source(there, out))
    assert ticket(out, "transfer", 1, 2).masks == ticket(there, "winning", 1, 2).masks


def test_kinds_at_other_shares_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    there, out = tmp_path / "a", tmp_path / "b"
    seeds = tuple(range(1, 7))
    here(there, kinds=("winning",), rounds=2, seeds=seeds, prune_rate=0.2)
    kinds = ("winning", "random", "transfer", "transfer-random")
    options = {"kinds": kinds, "rounds": 2, "seeds": seeds, "transfer": source(there, out)}
    (warning,) = experiment(out, **options).check_transfer(None)
    assert warning.startswith("WARNING: tickets from ")
    assert "keep other shares than tickets that are searched here (round 1: 80.1%, here 50.0%)" in warning
    here(out, **options)
    report([out])
    told = capsys.readouterr().out
    words = "a search of its own, winning against transfer: not compared, their tickets keep other shares: 50% and 80%."
    assert words in " ".join(told.split())
    assert "the places of the mask of another experiment, transfer against transfer-random: +" in " ".join(
        told.replace(": -", ": +").split()
    )
    assert "‡ keeps another share of the pool than its line says" in told
    (found,) = (
        other for other in answer(read_rows(out), Question()).others if other.contrast.name == "a search of its own"
    )
    assert (found.p, found.difference.low, found.normalised) == (None, None, None)
    assert found.shares == pytest.approx((0.5, 0.8), abs=0.01)
    same = experiment(out, **{**options, "transfer": source(there, out), "prune_rate": 0.2})
    assert same.check_transfer(None) == []


def test_a_dense_rest_is_another_share_too(there: Path, tmp_path: Path) -> None:
    weights = Weights.load(there / dense(1).folder / paths.INIT)
    name = next(name for name in weights.pool("all") if name.endswith("weight"))
    found = TicketSource(there, (f"^{name}=none",)).as_json(tmp_path)
    lines = experiment(tmp_path, kinds=("transfer",), rounds=1, transfer=found).check_transfer(weights)
    assert ["WARNING" in line for line in lines] == [False, True]


def test_transfers_that_were_copied_from_elsewhere_count(there: Path, tmp_path: Path) -> None:
    """With both experiments the same, a transfer is the winning ticket, whose files are copied."""
    other, out = tmp_path / "c", tmp_path / "b"
    here(other, kinds=("winning",), rounds=2, settings={"lr": 0.05, "steps": 20})
    here(out, kinds=("winning", "transfer"), rounds=1, transfer=source(there, out))
    assert not (out / Run(1, "transfer", 1).folder / paths.STARTED).exists()
    with pytest.raises(ConfigError, match="has tickets of another experiment already"):
        here(out, kinds=("winning", "transfer"), rounds=2, transfer=source(other, out))


def test_every_ticket_and_name_is_checked_before_the_start(tmp_path: Path) -> None:
    there, out = tmp_path / "a", tmp_path / "b"
    here(there, kinds=("winning",), rounds=2, scope=("weight",))
    weights = Weights.load(there / dense(1).folder / paths.INIT)
    clash = TicketSource(there, ("bias=weight",)).as_json(out)
    for kind, refused in (("transfer", False), ("transfer-values", True)):
        found = experiment(out, kinds=(kind,), rounds=2, transfer=clash, scope=("weight",))
        with pytest.raises(ConfigError, match="the same name") if refused else nullcontext():
            found.check_transfer(weights)
    file = there / Run(1, "winning", 2).folder / paths.TICKET
    file.write_bytes(file.read_bytes()[:100])
    found = experiment(out, kinds=("transfer",), rounds=2, transfer=source(there, out))
    for known in (None, weights):
        with pytest.raises(ConfigError, match=r"--tickets-from: cannot read .*winning.round-02"):
            found.check_transfer(known)
