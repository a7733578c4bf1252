"""The options of ``lottery`` and its subcommands."""

from __future__ import annotations

import argparse
from pathlib import Path

from lottery_core import dialects
from lottery_core.cli.common import Parser
from lottery_core.cli.completion import accept
from lottery_core.cli.help_text import GRANULARITIES, listed, version_line
from lottery_core.inference import FORMS
from lottery_core.pruning import CRITERIA


def parsers() -> dict[str, Parser]:
    """Return the parsers of the command by the words that call them, for the reference."""
    return {"lottery": parser()}


def parser() -> Parser:
    """Make the parser of ``lottery``."""
    result = Parser(
        prog="lottery", description="Lottery tickets: find one, inspect it, export it, report an experiment."
    )
    result.add_argument("--version", action="version", version=version_line("lottery"))
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    _add_prune(commands.add_parser("prune", help="find the next ticket from two files of weights"))

    inspect = commands.add_parser("inspect", help="show what is in a ticket")
    inspect.add_argument("ticket", type=Path, metavar="TICKET", help="a ticket file")
    inspect.add_argument("--json", action="store_true", help="print JSON")

    _add_export(commands.add_parser("export", help="write a checkpoint that works without this project"))

    reporting = commands.add_parser("report", help="answer, table and picture of experiments, finished or not")
    reporting.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folders of experiments, or files of their rows (results.csv)"
    )
    reporting.add_argument("-o", "--output", type=Path, metavar="PICTURE", help="default, for one RUN: RUN/curve.png")
    reporting.add_argument(
        "--eval",
        action="store_true",
        help="draw the scores of the evaluations instead of those of training (picture: RUN/curve-eval.png)",
    )
    reporting.add_argument("--csv", type=Path, metavar="FILE", help="write all result rows")
    reporting.add_argument("--json", type=Path, metavar="FILE", help="write everything that the answer says, as data")
    reporting.add_argument(
        "--margin",
        metavar="M",
        help="how much worse than dense is as good: a share of the distance from floor to dense (5%%), of the dense "
        "score (dense:1%%), or a difference of scores (score:0.03); the default is the first, dense:1%% for BLEU and "
        "score:0.03 for log perplexity",
    )
    reporting.add_argument(
        "--effect",
        metavar="E",
        help="a difference that would matter, for the number of seeds: a share of the area under the curve, where "
        "dense is 1 and the floor 0 (0.10)",
    )
    reporting.add_argument(
        "--lower-is-better", action="store_true", help="lower scores are better, where the rows do not say so"
    )
    page = "write one page with everything that is known, which needs no network (extra 'html')"
    reporting.add_argument("--html", type=Path, metavar="PAGE", help=page)

    status = commands.add_parser("status", help="which runs are done, running, waiting or failed; the time left")
    status.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of experiments")
    status.add_argument("--all", action="store_true", help="show done and waiting runs as well")
    status.add_argument("--html", type=Path, metavar="PAGE", help=page)

    commands.add_parser("doctor", help="what is installed here and what is missing, for a report of a fault")
    return result


def _add_export(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CKPT", help=_files())
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="the file to write; for ctranslate2 a folder")
    accept(add("--form", default="plain", metavar="FORM", help=listed("form of the output (plain)", FORMS)), FORMS)
    add("--trust", action="store_true", help="run the code that a file brings along, in its pickled objects")
    group = parser.add_argument_group("options of the forms onnx and ctranslate2")
    add = group.add_argument
    add("--shrunk", action="store_true", help="remove dead units first, as the form shrunk does")
    add("--int8", action="store_true", help="store the weights in 8 bits; tells what that does to the scores")
    add("--normalize", action="store_true", help="onnx: take observations as the environment gives them, and normalise")
    add("--env", metavar="ID", help="onnx: the environment of the check (that of the run folder)")
    add("--episodes", type=int, metavar="N", help="onnx, with --int8: episodes that are played before and after (20)")
    add("--data", type=Path, metavar="DIR", help="ctranslate2: the dictionaries and the test split (those of training)")


def _add_prune(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("trained", type=Path, metavar="TRAINED", help=f"trained weights: {_files()}")
    add("--rewind", type=Path, required=True, metavar="EARLIER", help="weights at the rewind point")
    add("--previous", type=Path, metavar="TICKET", help="the ticket that was trained; its mask is pruned further")
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--rate", type=float, metavar="P", help="share of the remaining parameters to prune")
    amount.add_argument(
        "--fraction", type=float, metavar="F", help="share of the whole pool that is pruned afterwards (one-shot)"
    )
    add(
        "--scope",
        nargs="+",
        default=None,
        metavar="SCOPE",
        help="'all', 'layers' (no embeddings, norms, output layers), 'trainable' (nothing frozen), 'actor' or 'critic' "
        "of an agent, or regular expressions (as for --previous, else all)",
    )
    criteria = {name: criterion.meaning for name, criterion in CRITERIA.items()}
    ranking = listed("how parameters are ranked (as for --previous, else magnitude)", criteria)
    accept(add("--criterion", metavar="NAME", help=ranking), criteria)
    pieces = listed("what is pruned at once (as for --previous, else weight)", GRANULARITIES)
    accept(add("--granularity", metavar="WORD", help=pieces), GRANULARITIES)
    add(
        "--scope-shares",
        metavar="HOW",
        help="together: all networks are one pool; separate: actor and critic, or encoder and decoder, are each pruned "
        "at the same rate (as for --previous, else together)",
    )
    add("--key", metavar="NAME", help="where the state dict is in files that hold several, e.g. generator")
    add(
        "--rewind-point",
        metavar="WORD",
        help="what EARLIER is, e.g. epoch:1; kept in the ticket (what the files say, else as for --previous, "
        "else unknown)",
    )
    add("-o", "--output", type=Path, required=True, metavar="TICKET", help="the ticket to write")


def _files() -> str:
    return ", ".join(row.file for row in (*dialects.every()[1:], dialects.every()[0]) if row.file)
