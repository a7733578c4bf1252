"""What users type about searching and levels."""

import pytest

from lottery_core.errors import ConfigError, PruneError
from lottery_core.pruning import schedule
from lottery_core.pruning.settling import Search, level_after, parse_levels, parse_search, rounds_of_levels, same_level


@pytest.mark.parametrize(
    ("word", "search", "again"),
    [
        ("full", Search(), "full"),
        ("0.5", Search(share=0.5), "0.5"),
        ("25%", Search(share=0.25), "0.25"),
        ("1e-2", Search(share=0.01), "0.01"),
        ("20%-0.6", Search(share=0.2, last=0.6), "0.2-0.6"),
        ("settled", Search(threshold=0.02), "settled:0.02"),
        ("settled:0.1", Search(threshold=0.1), "settled:0.1"),
        ("settled:5%", Search(threshold=0.05), "settled:0.05"),
        ("0.9999999", Search(share=0.9999999), "0.9999999"),
        ("0.00001-0.5", Search(share=1e-5, last=0.5), "1e-05-0.5"),
        ("1E-3-5e-1", Search(share=0.001, last=0.5), "0.001-0.5"),
        ("settled:1e-7", Search(threshold=1e-7), "settled:1e-07"),
    ],
)
def test_search(word: str, search: Search, again: str) -> None:
    assert parse_search(word) == search
    assert str(search) == again
    assert parse_search(again) == search


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("1", "strictly between 0 and 1"),
        ("0", "strictly between"),
        ("150%", "strictly between"),
        ("fast", "accepted: full, a share"),
        ("", "accepted: full"),
        ("settled:", "'settled:' is not understood; accepted: full"),
        ("settled:0", "strictly between"),
        ("settled:2", "strictly between"),
        ("share:0.5", "accepted: full"),
        ("nan", "accepted: full"),
        ("settled:nan", "strictly between"),
        ("0.6-0.2", "must rise"),
        ("0.2-0.2", "must rise"),
        ("0.2-1", "strictly between"),
        ("0.2-", "is not a share"),
        ("0.2-0.4-0.6", "is not a share"),
    ],
)
def test_bad_search_is_one_line(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_search(word)
    assert "\n" not in str(caught.value)


def test_shares_rise_by_equal_steps_to_the_last_search_round() -> None:
    search = parse_search("0.2-0.6")
    assert [search.of_round(round_, 6).share for round_ in range(1, 6)] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert search.mean == pytest.approx(0.4)
    assert search.of_round(1, 2) == Search(share=0.2)  # a single search round
    for alike in ("full", "0.5", "settled"):
        assert parse_search(alike).of_round(3, 6) == parse_search(alike)
    assert (parse_search("0.5").mean, parse_search("settled").mean) == (0.5, None)


def test_levels_and_their_rounds() -> None:
    levels = parse_levels(["50%", "20%", "0.1", "5%", "2%"])
    assert levels == (0.5, 0.2, 0.1, 0.05, 0.02)
    rounds = rounds_of_levels(levels, 0.2)
    assert rounds == (3, 7, 10, 13, 18)
    for level, round_ in zip(levels, rounds, strict=True):  # no other round is nearer
        ratios = {
            other: max(level / level_after(other, 0.2), level_after(other, 0.2) / level) for other in range(1, 30)
        }
        assert min(ratios, key=lambda other: ratios[other]) == round_


def test_the_first_round_may_prune_more() -> None:
    counts = schedule(10_000, 0.2, 3, first=0.5)
    assert counts == [10_000, 5000, 4000, 3200]
    assert [round(10_000 * level_after(round_, 0.2, 0.5)) for round_ in range(4)] == counts
    assert rounds_of_levels((0.5, 0.2), 0.2, 0.5) == (1, 5)
    assert rounds_of_levels((0.5,), 0.2, 1e-320) == (1,)
    assert schedule(10_000, 0.2, 0, first=0.5) == [10_000]
    with pytest.raises(PruneError, match="first round"):
        schedule(10, 0.2, 1, first=1.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["50%", "50%"], "must fall"),
        (["20%", "50%"], "must fall"),
        (["1.0"], "strictly between"),
        (["0%"], "strictly between"),
        (["half"], "is not a share"),
    ],
)
def test_bad_levels_are_one_line(words: "list[str]", message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_levels(words)


@pytest.mark.parametrize(("level", "rate"), [(0.5, 1e-17), (0.5, 1e-300), (0.01, 0.001)])
def test_levels_that_no_chain_reaches_are_refused(level: float, rate: float) -> None:
    with pytest.raises(
        ConfigError, match=f"at the prune rate {rate:g} the level {level:g} takes more than 1000 rounds"
    ):
        rounds_of_levels((level,), rate)
    assert rounds_of_levels((1e-323,), 0.9) == (323,)


def test_levels_that_share_a_round_are_refused() -> None:
    with pytest.raises(ConfigError, match="both nearest to round 3"):
        rounds_of_levels((0.52, 0.5), 0.2)


def test_shares_of_one_level() -> None:
    assert same_level(0.1, 0.1049)
    assert same_level(0.1049, 0.1)
    assert not same_level(0.1, 0.1051)
    assert not same_level(0.8, 0.5)
