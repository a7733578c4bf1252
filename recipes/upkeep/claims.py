"""The paper's claims against the committed results: the table in ``docs/results.md``, from the rows alone.

    python recipes/upkeep/claims.py [--check]

The verdict of a comparison is *shown* or *not shown* where there is a test of the direction that the paper claims
(one-sided, 5%, Holm's method for all but the first contrast of an experiment), *contradicted* where the 95% interval of
five or more seeds lies on the other side, *not tested* where the whole effect, which is tested first, is not shown or
not known, and *cannot tell* where there are too few seeds for a test. A claim of size is judged by its interval alone:
*shown* if it is at or below the claimed size, *contradicted* if it is above, *cannot tell* without an upper end.
``--check`` writes nothing, and fails where the page does not have the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lottery_core.files import write_text
from lottery_core.reports import Answer, answer, source_of
from lottery_core.reports.answer import MEASURED
from lottery_core.reports.answer.contrasts import SHOWN, Comparison
from lottery_core.reports.answer.significance import FEWEST_FOR_A_TEST

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "recipes" / "results", ROOT / "docs" / "results.md"
BEGIN, END = "<!-- claims: python recipes/upkeep/claims.py -->\n", "<!-- end of claims -->\n"
CANNOT_TELL, CONTRADICTED = "cannot tell", "contradicted"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and the experiments here that bear on it.

    :param text: the claim
    :param first: the kind that the paper finds better; or the kind whose size is claimed
    :param second: the kind that the paper finds worse; empty for a claim of size
    :param results: names of files of rows, ``NAME`` or ``NAME/results-X``, without those that do not exist yet
    :param surviving: for a claim of size, the share of the parameters down to which the score is kept
    """

    text: str
    first: str
    second: str
    results: tuple[str, ...]
    surviving: float | None = None


GAMES = (
    "cartpole-kinds",
    "cartpole-kinds/results-episodes",
    "cartpole",
    "acrobot-steps",
    "acrobot",
    "lunarlander-steps",
    "lunarlander",
)
LSTM, TRANSFORMER = ("wikitext2-kinds", "wikitext2-valid"), ("multi30k-kinds", "multi30k", "number-words")
CLAIMS = (
    Claim("Winning tickets beat random ones: classic control", "winning", "random", GAMES),
    Claim(
        "the same: PPO and DQN (not in the paper)",
        "winning",
        "random",
        ("ppo-kinds", "ppo", "dqn-kinds", "dqn"),
    ),
    Claim("the same: LSTM language model", "winning", "random", LSTM),
    Claim("the same: Transformer", "winning", "random", TRANSFORMER),
    Claim("the same, layers alone pruned", "winning", "random", ("multi30k-layers", "multi30k/results-layers")),
    Claim("Iterative pruning beats one-shot pruning", "winning", "one-shot", (*GAMES, *LSTM, *TRANSFORMER)),
    Claim("Late rewinding helps", "winning", "no-rewind", (*GAMES, *LSTM, *TRANSFORMER)),
    Claim("LSTM: 10% of the parameters without visible loss", "winning", "", LSTM, 0.10),
    Claim("Transformer: 99% of BLEU at a third of the parameters", "winning", "", TRANSFORMER, 1 / 3),
)


@dataclass(frozen=True)
class Finding:
    """What one experiment says about a claim.

    :param name: the experiment's name
    :param seeds: number of seeds
    :param verdict: see the module
    :param effect: the estimate with its interval, as text
    """

    name: str
    seeds: int
    verdict: str
    effect: str


def rows_of(name: str) -> Path:
    """Return the file of rows of a result."""
    folder, _, stem = name.partition("/")
    return RESULTS / folder / f"{stem or 'results'}.csv"


def findings(claim: Claim) -> Iterator[Finding]:
    """Yield what each committed experiment says about a claim; those without the kinds in question are left out."""
    for name in claim.results:
        path = rows_of(name)
        if path.exists():
            source = source_of(path)
            found = answer(source.rows, source.question(None), source.searches)
            one = of_size(claim, found) if claim.surviving is not None else of_contrast(claim, found)
            if one is not None:
                yield Finding(name, *one)


def of_contrast(claim: Claim, found: Answer) -> tuple[int, str, str] | None:
    """Return seeds, verdict and effect of a contrast of areas; ``None`` if the experiment lacks it."""
    for each in (found.whole, *found.others):
        if each is None or (each.contrast.first, each.contrast.second) != (claim.first, claim.second):
            continue
        if each.shares is not None:
            return each.seeds, CANNOT_TELL, each.why
        # Divided by the distance to a score that a kind of ticket had, a difference would depend on that kind.
        scaled = found.scale is not None and (found.scale.floor_from == MEASURED or found.question.least is not None)
        size = (each.normalised if scaled else None) or each.difference
        unit = "" if size is each.normalised else f" in {found.question.label.partition(' on ')[0]}"
        if size.low is None or size.high is None:
            return each.seeds, CANNOT_TELL, f"{size.estimate:+.2f}{unit}"
        verdict = each.verdict if each.p is not None or _behind_gate(found, each) else CANNOT_TELL
        if each.seeds >= FEWEST_FOR_A_TEST and size.high < 0:
            verdict = CONTRADICTED
        return each.seeds, verdict, f"{size.estimate:+.2f}{unit} ({size.low:+.2f} to {size.high:+.2f})"
    return None


def _behind_gate(found: Answer, other: Comparison) -> bool:
    # Whether the whole effect, and not the number of seeds, is why a contrast is not tested.
    whole = found.whole
    enough = min(other.seeds, other.seeds if whole is None else whole.seeds) >= FEWEST_FOR_A_TEST
    return enough and other is not whole and (whole is None or whole.verdict != SHOWN)


def of_size(claim: Claim, found: Answer) -> tuple[int, str, str] | None:
    """Return seeds, verdict and effect of a claim of size; ``None`` if the experiment has no such tickets."""
    assert claim.surviving is not None
    for each in found.thresholds:
        if each.kind != claim.first:
            continue
        text = f"keeps it down to {each.surviving:.0%}" if each.kept else "keeps it at no level"
        seeds = len(each.seeds)
        if each.high is None:
            return seeds, CANNOT_TELL, text
        if each.kept:
            text += f" (at most {each.high:.0%})" if each.low is None else f" ({each.low:.0%} to {each.high:.0%})"
        if each.high <= claim.surviving:
            return seeds, "shown", text
        return seeds, CONTRADICTED if (each.low or 0) > claim.surviving else "not shown", text
    return None


def table() -> str:
    """Return the table of claims, one line for each experiment that bears on one."""
    lines = [
        "| claim of the paper | experiment | seeds | verdict | effect (95%) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for claim in CLAIMS:
        text = claim.text
        for one in findings(claim):
            folder = one.name.partition("/")[0]
            link = f"[{one.name.replace('/results', '')}](../recipes/results/{folder}/README.md)"
            lines.append(f"| {text} | {link} | {one.seeds} | {one.verdict} | {one.effect} |")
            text = ""
    return "\n".join(lines) + "\n"


def renewed(page: str) -> str:
    """Return a page with the table in the place of the one that it has.

    :raises ValueError: the page has no place for it
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}{table()}{END}{after}"


def main() -> int:
    """Write the table, or check it.

    :returns: exit status: 1 where ``--check`` found a difference
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is not up to date")
    check = parser.parse_args().check
    page = PAGE.read_text()
    new = renewed(page)
    if check:
        if new != page:
            print(f"{PAGE} is not up to date: python recipes/upkeep/claims.py", file=sys.stderr)
        return int(new != page)
    write_text(PAGE, new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
