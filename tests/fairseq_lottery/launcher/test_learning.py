"""The learning curve from the lines that fairseq-train logs; no training."""

from __future__ import annotations

from pathlib import Path

from fairseq_lottery.launcher.learning import LearningCurve
from fairseq_lottery.launcher.worker import _progress_line, _stats_of
from lottery_core.experiments import paths
from lottery_core.files import CurvePoint, read_curve


def valid(steps: int, tag: str = "valid", **more: str) -> tuple[str, dict[str, object]]:
    """A line of statistics: fairseq logs most numbers as text."""
    values = {"loss": "3.5", "num_updates": str(steps), **more}
    return tag, {"epoch": steps // 10, **{f"{tag}_{name}": value for name, value in values.items()}}


def test_a_point_a_validation(tmp_path: Path) -> None:
    curve = LearningCurve(tmp_path, None)
    curve.add("train_inner", {"epoch": 1, "loss": "9"})
    curve.add(*valid(10, log_ppl="2.25"))
    curve.add(*valid(10, tag="valid1"))  # of several subsets the first counts
    curve.add(*valid(10, tag="train"))
    curve.add(*valid(20, log_ppl="2.125", bleu="31"))
    curve.add("valid", {"epoch": 3})
    assert read_curve(tmp_path / paths.LEARNING) == [
        CurvePoint(1, 10, 2.25, "log ppl, valid"),
        CurvePoint(2, 20, 31.0, "bleu, valid"),
    ]


def test_without_validation_the_training_itself(tmp_path: Path) -> None:
    curve = LearningCurve(tmp_path, None, validates=False)
    curve.add(*valid(10, tag="train"))
    assert read_curve(tmp_path / paths.LEARNING) == [CurvePoint(1, 10, 3.5, "loss, train")]


def test_a_resumed_training_replaces_what_it_trains_again(tmp_path: Path) -> None:
    before = LearningCurve(tmp_path, None)
    for steps in (10, 20, 30):
        before.add(*valid(steps, loss=f"{steps}"))
    after = LearningCurve(tmp_path, resumed=20)
    after.add(*valid(30, loss="31"))
    assert [point.score for point in read_curve(tmp_path / paths.LEARNING)] == [10.0, 20.0, 31.0]


def test_a_validation_subset_of_any_name(tmp_path: Path) -> None:
    """In the lines of the log, among others that only look like statistics."""
    curve = LearningCurve(tmp_path, None)
    stats = {}
    for tag, text in (
        ("fairseq_cli.train", "{'_name': None, 'common': {}}"),
        ("fairseq.tasks.text", '{"words": 3}'),
        ("train_inner", '{"epoch": 1, "loss": "9", "num_updates": "8"}'),
        ("dev-2.en", '{"epoch": 1, "dev-2.en_log_ppl": "3.5", "dev-2.en_num_updates": "10"}'),
    ):
        found, now = _stats_of(f"2024-01-01 00:00:00 | INFO | {tag} | {text}\n")
        assert found == (tag if "epoch" in text else "")
        stats |= now
        curve.add(found, now)
    assert read_curve(tmp_path / paths.LEARNING) == [CurvePoint(1, 10, 3.5, "log ppl, dev-2.en")]
    assert _progress_line(stats, curve.subset) == "epoch 1, 8 updates, dev-2.en log_ppl 3.5"
