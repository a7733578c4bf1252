"""Pages of many runs and of large masks: what they read and compute again and again, and what they leave out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lottery_core.reports.page import render_page, subject_of
from lottery_core.reports.page import tickets as module
from lottery_core.reports.page.figures import Budget
from lottery_core.reports.page.learning import learning_section
from lottery_core.tickets import Masks
from tests.lottery_core.reports.page.made import write_experiment

KINDS = ("winning", "random", "reinit", "one-shot", "shuffled")


def test_a_ticket_is_read_a_few_times_where_few_masks_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pairs are compared, and however often the page is shortened."""
    write_experiment(tmp_path, kinds=KINDS, seeds=(1, 2, 3, 4), rounds=4, curve=100)
    read: Counter[Path] = Counter()
    masks = module.read_masks

    def counted(path: Path) -> Masks:
        read[path] += 1
        return masks(path)

    subject = subject_of(tmp_path, lambda name: None)
    monkeypatch.setattr(module, "read_masks", counted)
    one = module.PackedMasks(masks(next(tmp_path.glob("seed-1/winning/round-01/ticket.safetensors"))))
    monkeypatch.setattr(module, "_MOST_BYTES", 6 * one.bits.nbytes)
    page = render_page([subject], most=1)
    assert "every finished run but the last" in page  # shortened several times
    assert len(read) == 80
    assert (
        max(read.values()) <= 5
    )  # counted; of one seed and round; of one kind and round; of one seed and kind; layers


def test_learning_curves_of_whole_seeds_are_drawn_as_far_as_they_fit(tmp_path: Path) -> None:
    write_experiment(tmp_path, seeds=(1, 2, 3), rounds=2, curve=20)
    subject = subject_of(tmp_path, lambda name: None)

    def drawn(points: int) -> tuple[set[str], int, str]:
        section = learning_section(subject, Budget(points=points))
        runs = [run for series in section.charts[0].data["series"] for run in series["runs"]]
        return {run["name"].split(" ")[1] for run in runs}, sum(len(run["x"]) for run in runs), " ".join(section.text)

    every = drawn(16_000)
    assert every[:2] == ({"1", "2", "3"}, 15 * 20)
    assert "Drawn are" not in every[2]
    seeds, points, text = drawn(8 * 11)
    assert (seeds, points) == ({"1", "2"}, 10 * 8)
    assert "Drawn are the runs of seeds 1, 2, 10 of 15: more would make the page too large." in text
    assert drawn(0)[:2] == ({"1"}, 8)
