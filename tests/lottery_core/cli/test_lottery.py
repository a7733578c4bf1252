"""The command ``lottery``, mostly in this process; as a real one where the process is the point."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lottery_core import Ticket, Weights, prune, snapshot
from lottery_core.cli import run_command
from lottery_core.cli.lottery import main
from lottery_core.experiments.runner import Runner
from tests.conftest import Result, one_line
from tests.lottery_core.experiments.test_runner import quiet
from tests.lottery_core.helpers import a_ticket, mlp, random_weights, train
from tests.lottery_core.toy import Here, Toy, experiment


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Trained and earlier weights, as torch files."""
    model = mlp()
    torch.save(model.state_dict(), tmp_path / "early.pt")
    train(model, torch.optim.Adam(model.parameters(), lr=0.01))
    torch.save(model.state_dict(), tmp_path / "trained.pt")
    return tmp_path / "trained.pt", tmp_path / "early.pt"


def test_two_checkpoints_give_a_ticket_and_the_next(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    trained, early = files
    first, second, once = (trained.with_name(name) for name in ("1.safetensors", "2.safetensors", "once.safetensors"))
    assert main(["prune", f"{trained}", "--rewind", f"{early}", "--rate", "0.2", "-o", f"{first}"]) == 0
    line = f"{first}: round 1, pool 386, pruned 77 (19.95%), surviving 309 (80.05%)\n"
    assert capsys.readouterr().out == f"{line}  4 of 4 inputs reach an output\n"
    more = ["--previous", f"{first}", "--rate", "0.2", "-o", f"{second}"]
    assert main(["prune", f"{trained}", "--rewind", f"{early}", *more]) == 0
    shown = capsys.readouterr()
    assert "round 2, pool 386, pruned 139" in shown.out
    assert f"WARNING: 77 weights that the previous ticket prunes are not zero in {trained}" in shown.err
    assert Ticket.load(second).origin.parent == Ticket.load(first).digest
    assert main(["prune", f"{trained}", "--rewind", f"{early}", "--fraction", "0.67", "-o", f"{once}"]) == 0
    assert Ticket.load(once).masks.pruned == 259
    assert Ticket.load(once).origin.kind == "one-shot"
    early_weights = torch.load(early, weights_only=True)
    assert torch.equal(Ticket.load(once).weights["0.weight"], Ticket.load(once).masks.apply(early_weights)["0.weight"])


@pytest.mark.parametrize("several", ["trained", "early"])
def test_a_key_is_of_the_file_that_has_several_networks(
    several: str, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, early = files
    path = trained if several == "trained" else early
    state = torch.load(path)
    torch.save({"generator": state, "critic": {"w": torch.zeros(3, 3)}}, path)
    words = ["prune", str(trained), "--rewind", str(early), "--rate", "0.5", "-o", str(tmp_path / "t.safetensors")]
    assert main(words) == 2
    assert "it has several state dicts" in capsys.readouterr().err
    assert main([*words, "--key", "generator"]) == 0
    assert Ticket.load(tmp_path / "t.safetensors").masks.pool == sum(value.numel() for value in state.values())
    assert main([*words, "--key", "decoder"]) == 2
    assert "there is no state dict at 'decoder'" in capsys.readouterr().err


def test_a_forgotten_previous_ticket_is_told(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that were trained as a ticket, pruned without it: the same ones would go again."""
    trained, early = files
    first, again = trained.with_name("1.safetensors"), trained.with_name("again.safetensors")
    assert main(["prune", f"{trained}", "--rewind", f"{early}", "--rate", "0.2", "-o", f"{first}"]) == 0
    assert "WARNING" not in capsys.readouterr().err
    masks = Ticket.load(first).masks
    torch.save(masks.apply(torch.load(trained, weights_only=True)), trained)
    early_weights = torch.load(early, weights_only=True)
    count = sum(int((early_weights[name][~mask] != 0).sum()) for name, mask in masks.items())
    assert main(["prune", f"{trained}", "--rewind", f"{early}", "--rate", "0.2", "-o", f"{again}"]) == 0
    told = capsys.readouterr().err
    assert f"WARNING: {count} weights of {trained} are exactly 0" in told
    assert "--previous TICKET" in told
    assert (
        main(
            ["prune", f"{trained}", "--rewind", f"{early}", "--previous", f"{first}", "--rate", "0.2", "-o", f"{again}"]
        )
        == 0
    )
    assert "WARNING" not in capsys.readouterr().err


def test_two_checkpoints_of_one_ticket_without_it(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Both are masked: the weights that are zero in both would be pruned again, and rewound to zero."""
    trained, early = files
    state = {path: torch.load(path, weights_only=True) for path in files}
    ticket = prune(Weights(state[trained]), Weights(state[early]), rate=0.2)
    for path in files:
        torch.save(ticket.masks.apply(state[path]), path)
    output = trained.with_name("t.safetensors")
    assert main(["prune", f"{trained}", "--rewind", f"{early}", "--rate", "0.2", "-o", f"{output}"]) == 0
    shown = capsys.readouterr().err
    assert f"weights are exactly 0 in {trained} and in {early} as well" in shown
    assert "--previous TICKET" in shown
    with pytest.warns(UserWarning, match="exactly 0 in"):
        prune(Weights(ticket.masks.apply(state[trained])), Weights(ticket.masks.apply(state[early])), rate=0.2)


def test_zeros_that_no_mask_made_are_not_told() -> None:
    """Biases that start at zero, and the row of a padding word."""
    early = random_weights(embed__weight=(9, 4), fc__weight=(4, 4))
    early.tensors["embed.weight"][1] = 0
    trained = {name: tensor + (tensor != 0) * 0.1 for name, tensor in early.tensors.items()}
    zero = torch.zeros(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prune(Weights({**trained, "fc.bias": zero}), Weights({**early.tensors, "fc.bias": zero}), rate=0.2)


def test_the_same_weights_twice_are_refused(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    trained, _ = files
    copy, output = trained.with_name("copy.pt"), trained.with_name("t.safetensors")
    torch.save(torch.load(trained, weights_only=True), copy)
    for rewind in (trained, copy):
        command = ["prune", f"{trained}", "--rewind", f"{rewind}", "--rate", "0.2", "-o", f"{output}"]
        assert main(command) == 2
        assert f"{trained} and {rewind} hold the same weights" in capsys.readouterr().err
        assert not output.exists()
    assert main([*command, "--rewind-point", "none"]) == 0


@pytest.mark.parametrize(
    ("unit", "content"),
    [
        ("updates", lambda count: {"optimizer_history": [{"num_updates": 1}, {"num_updates": count}]}),
        ("steps", lambda count: {"global_step": count}),
        ("steps", lambda count: {"epoch": 0, "step": count}),
    ],
)
def test_swapped_files_are_refused_where_they_say_so(
    unit: str, content: Callable[[int], dict[str, object]], files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    trained, early = files
    for path, count in ((trained, 2000), (early, 500)):
        torch.save({"model": torch.load(path, weights_only=True), **content(count)}, path)
    output = trained.with_name("t.safetensors")
    assert main(["prune", f"{early}", "--rewind", f"{trained}", "--rate", "0.2", "-o", f"{output}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{trained} was trained longer (2,000 {unit}) than {early} (500)" in line
    assert "--rewind-point init" in line
    assert main(["prune", f"{trained}", "--rewind", f"{early}", "--rate", "0.2", "-o", f"{output}"]) == 0
    assert Ticket.load(output).origin.rewind == f"{unit}:500"
    # Fine-tuning counts from 0 again: the rewind point is what was pretrained.
    command = ["prune", f"{early}", "--rewind", f"{trained}", "--rate", "0.2", "-o", f"{output}"]
    assert main([*command, "--rewind-point", "init"]) == 0
    assert f"WARNING: {trained} was trained longer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        ({"epoch": 0, "global_step": 781}, "steps:781"),
        ({"epoch": 0, "global_step": 0}, "init"),
        ({"epoch": 0}, "unknown"),
        ({"epoch": 3}, "epochs:3"),
        ({"step": 500}, "steps:500"),
    ],
)
def test_the_rewind_point_by_the_counters_of_a_file(
    counts: dict[str, int], word: str, files: tuple[Path, Path]
) -> None:
    trained, early = files
    torch.save({"model": torch.load(early, weights_only=True), **counts}, early)
    output = trained.with_name("t.safetensors")
    assert main(["prune", f"{trained}", "--rewind", f"{early}", "--rate", "0.2", "-o", f"{output}"]) == 0
    assert Ticket.load(output).origin.rewind == word


def test_inspect_tells_all_and_marks_collapsed_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = random_weights(action_net__weight=(2, 3), fc__weight=(10, 10))
    weights.tensors["action_net.weight"].mul_(1e-6)
    Weights(weights.tensors).save(tmp_path / "w.safetensors")
    command = ["prune", f"{tmp_path / 'w.safetensors'}", "--rewind", f"{tmp_path / 'w.safetensors'}", "--rate", "0.5"]
    assert main([*command, "--rewind-point", "none", "-o", f"{tmp_path / 't'}"]) == 0
    assert "WARNING" in capsys.readouterr().err
    assert main(["inspect", f"{tmp_path / 't'}"]) == 0
    text = capsys.readouterr().out
    assert "pool 106: pruned 53 (50.00%), surviving 53 (50.00%)" in text
    assert "rewind point none; parent none" in text
    (line,) = [line for line in text.splitlines() if line.startswith("action_net.weight")]
    assert line.endswith("COLLAPSED")
    assert "ortho_init" in text
    assert main(["inspect", f"{tmp_path / 't'}", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["collapsed"] == ["action_net.weight"]
    assert facts["tensors"][0] == {
        "name": "action_net.weight", "shape": [2, 3], "dtype": "float32", "pruned": 6, "surviving": 0,
        "dead_units": 2, "unread_inputs": 3,
    }  # fmt: skip
    assert [network["name"] for network in facts["networks"]] == ["actor", "rest"]
    assert facts["digest"] == Ticket.load(tmp_path / "t").digest


def test_a_folder_is_named_for_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished(tmp_path / "x")
    assert main(["inspect", f"{out}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    ticket = out / "seed-1/random/round-01/ticket.safetensors"
    assert line.endswith(f"cannot read {out}: it is a folder (Is a directory); a ticket in it is {ticket}")
    assert main(["inspect", f"{tmp_path}"]) == 2
    assert "Is a directory, without a ticket in it" in capsys.readouterr().err


def test_collapsed_layers_are_red_on_a_terminal(tmp_path: Path) -> None:
    from lottery_core.tickets.describe import render

    ticket = a_ticket(rate=0.98)
    name = ticket.masks.collapsed()[0]
    assert f"\x1b[31m{name}" in render(ticket, colour=True)
    assert "\x1b" not in render(ticket)


def finished(out: Path) -> Path:
    """An experiment of one round in the folder ``out``."""
    Runner(experiment(out, rounds=1), Toy(), Here(out), quiet()).run()
    return out


def test_a_reader_that_stops_early_loses_no_file(tmp_path: Path) -> None:
    """As of ``lottery report ... | head -1``."""
    out = finished(tmp_path / "x")
    picture, rows = tmp_path / "c.png", tmp_path / "c.csv"
    command = [sys.executable, "-m", "lottery_core.cli", "report", out, "-o", picture, "--csv", rows]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 0, process.stderr
    assert picture.exists()
    assert rows.exists()


def test_report_of_an_unfinished_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished(tmp_path / "x")
    assert main(["report", f"{out}", "--csv", f"{tmp_path / 'rows.csv'}"]) == 0
    assert "round  pruned" in capsys.readouterr().out
    assert (out / "curve.png").stat().st_size > 5000
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 4
    other = finished(tmp_path / "y")
    assert main(["report", f"{out}", f"{other}", "-o", f"{tmp_path / 'both.svg'}"]) == 0
    assert (tmp_path / "both.svg").exists()


def test_the_picture_of_evaluations_is_a_file_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished(tmp_path / "x")
    for marker in out.glob("seed-1/**/result.json"):
        row = json.loads(marker.read_text())
        marker.write_text(json.dumps({**row, "eval_score": 3.0, "eval_se": 0.1, "eval_episodes": 20}))
    assert main(["report", f"{out}"]) == 0
    curve = (out / "curve.png").read_bytes()
    assert main(["report", f"{out}", "--eval"]) == 0
    assert f"picture: {out / 'curve-eval.png'}" in capsys.readouterr().out
    assert (out / "curve.png").read_bytes() == curve
    assert (out / "curve-eval.png").stat().st_size > 5000
    assert main(["report", f"{out}", "--eval", "-o", f"{tmp_path / 'own.png'}"]) == 0
    assert (tmp_path / "own.png").exists()


def test_scores_of_different_labels_are_drawn_side_by_side(tmp_path: Path) -> None:
    outs = [tmp_path / "x", tmp_path / "y"]
    for out, label in zip(outs, ("mean return", "BLEU"), strict=True):
        Runner(experiment(out, rounds=1, score_label=label), Toy(), Here(out), quiet()).run()
    picture = tmp_path / "both.svg"
    assert main(["report", *map(str, outs), "-o", f"{picture}"]) == 0
    text = picture.read_text()
    assert "<!-- mean return -->" in text
    assert "<!-- BLEU -->" in text


def test_prune_counts_networks_and_prunes_them_at_the_same_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = {
        "action_net__weight": (4, 64),
        "mlp_extractor__policy_net__0__weight": (64, 8),
        "mlp_extractor__policy_net__2__weight": (64, 64),
        "mlp_extractor__value_net__0__weight": (64, 8),
        "value_net__weight": (1, 64),
    }
    weights = random_weights(**shapes)
    for name, value in weights.tensors.items():
        value.copy_(value * 1e-3 if "policy_net.2" in name else value.sign() * (50 if "value" in name else 1))
    weights.save(tmp_path / "w.safetensors")
    weights.tensors["action_net.weight"].mul_(0.5)
    weights.save(tmp_path / "early.safetensors")
    first, second = (str(tmp_path / name) for name in ("1.safetensors", "2.safetensors"))
    files = [f"{tmp_path / 'w.safetensors'}", "--rewind", f"{tmp_path / 'early.safetensors'}"]
    assert main(["prune", *files, "--rate", "0.7525", "-o", first]) == 0
    shown = capsys.readouterr()
    assert "  actor: surviving 770 of 4,864 (15.83%), " in shown.out
    assert "  critic: surviving 576 of 576 (100.00%), 8 of 8 inputs reach an output\n" in shown.out
    assert "'mlp_extractor.policy_net.2.weight' keeps 2 of 4,096 weights (0.05%; the whole pool keeps" in shown.err
    assert main(["prune", *files, "--rate", "0.5", "--scope-shares", "separate", "-o", second]) == 0
    assert "  critic: surviving 288 of 576 (50.00%)" in capsys.readouterr().out
    more = ["--previous", second, "--rate", "0.5", "-o", first]
    assert main(["prune", *files, *more]) == 0
    assert "  critic: surviving 144 of 576 (25.00%)" in capsys.readouterr().out
    assert main(["prune", *files, *more, "--scope-shares", "together"]) == 2
    assert "--scope-shares cannot change" in capsys.readouterr().err
    assert main(["prune", *files, "--rate", "0.5", "--scope-shares", "apart", "-o", first]) == 2
    assert "unknown scope shares 'apart'" in capsys.readouterr().err


def bad_inputs(tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    """Command lines of ``lottery`` that must be refused, and words of the line."""
    trained, other = tmp_path / "trained.pt", tmp_path / "other.pt"
    torch.save(snapshot(torch.nn.Sequential(torch.nn.Linear(4, 8))).tensors, other)
    nan = snapshot(mlp())
    nan.tensors["2.weight"][0, 0] = float("nan")
    torch.save(dict(nan.tensors), tmp_path / "nan.pt")
    a_ticket().save(tmp_path / "t.safetensors")
    (tmp_path / "half").write_bytes((tmp_path / "t.safetensors").read_bytes()[:200])
    base = ["prune", f"{trained}", "--rewind", f"{tmp_path / 'early.pt'}", "-o", f"{tmp_path / 'new'}"]
    return {
        "rate of one": ([*base, "--rate", "1"], "strictly between 0 and 1, not 1"),
        "rate of nan": ([*base, "--rate", "nan"], "strictly between 0 and 1"),
        "fraction of zero": ([*base, "--fraction", "0"], "pruned fraction must lie strictly between"),
        "no amount": (base, "one of the arguments --rate --fraction is required"),
        "scope": ([*base, "--rate", ".2", "--scope", "nothing"], "matches none of the 6 parameters"),
        "other architecture": (
            ["prune", f"{trained}", "--rewind", f"{other}", "--rate", ".2", "-o", f"{tmp_path / 'new'}"],
            "'0.bias' is (8,) in",
        ),
        "nan": (
            ["prune", f"{tmp_path / 'nan.pt'}", "--rewind", f"{trained}", "--rate", ".2", "-o", f"{tmp_path / 'new'}"],
            "1 weights of '2.weight' are NaN",
        ),
        "missing file": (
            ["prune", "nowhere.pt", "--rewind", f"{trained}", "--rate", ".2", "-o", f"{tmp_path / 'new'}"],
            "cannot read nowhere.pt: No such file",
        ),
        "scope that changes": (
            [*base, "--rate", ".2", "--scope", "layers", "--previous", f"{tmp_path / 't.safetensors'}"],
            "--scope cannot change",
        ),
        "truncated ticket": (["inspect", f"{tmp_path / 'half'}"], "not a ticket, or damaged"),
        "no ticket": (["inspect", f"{trained}"], "not a ticket, or damaged"),
        "no experiment": (["report", f"{tmp_path}"], "holds no finished run"),
        "unknown command": (["prnue"], "invalid choice"),
    }


def test_each_bad_input_is_one_line_and_writes_nothing(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, (arguments, words) in bad_inputs(tmp_path).items():
        before = sorted(tmp_path.iterdir())
        try:
            status = main(arguments)
        except SystemExit as stopped:
            status = stopped.code
        shown = capsys.readouterr()
        assert status == 2, name
        assert shown.out == "", name
        assert len(shown.err.splitlines()) == 1, (name, shown.err)
        assert words in shown.err, (name, shown.err)
        assert sorted(tmp_path.iterdir()) == before, name


def test_as_a_process(files: tuple[Path, Path], no_write: Path, call: Callable[..., Result]) -> None:
    trained, early = files
    target = no_write / "t.safetensors"
    result = call("lottery_core.cli", "prune", trained, "--rewind", early, "--rate", "0.2", "-o", target)
    one_line(result, "lottery: error: cannot write", "Not a directory")


@pytest.mark.parametrize("which", ["trained", "early", "previous", "link to trained"])
def test_pruning_does_not_overwrite_its_input(which: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"trained": tmp_path / "t.safetensors", "early": tmp_path / "e.safetensors"}
    snapshot(mlp(1)).save(files["trained"])
    snapshot(mlp(0)).save(files["early"])
    files["previous"] = tmp_path / "p.safetensors"
    prune(snapshot(mlp(1)), snapshot(mlp(0)), rate=0.2).save(files["previous"])
    output = files.get(which, tmp_path / "link")
    if which not in files:
        output.symlink_to(files["trained"])
    before = {name: path.read_bytes() for name, path in files.items()}
    words = ["prune", files["trained"], "--rewind", files["early"], "--previous", files["previous"], "--rate", "0.2"]
    assert main([*map(str, words), "-o", str(output)]) == 2
    assert "which this command reads; name another file" in capsys.readouterr().err
    assert before == {name: path.read_bytes() for name, path in files.items()}


def test_a_terminal_without_a_character_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under LANG=pl_PL: Latin-2 has no plus-minus sign."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="iso8859-2"))
    assert run_command(lambda: print("195.8 \u00b1 14.2"), "lottery") == 0
    sys.stdout.flush()
    assert written.getvalue() == b"195.8 ? 14.2\n"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_reader_that_has_ended_leaves_nothing_to_be_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would try again in the end, and exit with status 120."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        monkeypatch.setattr(sys, name, stream)
        assert run_command(lambda: print("lost", file=getattr(sys, name)), "lottery") == 0
        stream.flush()


def test_a_broken_pipe_to_another_process_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As to an environment's process that was killed; only an output that nobody reads is none."""

    def train() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    assert run_command(train, "worker") == 2
    words = "worker: error: [Errno 32] Broken pipe: another process, to which this one was writing, has ended\n"
    assert capsys.readouterr().err == words
    reading, writing = os.pipe()
    with open(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert run_command(train, "worker") == 2
        os.close(reading)
        assert run_command(train, "worker") == 0  # the pipe of the output


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_command_that_is_ended_by_a_signal_says_so(
    number: signal.Signals, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGHUP is that of a terminal that closes: trainings are stopped as after Ctrl-C."""
    before = signal.getsignal(number)
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    signal.signal(number, usual)  # the tests themselves may run under nohup, or in the background
    try:
        assert run_command(lambda: os.kill(os.getpid(), number), "lottery") == status
        assert capsys.readouterr().err == "lottery: stopped; rerun the same command to resume\n"
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)


def test_a_command_under_nohup_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_command(lambda: os.kill(os.getpid(), signal.SIGHUP), "lottery") == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
