"""One finished run of an experiment of ``sb3-lottery``: its settings, its trained agent, its ticket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Run, paths, read_rows
from lottery_core.pruning import DENSE, check_kind
from lottery_core.tickets import Ticket
from sb3_lottery.models import ModelSettings, algorithm
from sb3_lottery.training import MODEL, NORMALIZE


@dataclass(frozen=True)
class Finished:
    """A finished run.

    :param folder: its folder
    :param run: which it is
    :param settings: what its agent is made from
    """

    folder: Path
    run: Run
    settings: ModelSettings

    @classmethod
    def of(cls, out: Path, kind: str, round_: int | None, seed: int | None) -> Finished:
        """The run of these three in the experiment ``out``.

        :param kind: of ticket, or ``dense``
        :param round_: the last finished one by default
        :param seed: the first by default
        :raises ConfigError: no such experiment or run, or one that the command did not make
        """
        experiment = Experiment.load(out)
        model = experiment.settings.get("model", {})
        if experiment.framework != "sb3" or "algo" not in model:
            raise ConfigError(f"{out} is no experiment of sb3-lottery")
        seed = experiment.seeds[0] if seed is None else seed
        if kind != DENSE:
            check_kind(kind)
        rounds = [row.round for row in read_rows(out, experiment) if (row.kind, row.seed) == (kind, seed)]
        if not rounds:
            raise ConfigError(f"{out} has no finished {kind} run of seed {seed}")
        run = Run(seed, kind, max(rounds) if round_ is None else round_)
        if not (out / run.folder / paths.MARKER).exists():
            raise ConfigError(f"{out} has no finished {run}; the last is round {max(rounds)}")
        return cls(out / run.folder, run, ModelSettings.from_json(model))

    def model(self) -> BaseAlgorithm:
        """The trained agent, without an environment, on the CPU."""
        model: BaseAlgorithm = algorithm(self.settings.algo).load().load(self.folder / MODEL, device="cpu")
        return model

    def seen(self, env: VecEnv) -> VecEnv:
        """``env`` as the agent saw it at the end of its training: normalised, where it was."""
        if self.settings.normalize is None:
            return env
        statistics = VecNormalize.load(str(self.folder / NORMALIZE), env)
        statistics.training = statistics.norm_reward = False
        return statistics

    def ticket(self) -> Ticket:
        """The ticket that was trained.

        :raises ConfigError: a dense run has none
        """
        if self.run.kind == DENSE:
            raise ConfigError("a dense run trains no ticket")
        return Ticket.load(self.folder / paths.TICKET)
