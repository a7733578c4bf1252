"""Changes of a configuration as people read them."""

from __future__ import annotations

from lottery_core.files import differences

BEFORE = ["data-bin", "--arch", "transformer", "--lr", "0.1", "--cpu", "--update-freq=2", "--betas", "(0.9,", "0.98)"]


def changes(now: str) -> list[str]:
    return differences({"arguments": BEFORE}, {"arguments": now.split(" ")})


def test_command_lines_are_compared_option_by_option() -> None:
    line = " ".join(BEFORE)
    assert changes(line) == []
    assert changes(line.replace("--lr 0.1", "--lr 0.2")) == ["arguments --lr: 0.1 -> 0.2"]
    assert changes(line.replace("freq=2", "freq=4")) == ["arguments --update-freq: 2 -> 4"]
    assert changes(line.replace(" --cpu", "")) == ["arguments --cpu: given -> not given"]
    assert changes(line + " --fp16") == ["arguments --fp16: not given -> given"]
    assert changes(line.replace("data-bin", "other")) == ["arguments: data-bin -> other"]
    assert changes("data-bin --cpu --arch transformer --lr 0.1 --update-freq=2 --betas (0.9, 0.98)") == [
        "arguments: the same options in another order"
    ]


def test_other_lists_are_shown_whole() -> None:
    assert differences({"scope": ["all"]}, {"scope": ["layers", "fc1"]}) == ["scope: all -> layers fc1"]
    assert differences({"a": {"b": None}}, {"a": {"b": 3}}) == ["a.b: not set -> 3"]


def test_nan_is_no_change_and_a_number_may_be_written_otherwise() -> None:
    nan, other = float("nan"), float("nan")
    assert differences({"a": [1, {"x": nan}], "b": nan}, {"a": [1.0, {"x": other}], "b": other}) == []
    assert differences({"a": [nan]}, {"a": [0.5]}) == ["a: nan -> 0.5"]
    assert differences({"a": [1]}, {"a": [1, 2]}) == ["a: 1 -> 1 2"]
