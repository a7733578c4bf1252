"""``sb3-lottery play`` and ``sb3-lottery inputs`` on a finished experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from lottery_core import Ticket
from sb3_lottery.cli.command import main
from tests.conftest import Result


def test_a_finished_run_plays(small: tuple[Path, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a video that can be read again, a frame a step; the same episode from the same run."""
    imageio = pytest.importorskip("imageio.v3", reason="videos need imageio")
    out, _ = small
    for name in ("a.gif", "b.mp4"):
        assert main(["play", str(out), "--round", "1", "--deterministic", "-o", str(tmp_path / name)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("winning, seed 1, round 1: return ") or ": return " in said[0]
    assert said[0] == said[2]
    steps = int(float(said[0].rpartition(" ")[2]))
    film = imageio.imread(tmp_path / "a.gif", index=None)
    assert len(film) in (steps, steps - 1), "equal frames of a GIF may be joined"
    assert imageio.imread(tmp_path / "b.mp4", plugin="FFMPEG").shape[-1] == 3


def test_what_a_ticket_still_sees(small: tuple[Path, Result], capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = small
    assert main(["inputs", str(out), "--kind", "random"]) == 0
    lines = capsys.readouterr().out.splitlines()
    masks = Ticket.load(out / "seed-1/random/round-02/ticket.safetensors").masks
    readers = [masks[f"mlp_extractor.{net}_net.0.weight"] for net in ("policy", "value")]
    expected = [sum(int(mask[:, column].sum()) for mask in readers) for column in range(4)]
    names = ("cart position", "cart velocity", "pole angle", "pole angular velocity")
    for line, name, count in zip(lines[1:5], names, expected, strict=True):
        assert line.startswith(name)
        assert line.split("of")[0].split()[-1] == str(count)


LOOKS = {
    "no experiment": (["play", "none"], "holds no experiment"),
    "kind": (["play", "{out}", "--kind", "randon"], "unknown kind of ticket 'randon': did you mean random"),
    "round": (["play", "{out}", "--round", "9"], "the last finished round is 2"),
    "other kind": (["inputs", "{out}", "--kind", "one-shot"], "has no finished one-shot run"),
    "dense": (["inputs", "{out}", "--kind", "dense"], "a dense run has no ticket: give --kind with a kind of ticket"),
    "dense round": (
        ["play", "{out}", "--kind", "dense", "--round", "1"],
        "the dense run has no rounds: leave --round 1",
    ),
    "ending": (["play", "{out}", "-o", "video.avi"], "a video must end in .mp4 or .gif"),
    "episodes": (["play", "{out}", "--episodes", "0"], "--episodes must be at least 1"),
}


@pytest.mark.parametrize("name", LOOKS)
def test_looks_that_are_refused(
    name: str, small: tuple[Path, Result], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words, expected = LOOKS[name]
    assert main([word.format(out=small[0]) for word in words]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.splitlines()) == 1
