"""Bad input: one clear line, exit 2, no traceback, nothing written."""

from __future__ import annotations

import gc
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from lottery_core import Ticket
from lottery_core.errors import ConfigError
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, split

Case = tuple[list[str], str]


def cases(data: Path, dense: Path, ticket: Path, tmp: Path) -> dict[str, Case]:
    """Name -> the arguments that differ, and words of the line."""
    weights = tmp / "weights.pt"
    torch.save({"a": torch.ones(2)}, weights)
    stranger = tmp / "stranger.pt"
    torch.save({"model": {}, "args": Fraction(1, 2)}, stranger)
    kind = ["--ticket", str(ticket), "--ticket-kind"]
    return {
        "architecture": (
            ["--ticket", str(ticket), "--encoder-ffn-embed-dim", "48"],
            "different architectures: 'encoder.layers.0.fc1.bias' is (32,) in the ticket, but (48,) in the model",
        ),
        "both": (["--ticket", str(ticket), "--rewind-point", "init"], "--ticket and --rewind-point exclude each other"),
        "update beyond": (
            ["--rewind-point", "update:99"],
            "updates:99 is never reached: with --max-epoch 2 the training has 12 updates",
        ),
        "epoch beyond": (["--rewind-point", "epoch:3"], "epochs:3 is never reached: the training ends at epochs:2"),
        "point": (["--rewind-point", "soon"], "--rewind-point 'soon' is not understood"),
        "fsdp": (["--ticket", str(ticket), "--ddp-backend", "fully_sharded"], "use legacy_ddp or c10d"),
        "scope": (["--scope", "layers nothing_here"], "scope 'nothing_here' matches none of the"),
        "other scope": (["--ticket", str(ticket), "--scope", "layers"], "has scope all"),
        "no ticket": (["--ticket", str(tmp / "none")], "No such file"),
        "weights": (["--ticket", str(weights)], "not a ticket, or damaged"),
        "stranger": (["--restore-file", str(stranger)], "stranger.pt: it asks to unpickle fractions.Fraction"),
        "no checkpoint": (
            ["--restore-file", str(weights)],
            "weights.pt: it is not a checkpoint of fairseq, or damaged",
        ),
        "kind": ([*kind, "randon"], "unknown kind of ticket 'randon': did you mean random"),
        "chain": ([*kind, "one-shot"], "a ticket of kind 'one-shot' cannot be made from one of kind 'winning'"),
        "no rewind": ([*kind, "shuffled"], "give its weights, --rewind FILE"),
        "kind alone": (["--ticket-kind", "random"], "--ticket-kind random needs --ticket FILE"),
        "share": (
            ["--ticket-kind", "gradual", "--surviving", "1.5"],
            "the surviving share must lie in (0, 1], not 1.5",
        ),
        "no share": (["--ticket-kind", "erk"], "--ticket-kind erk without --ticket FILE needs --surviving SHARE"),
        "two shares": ([*kind, "random", "--surviving", "0.1"], "--surviving is for kinds without a ticket"),
        "found already": ([*kind, "gradual", "--surviving", "0.1"], "a gradual ticket is found while it trains"),
        "schedule": (
            ["--ticket-kind", "gradual", "--surviving", "0.1", "--gradual", "soon"],
            "--gradual 'soon' is not understood",
        ),
        "too short": (
            ["--ticket-kind", "gradual", "--surviving", "0.1", "--gradual", "0 0.5 9"],
            "has 9 steps, and between 0 and 0.5 of the training there are only 6 updates",
        ),
        "folder": (
            ["--ticket", str(ticket), "--save-dir", str(dense)],
            "checkpoint_last.pt belongs to a training run without this ticket, and fairseq would resume from it",
        ),
        "finetune": (
            ["--ticket", str(ticket), "--finetune-from-model", str(dense / "checkpoint_last.pt")],
            "--finetune-from-model and --ticket exclude each other",
        ),
        "fp16": (["--fp16"], "--fp16 (and bf16) without a GPU needs --fp16-no-flatten-grads"),
        "flag": (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        "bptt": (
            ["--task", "lottery_language_modeling", "--truncated-bptt", "5", "--batch-size", "2"],
            "cannot read the data in",
        ),
    }


@pytest.fixture(scope="module")
def answers(
    translation_data: Path, dense: Path, ticket: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, str]]:
    """Name of a case -> output, expected words; the exit status was 2."""
    tmp = tmp_path_factory.mktemp("refusals")
    known = cases(translation_data, dense, ticket, tmp)
    before = (dense / "checkpoint_last.pt").read_bytes()
    known["data"] = ([], "no-data does not exist: make it with fairseq-preprocess")
    result = {}
    for name, (words, expected) in known.items():
        data = tmp / "no-data" if name == "data" else translation_data
        text = helpers.train(data, tmp / name, *TRANSLATION, *TRANSFORMER, *ADAM, *words, status=2)
        result[name] = (text, expected)
    assert sorted(result) == sorted(NAMES)
    assert (dense / "checkpoint_last.pt").read_bytes() == before
    written = list(tmp.rglob("*.safetensors"))
    assert not written
    return result


NAMES = [
    "architecture",
    "both",
    "update beyond",
    "epoch beyond",
    "point",
    "fsdp",
    "scope",
    "other scope",
    "no ticket",
    "weights",
    "stranger",
    "no checkpoint",
    "kind",
    "chain",
    "no rewind",
    "kind alone",
    "share",
    "no share",
    "two shares",
    "found already",
    "schedule",
    "too short",
    "folder",
    "finetune",
    "fp16",
    "flag",
    "bptt",
    "data",
]


@pytest.mark.parametrize("name", NAMES)
def test_one_line(name: str, answers: dict[str, tuple[str, str]]) -> None:
    text, expected = answers[name]
    assert expected in helpers.refusal(text)
    assert "training ended" not in text


def test_a_ticket_of_another_vocabulary(translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(translation_data, data)
    for language in ("en", "de"):
        with open(data / f"dict.{language}.txt", "a") as file:
            file.write("elf 1\nzwölf 1\n")
    words = [*TRANSLATION, *TRANSFORMER, *ADAM, "--ticket", ticket]
    line = helpers.refusal(helpers.train(data, tmp_path / "run", *words, status=2))
    size = Ticket.load(ticket).masks["encoder.embed_tokens.weight"].size(0)
    assert f"'encoder.embed_tokens.weight' is ({size}, 16) in the ticket, but ({size + 2}, 16) in the model" in line


def test_a_damaged_last_checkpoint(translation_data: Path, dense: Path, ticket: Path, tmp_path: Path) -> None:
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes((dense / "checkpoint_last.pt").read_bytes()[:5000])
    words = [*TRANSLATION, *TRANSFORMER, *ADAM, "--ticket", ticket]
    line = helpers.refusal(helpers.train(translation_data, tmp_path, *words, status=2))
    assert f"cannot read {last}: it is not a checkpoint of fairseq, or damaged" in line


@pytest.mark.parametrize(("part", "size"), [("bin", 0), ("idx", 0), ("idx", 30)])
def test_an_empty_or_damaged_split(part: str, size: int, lm_data: Path, tmp_path: Path) -> None:
    """One line, and nothing about data that was opened in part and cannot be closed."""
    from fairseq.data import data_utils

    from fairseq_lottery.task.checks import reading

    data, seen = shutil.copytree(lm_data, tmp_path / "data"), []
    file = data / f"test.{part}"
    file.write_bytes(file.read_bytes()[:size])
    before, sys.unraisablehook = sys.unraisablehook, seen.append
    try:
        with pytest.raises(ConfigError, match="cannot read the test split, it is empty or damaged: "), reading("test"):
            data_utils.load_indexed_dataset(str(data / "test"), None, "mmap")
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert not seen
    with pytest.raises(ValueError, match="of the task itself"), reading("test"):
        raise ValueError("of the task itself")


STOPPED = {"--stop-time-hours": (1e-9, "after 1 updates"), "--stop-min-lr": (1, "after 0 updates")}


@pytest.mark.parametrize("option", STOPPED)
def test_a_training_that_stops_before_the_rewind_point(option: str, translation_data: Path, tmp_path: Path) -> None:
    value, when = STOPPED[option]
    words = [*TRANSLATION, *TRANSFORMER, *ADAM, "--rewind-point", "update:5", option, value]
    text = helpers.train(translation_data, tmp_path, *words)
    assert f"the training ended {when}, before the rewind point updates:5: there is no" in text.splitlines()[-1]


def test_ranks_with_different_tickets(translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    words = [*TRANSLATION, *TRANSFORMER, *ADAM, "--ticket", ticket, "--ticket-kind", "random"]
    seeds = {"status": 2, "own": lambda rank: ["--ticket-seed", rank]}
    for text in helpers.two_ranks(translation_data, tmp_path, *words, **seeds):
        assert "the ranks have different tickets" in helpers.refusal(text)


REVIVED = """
from fairseq_lottery.task.masks import TaskMasks
TaskMasks.after_step = TaskMasks.zero_gradients = lambda *_: None
"""


def test_a_pruned_weight_found_alive(translation_data: Path, dense: Path, ticket: Path, tmp_path: Path) -> None:
    """The criterion stops a run in which something brings weights back."""
    package = helpers.own_user_dir(tmp_path / "user", "revived", REVIVED)
    words = [*TRANSLATION, *TRANSFORMER, *ADAM, "--ticket", ticket, "--user-dir", package]
    text = helpers.train(translation_data, tmp_path / "run", *words, status=2)
    assert "pruned parameters of" in helpers.refusal(text)
    assert "are alive" in helpers.refusal(text)
    assert "end of epoch 1" not in text


def test_prune_refuses_what_is_no_checkpoint(dense: Path, tmp_path: Path) -> None:
    (tmp_path / "c.pt").write_bytes(b"not a checkpoint")
    words = ["--rewind", dense / "rewind.safetensors", "--rate", 0.5, "-o", tmp_path / "t"]
    done = helpers.lottery("prune", tmp_path / "c.pt", *words, status=2)
    assert len(done.stderr.splitlines()) == 1
    done = helpers.lottery("prune", dense / "checkpoint_last.pt", "--rewind", tmp_path / "none", *words[2:], status=2)
    assert "cannot read" in done.stderr


def test_controls_are_kept_and_made_once(translation_data: Path, dense: Path, ticket: Path, tmp_path: Path) -> None:
    """A control's ticket lies in the save-dir; fresh values are not those of the dense run; resuming keeps both."""
    still = split("--optimizer sgd --lr 0 --max-epoch 1")
    words = [*TRANSLATION, *TRANSFORMER, *still, "--ticket", ticket]
    helpers.train(translation_data, tmp_path / "reinit", *words, "--ticket-kind", "reinit")
    made, given = Ticket.load(tmp_path / "reinit" / "ticket.safetensors"), Ticket.load(ticket)
    assert made.masks == given.masks
    assert (made.origin.kind, made.origin.parent) == ("reinit", given.digest)
    init = {name: tensor for name, tensor in _weights(dense / "init.safetensors").items() if name in given.masks}
    name = "encoder.layers.0.fc1.weight"
    mask = given.masks[name]
    assert not torch.equal(made.weights[name][mask], init[name][mask])
    state = helpers.load(tmp_path / "reinit" / "checkpoint_last.pt")["model"]
    assert all(torch.equal(state[key], value) for key, value in made.start().items())
    rewind = ["--rewind", dense / "rewind.safetensors", "--ticket-seed", 7]
    helpers.train(translation_data, tmp_path / "shuffled", *words, "--ticket-kind", "shuffled", *rewind)
    shuffled = Ticket.load(tmp_path / "shuffled" / "ticket.safetensors")
    assert shuffled.masks != given.masks
    assert shuffled.masks.survivors() == given.masks.survivors()
    before = (tmp_path / "shuffled" / "ticket.safetensors").stat().st_mtime_ns
    helpers.train(translation_data, tmp_path / "shuffled", *words, "--ticket-kind", "shuffled", *rewind)
    assert (tmp_path / "shuffled" / "ticket.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("outside", ["rewind", "fresh"])
def test_what_is_outside_the_scope_of_a_control(outside: str, tmp_path: Path) -> None:
    """Starts as ``--outside`` says."""
    from types import SimpleNamespace

    from fairseq_lottery.task.ticket import build_ticket
    from lottery_core import prune, snapshot

    def build() -> torch.nn.Module:
        return torch.nn.ModuleDict({"fc": torch.nn.Linear(6, 5), "out": torch.nn.Linear(5, 2)})

    rewind = snapshot(build())
    rewind.save(tmp_path / "rewind")
    prune(snapshot(build()), rewind, rate=0.5, scope=["^fc"]).save(tmp_path / "ticket")
    given = {
        "ticket": str(tmp_path / "ticket"),
        "ticket_kind": "random",
        "ticket_seed": 3,
        "scope": "",
        "surviving": None,
    }
    options = SimpleNamespace(**given, rewind=str(tmp_path / "rewind"), save_dir=str(tmp_path), outside=outside)
    found = build_ticket(options, build)[1]
    assert torch.equal(found.start()["out.weight"], rewind.tensors["out.weight"]) == (outside == "rewind")


def test_a_control_is_drawn_anew_for_each_round_and_seed(tmp_path: Path) -> None:
    """Without ``--ticket-seed``; a run that is resumed keeps its control."""
    from types import SimpleNamespace

    from fairseq_lottery.task.ticket import build_ticket, keep_ticket
    from lottery_core import prune, snapshot

    rewind = snapshot(torch.nn.Linear(40, 20))
    first = prune(rewind, rewind, rate=0.5)
    first.save(tmp_path / "1")
    prune(rewind, rewind, rate=0.5, previous=first).save(tmp_path / "2")

    def control(round_: int, seed: int, folder: str = "run") -> Ticket:
        given = {"ticket": str(tmp_path / str(round_)), "ticket_kind": "random", "seed": seed}
        given["restore_file"] = "checkpoint_last.pt"
        free = dict.fromkeys(["ticket_seed", "scope", "surviving", "rewind"])
        options = SimpleNamespace(**given, **free, save_dir=str(tmp_path / folder), outside="rewind")
        made = build_ticket(options, lambda: torch.nn.Linear(40, 20))[1]
        (tmp_path / folder).mkdir(exist_ok=True)
        keep_ticket(options, made)
        return made

    one, two, other = control(1, 5), control(2, 5, "second"), control(2, 6, "other")
    assert not bool((two.masks["weight"] <= one.masks["weight"]).all())  # no subset of it
    assert not torch.equal(two.masks["weight"], other.masks["weight"])
    assert not torch.equal(two.start()["weight"], other.start()["weight"])
    (tmp_path / "run/checkpoint_last.pt").touch()
    assert torch.equal(control(1, 7).masks["weight"], one.masks["weight"])
    (tmp_path / "run/checkpoint_last.pt").unlink()  # begun anew: what an earlier run has left says nothing of it
    assert not torch.equal(control(1, 7).masks["weight"], one.masks["weight"])


def _weights(path: Path) -> dict[str, torch.Tensor]:
    from lottery_core.tickets.weights import Weights

    return dict(Weights.load(path).tensors)


def test_numbers_that_are_none_stop_the_training_in_one_line(translation_data: Path, tmp_path: Path) -> None:
    """Not by the StopIteration that fairseq's search for the first NaN ends with."""
    words = [*TRANSLATION, *TRANSFORMER, "--optimizer", "sgd", "--lr", "1e37", "--rewind-point", "update:2"]
    text = helpers.train(translation_data, tmp_path, *words, status=1)
    assert helpers.refusal(text) == ("fairseq-train: error: fairseq stopped the training: gradients are Nan/Inf")
    assert "the search for the first NaN or infinity ended early: StopIteration" in text


def small() -> torch.nn.Module:
    return torch.nn.ModuleDict({"fc": torch.nn.Linear(6, 5), "out": torch.nn.Linear(5, 2)})


@pytest.mark.parametrize("kind", ["random", "erk"])
def test_the_folder_of_another_run_keeps_its_ticket(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from fairseq_lottery.task import checks
    from lottery_core import prune, snapshot

    given = prune(snapshot(small()), snapshot(small()), rate=0.5)
    folder = tmp_path / "run"
    folder.mkdir()
    given.save(tmp_path / "ticket")
    given.save(folder / "ticket.safetensors")
    before = (folder / "ticket.safetensors").read_bytes()
    (folder / "checkpoint_last.pt").write_bytes(b"")
    others = SimpleNamespace(tickets={"Bare": given.digest})
    monkeypatch.setattr(checks.CheckpointProgress, "of", lambda path: others)
    more = {"ticket": str(tmp_path / "ticket")} if kind == "random" else {"surviving": 0.4}
    task = helpers.bare_task(folder, small, ticket_kind=kind, **more)
    with pytest.raises(ConfigError, match="belongs to another ticket"):
        task.build_model(SimpleNamespace())
    assert (folder / "ticket.safetensors").read_bytes() == before
    (folder / "checkpoint_last.pt").unlink()
    task.build_model(SimpleNamespace())
    assert Ticket.load(folder / "ticket.safetensors").origin.kind == kind
