"""The topics of docs/reference/messages.md: which messages they have, and why those are printed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """Messages with the same sort of cause.

    :param title: heading
    :param modules: where they stand: the first topic of which a prefix fits has the message
    :param cause: why they are printed, and what to do
    """

    title: str
    modules: tuple[str, ...]
    cause: str


TOPICS = (
    Topic(
        "Files of weights that cannot be read",
        ("lottery_core.checkpoints", "lottery_core.tickets.weights", "fairseq_lottery.patches.load_checkpoint"),
        "The file is missing, was not written to its end (a full disk, a killed copy), is of another format, or "
        "asks for objects or memory that no weights need. Nothing of it was run. `lottery prune --key NAME` "
        "chooses one of several state dicts. Reasons that begin with *it* stand behind `cannot read PATH:`.",
    ),
    Topic(
        "Tickets that cannot be read or made",
        ("lottery_core.tickets.ticket", "lottery_core.tickets.encoding", "lottery_core.tickets.origin"),
        "The file is no ticket (a model's zip and plain safetensors are not), is damaged, or was changed: its "
        "content no longer has its digest. Take it from its folder again; a ticket of a run is made again if the "
        "run's folder is deleted. A later format needs a later version of this project.",
    ),
    Topic(
        "Scopes, masks and tied parameters",
        ("lottery_core.tickets", "sb3_lottery.models.scopes"),
        "The scope must name parameters of this model: all of them are named in the message or by `lottery "
        "inspect`. Parameters that share memory are one parameter, and must have one shape.",
    ),
    Topic(
        "Points and lengths of a training",
        ("lottery_core.pruning.timepoints",),
        "A point or length is a unit, a colon and a whole number, e.g. `epoch:1`. Which units there are depends on "
        "the command.",
    ),
    Topic(
        "Stability of rewind points",
        (
            *(
                "lottery_core.experiments.configuration.probe",
                "lottery_core.cli.stability",
                "lottery_core.reports.stability",
            ),
            "fairseq_lottery.launcher.probe",
        ),
        "A probe trains copies of one network from candidate points, each before the end of the training: "
        "[stability](../guides/stability.md).",
    ),
    Topic(
        "Tickets of another experiment",
        (
            "lottery_core.pruning.transfer",
            "lottery_core.experiments.configuration.transfer",
            "lottery_core.cli.transfer_options",
        ),
        "`--tickets-from` needs the winning ticket of each seed and round there, and at least one tensor of the same "
        "name and shape: [transfer](../guides/transfer.md).",
    ),
    Topic(
        "What pruning refuses",
        ("lottery_core.pruning",),
        "Rates are shares between 0 and 1, and something must survive. NaN or infinite weights come from a "
        "training that diverged: lower its learning rate, with another --out. A criterion that compares with "
        "the rewind point needs one.",
    ),
    Topic(
        "Masks while training",
        ("lottery_core.masking", "lottery_core.errors"),
        "A pruned parameter was not exactly zero, or could not be held there. Something wrote to the weights "
        "outside the optimizer, or replaced a parameter after the ticket was applied: load weights and move the "
        "model first, apply the ticket then.",
    ),
    Topic(
        "The experiment's folder",
        ("lottery_core.experiments.configuration", "lottery_core.experiments.plan", "lottery_core.experiments.results"),
        "A folder belongs to one configuration. Another `--out`, or the options of before; kinds, seeds and rounds "
        "may be added. A damaged `result.json` or `results.csv` was edited, or the disk was full: delete the "
        "named file, and give the command again.",
    ),
    Topic(
        "Slurm and processes",
        ("lottery_core.experiments.executors",),
        "What Slurm or the system said stands behind the colon. A job that is gone was cancelled, ran into its "
        "time limit or lost its node; it is submitted again up to `--retries` times.",
    ),
    Topic(
        "Runs that fail",
        ("lottery_core.experiments",),
        "The message quotes the last line of the run's `train.log`, which has the whole story. After mending the "
        "cause, give the same command again: what is done stays.",
    ),
    Topic(
        "Files that cannot be written, folders in use",
        ("lottery_core.files",),
        "The disk is full, the folder is read-only or missing, or the path is a folder. An experiment's folder is "
        "locked by one command at a time, on this machine or another; the message names it.",
    ),
    Topic(
        "Exports, shrunk and sparse models",
        ("lottery_core.inference", "sb3_lottery.inference", "fairseq_lottery.inference"),
        "An export needs the framework's checkpoint, and the plugin of the framework. Sparse layers are for "
        "inference; only known networks can be shrunk exactly. [Deploying](../guides/deploying.md) says which.",
    ),
    Topic(
        "Reports and pages",
        ("lottery_core.reports",),
        "A report needs at least one finished run, and rows of one experiment at a time.",
    ),
    Topic(
        "Options of all commands",
        ("lottery_core",),
        "The option's value, or the combination, makes no sense; the message says what is accepted.",
    ),
    Topic(
        "`find_tickets` and the callback",
        ("sb3_lottery.find", "sb3_lottery.training"),
        "`make_model` makes a new model of a seed; with `jobs=` other processes import it, so it stands in a "
        "module. The rewind point and the first update must lie within the training. [In your own "
        "script](../guides/sb3_script.md) has examples.",
    ),
    Topic(
        "Playing and analysing",
        ("sb3_lottery.analysis", "sb3_lottery.cli.analyse", "sb3_lottery.pickled"),
        "The run must be done. Folders that your own commands did not write can run code when they are read: [what "
        "runs code](../trust.md).",
    ),
    Topic(
        "Agents and environments",
        ("sb3_lottery.models", "sb3_lottery.backends", "sb3_lottery.networks"),
        "The algorithm, its policy and its hyperparameters must fit the environment; an environment of your own is "
        "`--env MODULE:ID`. Missing packages: `lottery doctor`.",
    ),
    Topic(
        "Options of `sb3-lottery`",
        ("sb3_lottery",),
        "The option's value, or the combination, makes no sense; the message says what is accepted.",
    ),
    Topic(
        "Scores of fairseq",
        ("fairseq_lottery.launcher.scoring",),
        "Scores are tried on an untrained model before anything is trained, so these come early. Options of "
        "`fairseq-generate` stand in `--generate`; the reference has one line per sentence of the split.",
    ),
    Topic(
        "`fairseq-lottery`",
        ("fairseq_lottery.launcher",),
        "Options of the chain stand before `--`, arguments of `fairseq-train` after it. What the chain sets for "
        "each run (seed, ticket, save-dir) is left out.",
    ),
    Topic(
        "Options of checkpoints that are code",
        ("fairseq_lottery.safety",),
        "fairseq evaluates options that are text, so a checkpoint whose options are not plain data is refused: "
        "[what runs code](../trust.md#options-of-fairseqs-checkpoints). Reasons without a file stand behind the "
        "name of the option.",
    ),
    Topic(
        "`fairseq-train` with a ticket",
        ("fairseq_lottery",),
        "The options contradict each other, or the ticket, data or folder. One process per rank, each run with a "
        "`--save-dir` of its own.",
    ),
)
