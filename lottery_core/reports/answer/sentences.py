"""Write the answer in plain English, one sentence per line; every number in it is part of the data."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from lottery_core.files import counted
from lottery_core.pruning import DENSE, IN_TRAINING
from lottery_core.reports.answer.answer import Answer
from lottery_core.reports.answer.contrasts import NOT_TESTED, Comparison, seeds_for
from lottery_core.reports.answer.curves import number, percent
from lottery_core.reports.answer.given import unequal
from lottery_core.reports.answer.luck import Luck
from lottery_core.reports.answer.question import SCORE
from lottery_core.reports.answer.scale import MEASURED
from lottery_core.reports.answer.seeds import MOST, SeedsNeeded
from lottery_core.reports.answer.thresholds import FIRST, LAST, Threshold

_WIDTH = 118
_INDENT = "  "
_LUCK = ", apart from deeper levels that count as luck"


def sentences(answer: Answer) -> str:
    """Return the answer as text for a terminal, which ends with an empty line."""
    title, *rest = statements(answer)
    return "\n".join([title, *(line for statement in rest for line in _wrapped(statement))]) + "\n"


def statements(answer: Answer) -> list[str]:
    """Return the statements of the answer, the title first; those that belong to the one above are indented."""
    question = answer.question
    way = "lower" if question.lower_is_better else "higher"
    assumed = ", which is assumed" if question.assumed else ""
    seeds = len(answer.seeds)
    lines = [
        f"{answer.experiment}: the answer of {seeds} seed{'' if seeds == 1 else 's'} "
        f"({_label(question.label)}; {way} is better{assumed})"
    ]
    if answer.no_answer is not None:
        longer = (f"  {_comparison(other, seeds)}" for other in answer.longer)
        return [*lines, f"No answer: {answer.no_answer}.", *longer]
    notes = (f"Note: {warning}." for warning in answer.warnings)
    return [*lines, *_small(answer), *_contrasts(answer), *_luck(answer), *_given(answer), *notes]


def _label(label: str) -> str:
    return label.removesuffix(", lower is better")


def _wrapped(line: str) -> list[str]:
    depth = len(line) - len(line.lstrip()) + len(_INDENT)
    return textwrap.wrap(
        line.lstrip(), _WIDTH, initial_indent=" " * depth, subsequent_indent=" " * (depth + 2),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _small(answer: Answer) -> Iterator[str]:
    scale = answer.scale
    assert scale is not None
    spread = "" if scale.spread is None else f" ± {number(scale.spread)}"
    floor = "not known"
    if scale.floor is not None:
        floor = number(scale.floor, 4) + ("" if scale.floor_from == MEASURED else f", not measured: {scale.floor_from}")
    few = "" if scale.seeds == len(answer.seeds) else f" of {counted(scale.seeds, 'seed')}"
    ends = f"dense {number(scale.dense, 4)}{spread}{few}; floor {floor}"
    if answer.margin is None:
        yield f"How small: no margin without a floor ({ends})."
        return
    margin = answer.question.margin
    digits = "" if margin.of == SCORE else f", {number(answer.margin)}"
    yield f"How small, within {margin}{digits} ({ends}), of the {answer.pool:,} parameters in the pool:"
    for threshold in answer.thresholds:
        yield f"  {_threshold(threshold, len(answer.seeds))}"


def _threshold(found: Threshold, seeds: int) -> str:
    count = len(found.seeds)
    last, first = found.censored(LAST), found.censored(FIRST)
    if not found.kept:
        each = "the one seed" if count == 1 else f"all {count} seeds"
        notes = [each + (_LUCK if found.lucky else ""), *([_unfinished(found.left_out)] if found.left_out else [])]
        return f"{found.kind}: not kept at any level ({'; '.join(notes)})."
    times = 1 / found.surviving
    smaller = f"{times:.0f}" if times >= 9.95 else f"{times:.1f}"
    details = [f"{smaller} times smaller", *([f"{count} seeds"] if 1 < count != seeds else [])]
    if found.high is None:
        details.append("one seed, so no interval")
    elif found.low is None:
        details.append(f"95%: at most {percent(found.high)}")
    else:
        details.append(f"95%: {percent(found.low)} to {percent(found.high)}")
    if last:
        details.append(f"censored: {_of(last, count)} inside at the last level, so smaller may do")
    if first:
        keep = "keeps" if first == 1 else "keep"
        details.append(f"{first} of {count} seeds {keep} the score at no level{_LUCK if found.lucky else ''}")
    if found.left_out:
        details.append(_unfinished(found.left_out))
    how = "to, or below, " if last else "to "
    return f"{found.kind}: down {how}{percent(found.surviving)} of the pool ({'; '.join(details)})."


def _unfinished(seeds: Sequence[int]) -> str:
    return f"left out as unfinished: seed {', '.join(map(str, seeds))}"


def _levels(shares: Sequence[float]) -> str:
    return f"level{'' if len(shares) == 1 else 's'} {', '.join(map(percent, shares))}"


def _of(some: int, count: int) -> str:
    return "the seed is" if count == 1 else f"{some} of {count} seeds {'is' if some == 1 else 'are'}"


def _contrasts(answer: Answer) -> Iterator[str]:
    unit = _short(answer)
    if answer.whole is None:
        yield "Mask, start or luck: winning or random tickets are missing, so the whole effect is not known."
    else:
        compared = [other for other in (answer.whole, *answer.others) if other.shares is None]
        everywhere = all(some == every for some, every in (other.rounds for other in compared))
        levels = "all levels" if everywhere else "the levels that both kinds have"
        yield f"Mask, start or luck, by the mean score over {levels}, + where the first kind is better{unit}:"
        yield f"  {_comparison(answer.whole, len(answer.seeds))}"
    for other in (*answer.others, *answer.longer):
        yield f"  {_comparison(other, len(answer.seeds))}"
    if answer.parts_at is not None:
        share, p = answer.parts_at
        where = f"{percent(share)} of the pool"
        yield f"  Winning and random tickets part at {where}, the first level that differs (max-T, p = {p:.2g})."
    yield from _tests(answer)
    yield from _needed(answer)


def _short(answer: Answer) -> str:
    scale = answer.scale
    if scale is None or scale.distance is None:
        return " (no floor, so nothing is normalised)"
    if scale.spread is None:
        return " (brackets: dense = 1, floor = 0)"
    return f" (brackets: dense = 1, floor = 0; the dense score itself spreads by {scale.spread / scale.distance:.2f})"


def _comparison(found: Comparison, seeds: int) -> str:
    contrast, interval = found.contrast, found.difference
    if found.shares is not None:
        return f"{contrast.name}, {contrast.first} against {contrast.second}: not compared, {found.why}."
    size = number(interval.estimate, sign="+")
    if found.normalised is not None:
        size += f" [{found.normalised.estimate:+.2f}]"
    if interval.low is None or interval.high is None:
        ends = "no interval" if found.seeds < 2 else "no spread, so no interval"
    else:
        ends = f"95%: {number(interval.low, sign='+')} to {number(interval.high, sign='+')}"
        if found.normalised is not None and found.normalised.low is not None and found.normalised.high is not None:
            ends += f" [{found.normalised.low:+.2f} to {found.normalised.high:+.2f}]"
    parts = [f"{contrast.name}, {contrast.first} against {contrast.second}: {size} ({ends}); {_verdict(found)}"]
    if found.ahead is not None and found.seeds > 1:
        first, last = found.ahead
        where = f"from {percent(first)} down to {percent(last)}" if first != last else f"at {percent(first)}"
        parts.append(f"{contrast.first} ahead in every seed {where}")
    if not found.paired:
        parts.append(f"not paired: the seeds differ, {found.sides[0]} against {found.sides[1]}")
    elif found.seeds != seeds:
        parts.append(counted(found.seeds, "pair"))
    some, every = found.rounds
    if some < every:
        top, bottom = map(percent, found.levels)
        parts.append(f"over {some} of {every} levels, from {top} to {bottom}" if some > 1 else f"at {top} alone")
    if found.left_out:
        parts.append(_unfinished(found.left_out))
    if found.dropped:
        parts.append(f"left out because some seeds lack them: {_levels(found.dropped)}")
    return f"{'; '.join(parts)}."


def _verdict(found: Comparison) -> str:
    if found.verdict == NOT_TESTED or found.p is None:
        few = not found.why or found.why.endswith("carry no test")
        return "an estimate, no test" if few else f"not tested, {found.why}"
    by_holm = "" if found.adjusted == found.p else f", by Holm {found.adjusted:.2g}"
    return f"{found.verdict} (p = {found.p:.2g}{by_holm})"


def _tests(answer: Answer) -> Iterator[str]:
    counts = [some.seeds for some in (answer.whole, *answer.others) if some is not None]
    if not counts or max(counts) >= seeds_for(1):
        return
    most = max(counts)
    carried = f"{seeds_for(1)} carry one of the whole effect"
    others = sum(other.shares is None for other in answer.others)
    if others:
        carried += f", {seeds_for(others)} those of {others} more"
    yield f"With {most} seed{'' if most == 1 else 's'} there are estimates and no tests; {carried}."


def _needed(answer: Answer) -> Iterator[str]:
    if answer.needed:
        told = "; ".join(map(_need, answer.needed))
        effect = _hundredths(answer.question.effect)
        yield (
            f"Seeds for a difference of {effect} (fixed in advance, not the one seen), with 80% "
            f"power: {told}. Choose the number before you train, and do not add seeds because a test failed."
        )
    elif len(answer.seeds) == 1:
        yield "How many seeds are needed cannot be told from one: train 3, which show how much seeds differ."


def _need(need: SeedsNeeded) -> str:
    seeds = f"more than {MOST}" if need.seeds is None else f"{need.seeds}"
    what = "the whole effect" if need.whole else f"{need.tests} other contrast{'' if need.tests == 1 else 's'}"
    return f"{what} {seeds} (spread {_hundredths(need.spread)}, its upper 80% limit {_hundredths(need.limit)})"


def _hundredths(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 or not value else f"{value:.2g}"


def _luck(answer: Answer) -> Iterator[str]:
    for luck in answer.luck:
        yield f"Luck itself: {_one_luck(luck)}."


def _one_luck(luck: Luck) -> str:
    if luck.kind in IN_TRAINING:  # each training finds a mask of its own
        what = f"{luck.kind}, the whole training with its pruning again under other noise"
        of = f" from {luck.tickets} starts"
    else:
        what = f"{'dense networks' if luck.kind == DENSE else f'{luck.kind} tickets'} trained again under other noise"
        of = f" of {luck.tickets}"
    line = f"{what} ({luck.trainings} trainings{of}) spread by {number(luck.noise)}"
    if luck.tickets_differ is None:
        return line
    part = ""
    if luck.share is not None:
        range_ = "" if luck.low is None else f" ({luck.low:.0%} to {luck.high:.0%})"
        part = f"; {luck.share:.0%}{range_} of the variance is noise of training"
    others = "starts" if luck.kind in IN_TRAINING else "tickets"
    return (
        f"{line}, {'those' if luck.kind == DENSE else f'{others} of one level'} by {number(luck.tickets_differ)}{part}"
    )


def _given(answer: Answer) -> Iterator[str]:
    unit = answer.question.unit
    if any(some.scored for some in answer.given):
        told = "; ".join(
            f"{some.kind} {some.scored:,.0f}" + (f" after {some.before:,.0f}" if some.before else "")
            for some in answer.given
        )
        searched = ", ".join(f"{some.kind} {some.search:,.0f}" for some in answer.given if some.search)
        search = f" Before them, to find the ticket of the last level: {searched}." if searched else ""
        yield f"Mean {unit} of the scored trainings: {told}.{search}"
    phrases = unequal(answer.given)
    if phrases:
        yield (
            f"The trainings differ in length by more than 5% (times dense, by level): {', '.join(phrases)}. "
            "Part of a difference may be this."
        )
