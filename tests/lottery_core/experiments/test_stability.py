"""Stability probes: the line between two copies, which points are stable, and the runs that find it out."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lottery_core import Masks, Ticket, Weights, read_weights, snapshot
from lottery_core.cli.lottery import main as lottery
from lottery_core.cli.stability import PROBE_DEFAULTS, chosen_point, probe_line, probe_of, refuse_ticket_options
from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import (
    Experiment,
    Line,
    Probe,
    Run,
    Runner,
    between,
    dense,
    line_between,
    parse_points,
    paths,
    point_folder,
    score_line,
    set_values,
)
from lottery_core.experiments.results import read_rows
from lottery_core.reports import stability, stability_report
from tests.lottery_core.experiments.test_runner import here, quiet
from tests.lottery_core.helpers import mlp, train
from tests.lottery_core.toy import Here, Toy, experiment, loss

POINTS = ("init", "updates:2", "updates:12")


def probe(out: Path, points: tuple[str, ...] = POINTS, **changes: Any) -> Experiment:
    return probe_of(experiment(out, **changes), points, PROBE_DEFAULTS)


def run(found: Experiment) -> list[Run]:
    executor = Here(found.out)
    Runner(found, Toy(), executor, quiet()).run()
    return executor.trained


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("probe") / "x"
    run(probe(out))
    return out


def trained(seed: int, noise: int, steps: int = 30) -> Weights:
    model = mlp(seed)
    train(model, torch.optim.Adam(model.parameters(), lr=0.02), steps=steps, seed=noise)
    return snapshot(model)


def outputs(values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    model = mlp()
    set_values(model, values)
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model(inputs)


def line(first: Weights, second: Weights, masks: Masks | None = None) -> Line:
    return score_line(first, second, 11, lambda values, share: (loss(values), math.nan), True, masks)


def test_two_copies_with_the_same_noise_have_a_barrier_of_exactly_0() -> None:
    found = line(trained(seed=1, noise=7), trained(seed=1, noise=7))
    assert found.barrier == 0.0
    assert len(set(found.scores)) == 1


def test_networks_that_are_far_apart_have_a_large_one() -> None:
    """Two networks of the same function, with the hidden units in another order, against one update more."""
    network, close = trained(seed=1, noise=7), trained(seed=1, noise=7, steps=31)
    order = torch.arange(16).roll(5)
    tensors = dict(network.tensors)
    tensors |= {"0.weight": tensors["0.weight"][order], "0.bias": tensors["0.bias"][order]}
    tensors["2.weight"] = tensors["2.weight"][:, order]
    targets = outputs(network.tensors)

    def barrier(other: Weights) -> float:
        def measure(values: Mapping[str, torch.Tensor], share: float) -> tuple[float, float]:
            return float((outputs(values) - targets).pow(2).mean()), math.nan

        return score_line(network, other, 11, measure, lower_is_better=True).barrier

    assert torch.allclose(outputs(tensors), targets, atol=1e-5)
    far = barrier(Weights(tensors))
    assert far > 0.1 * float(targets.var())
    assert far > 10 * barrier(close) > 0


def test_the_line_is_exact_at_its_ends_and_where_both_networks_agree() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(1000), torch.randn(1000) * 1e3
    second[:500] = first[:500]
    first[500:600] = second[500:600] = 0.0
    steps = {"w": torch.tensor(3), "x": first}, {"w": torch.tensor(9), "x": second}
    assert torch.equal(between(*steps, 0.0)["x"], first)
    assert torch.equal(between(*steps, 1.0)["x"], second)
    for share in (0.1, 0.3, 0.5, 0.7):
        middle = between(*steps, share)
        assert torch.equal(middle["x"][:600], first[:600])
        assert int(middle["w"]) == 3
    assert torch.allclose(between(*steps, 0.25)["x"], 0.75 * first + 0.25 * second)


def test_a_live_pruned_weight_is_refused() -> None:
    first = trained(1, 7)
    masks = Masks({name: torch.ones_like(value, dtype=torch.bool) for name, value in first.tensors.items()})
    masks["2.weight"][3, 4] = False
    with pytest.raises(RunError, match=r"'2\.weight' has a pruned weight that is not 0\.0"):
        line(first, first, masks)


def test_the_barrier_is_how_much_worse_than_the_mean_of_the_ends() -> None:
    shares = (0.0, 0.5, 1.0)
    nothing = (math.nan,) * 3
    assert Line(shares, (2.0, 7.0, 4.0), nothing, True).barrier == 4.0
    assert Line(shares, (2.0, 7.0, 4.0), nothing, False).barrier == 1.0  # the worse end
    assert Line(shares, (2.0, 2.5, 4.0), nothing, True).barrier == 1.0
    assert Line(shares, (2.0, math.nan, 4.0), nothing, True).worst == 1
    for lower in (True, False):
        for worst in (math.nan, math.inf, -math.inf):
            assert Line(shares, (2.0, worst, 4.0), nothing, lower).barrier == math.inf
    assert Line(shares, (5.0, 1.0, 5.0), (0.3, 0.4, 0.5), False).error == pytest.approx(math.sqrt(0.16 + 0.34 / 4))


def test_the_runs_of_a_probe(probed: Path) -> None:
    rows = read_rows(probed)
    runs = [row.run for row in rows]
    assert len(runs) == 1 + 3 * 3
    starts = [Weights.load(point_folder(probed / dense(1).folder, number) / paths.REWIND) for number in (1, 2, 3)]
    for number, start in enumerate(starts, 1):
        copies = [probed / Run(1, "copy", number, noise).folder for noise in (1, 2)]
        tickets = [Ticket.load(folder / paths.TICKET) for folder in copies]
        assert tickets[0].content == tickets[1].content
        assert tickets[0].masks.pruned == 0
        assert all(torch.equal(tickets[0].start()[name], value) for name, value in start.tensors.items())
        ends = [read_weights(folder / "trained.safetensors").tensors for folder in copies]
        assert any(not torch.equal(value, ends[1][name]) for name, value in ends[0].items()), "the noise differs"
        (row,) = (row for row in rows if row.run == Run(1, "line", number))
        assert row.score == Line.read(probed / row.run.folder).barrier > 0
    assert starts[0].tensors.keys() == starts[1].tensors.keys()
    assert not torch.equal(starts[0].tensors["0.weight"], starts[1].tensors["0.weight"])


def test_a_copy_that_is_trained_again_under_the_same_noise_is_at_a_barrier_of_0(probed: Path, tmp_path: Path) -> None:
    """Killed and resumed, too: what is missing is done again, and is the same to the bit."""
    out = tmp_path / "x"
    shutil.copytree(probed, out)
    before = Line.read(out / Run(1, "line", 2).folder)
    for gone in (Run(1, "copy", 2), Run(1, "line", 2)):
        shutil.rmtree(out / gone.folder)
    assert run(probe(out)) == [Run(1, "copy", 2), Run(1, "line", 2)]
    assert Line.read(out / Run(1, "line", 2).folder) == before
    first, again = (read_weights(place / Run(1, "copy", 2).folder / "trained.safetensors") for place in (probed, out))
    assert line(first, again).barrier == 0.0


@pytest.mark.parametrize("name", ["trained.safetensors", paths.TICKET])
def test_a_copy_that_was_damaged_since_is_trained_again(name: str, probed: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    shutil.copytree(probed, out)
    before = Line.read(out / Run(1, "line", 2).folder)
    shutil.rmtree(out / Run(1, "line", 2).folder)
    file = out / Run(1, "copy", 2, 2).folder / name
    file.write_bytes(file.read_bytes()[:100])
    assert run(probe(out)) == [Run(1, "copy", 2, 2), Run(1, "line", 2)]
    assert Line.read(out / Run(1, "line", 2).folder) == before


def test_the_report(probed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stability_report(probed, 0.04)  # kept by a later report
    assert lottery(["report", str(probed)]) == 0
    told = capsys.readouterr().out
    data = json.loads((probed / paths.STABILITY).read_text())
    assert [point["point"] for point in data["points"]] == list(POINTS)
    assert all(f"{point['instability']:.4g}" in told for point in data["points"])
    assert "instability: by how much the worst of 11 networks" in told
    assert "stable: an instability of at most 4.0% of the copies' score" in told
    assert (probed / paths.STABILITY_PICTURE).stat().st_size > 10_000
    for more in (
        ["--html", str(probed / "x.html")],
        ["-o", str(probed / "x.png")],
        [str(probed.parent)],
        ["--margin", "5%"],
        ["--lower-is-better"],
    ):
        assert lottery(["report", str(probed), *more]) == 2
        assert "is a stability probe: report it alone" in capsys.readouterr().err
    assert lottery(["status", str(probed)]) == 0
    assert lottery(["status", str(probed), "--html", str(probed / "x.html")]) == 2
    assert "is a stability probe: report it alone" in capsys.readouterr().err
    assert not (probed / "x.html").exists()
    shares = [point["share"] for point in data["points"]]
    assert shares == [point["instability"] / abs(point["copies"]) for point in data["points"]]


def test_the_earliest_stable_point_is_the_first_with_only_stable_ones_after_it(probed: Path) -> None:
    shares = [point.share for point in stability(probed).points]
    for threshold in (*shares, 1e-9):
        stable = [share <= threshold for share in shares]
        expected = next((POINTS[index] for index in range(3) if all(stable[index:])), None)
        found = stability_report(probed, threshold)
        assert (found.earliest.point if found.earliest else None) == expected
        if expected is None:
            with pytest.raises(ConfigError, match="no candidate is stable with all later ones: the last one, upd"):
                chosen_point(found, probed)
        else:
            assert chosen_point(found, probed) == expected


def test_the_mean_over_seeds(tmp_path: Path) -> None:
    run(probe(tmp_path, ("init",), seeds=(1, 2)))
    (point,) = stability(tmp_path).points
    values = [Line.read(tmp_path / Run(seed, "line", 1).folder).barrier for seed in (1, 2)]
    assert point.barrier == pytest.approx(sum(values) / 2)
    assert point.error == pytest.approx(abs(values[0] - values[1]) / 2)


def test_copies_of_a_ticket_have_its_masks_at_each_point(tmp_path: Path) -> None:
    here(tmp_path / "chain", kinds=("winning",), rounds=1)
    file = tmp_path / "chain" / Run(1, "winning", 1).folder / paths.TICKET
    out = tmp_path / "probe"
    run(probe_of(experiment(out), ("updates:5",), {**PROBE_DEFAULTS, "of": file}))
    ticket = Ticket.load(file)
    copy = Ticket.load(out / Run(1, "copy", 1).folder / paths.TICKET)
    assert copy.masks == ticket.masks
    # The point of the chain's own rewinding, so the same start.
    assert all(torch.equal(value, ticket.weights[name]) for name, value in copy.weights.items())
    rows = {row.run: row for row in read_rows(out)}
    assert rows[Run(1, "copy", 1, 2)].surviving == rows[Run(1, "line", 1)].surviving == ticket.masks.surviving
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "chain", moved)
    with pytest.raises(ConfigError, match="another configuration"):
        run(probe(out, ("updates:5",)))


def test_points_as_users_give_them() -> None:
    def parse(word: str) -> str:
        return word.replace("update:", "updates:")

    assert parse_points(["init", "1%", "5%", "0.1", "update:7"], 200, "updates", parse) == (
        "init", "updates:2", "updates:10", "updates:20", "updates:7",
    )  # fmt: skip
    assert parse_points(["1%", "2%"], 20, "updates", parse) == ("updates:1",), "both are one update"
    for bad in ("0%", "200%"):
        with pytest.raises(ConfigError, match="--points"):
            parse_points([bad], 20, "updates", parse)
    with pytest.raises(ConfigError, match="--points must name different points"):
        Probe(())
    with pytest.raises(ConfigError, match="--steps must be at least 3"):
        Probe(("init",), steps=2)


def test_the_cost_is_told_and_options_of_tickets_are_refused(tmp_path: Path) -> None:
    told = probe_line(probe(tmp_path))
    assert "stability of 3 points: init updates:2 updates:12; " in told
    assert "so at most 7 trainings, and 11 networks to score" in told
    with pytest.raises(ConfigError, match="--repeat-noise is for tickets: stability trains copies of one network"):
        refuse_ticket_options({"out": tmp_path, "repeat_noise": 2})


def test_a_probe_and_an_experiment_do_not_mix(probed: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds an experiment of another configuration"):
        here(probed, kinds=("winning",), rounds=1)
    here(tmp_path, kinds=("winning",), rounds=1)
    with pytest.raises(ConfigError, match="is no stability probe"):
        stability(tmp_path)


def test_another_ticket_in_the_place_of_the_probed_one_is_refused(tmp_path: Path) -> None:
    here(tmp_path / "chain", kinds=("winning",), rounds=2)
    files = [tmp_path / "chain" / Run(1, "winning", round_).folder / paths.TICKET for round_ in (1, 2)]
    file, out = tmp_path / "t.safetensors", tmp_path / "probe"
    shutil.copy(files[0], file)

    def found() -> Experiment:
        return probe_of(experiment(out), ("updates:5",), {**PROBE_DEFAULTS, "of": file})

    begun = found()
    run(begun)
    for gone in (Run(1, "copy", 1, 2), Run(1, "line", 1)):
        shutil.rmtree(out / gone.folder)
    shutil.copy(files[1], file)
    with pytest.raises(ConfigError, match=r"another configuration \(probe\.sha256"):
        run(found())
    with pytest.raises(RunError, match="has changed since the probe began"):
        run(begun)
    shutil.copy(files[0], file)
    assert run(found()) == [Run(1, "copy", 1, 2), Run(1, "line", 1)]
    shutil.copy(files[1], out / Run(1, "copy", 1, 2).folder / paths.TICKET)
    with pytest.raises(RunError, match=r"the copies have different tickets: remove .*copy"):
        line_between(begun, Toy().weights, Run(1, "line", 1), lambda values, share: (0.0, 0.0), True)


def test_a_probe_of_a_ticket_from_an_earlier_version_goes_on(tmp_path: Path) -> None:
    here(tmp_path / "chain", kinds=("winning",), rounds=1)
    file, out = tmp_path / "chain" / Run(1, "winning", 1).folder / paths.TICKET, tmp_path / "probe"
    older = replace(probe_of(experiment(out), ("updates:5",), {**PROBE_DEFAULTS, "of": file}))
    older = replace(older, probe={name: value for name, value in older.probe.items() if name != "sha256"})
    run(older)
    assert run(probe_of(experiment(out), ("updates:5",), {**PROBE_DEFAULTS, "of": file})) == []


def test_infinite_and_complex_values_are_exact_at_the_ends() -> None:
    first = {"m": torch.tensor([-math.inf, 0.0]), "c": torch.ones(2, dtype=torch.complex64)}
    second = {"m": torch.tensor([-math.inf, 1.0]), "c": torch.zeros(2, dtype=torch.complex64)}
    for share, other in ((0.0, first), (1.0, second)):
        assert all(torch.equal(value, other[name]) for name, value in between(first, second, share).items())
    assert between(first, second, 0.5)["m"].tolist() == [-math.inf, 0.5]
