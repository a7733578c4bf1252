"""A finished run of an experiment of ``sb3-lottery``: its settings, its trained agent and its ticket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Run, paths, read_rows
from lottery_core.pruning import DENSE, check_kind
from lottery_core.tickets import Ticket
from sb3_lottery.models import ModelSettings
from sb3_lottery.training import MODEL, NORMALIZE, RunSettings


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    :param folder: the run's folder
    :param run: seed, kind and round
    :param settings: settings of the agent and its environments
    """

    folder: Path
    run: Run
    settings: ModelSettings

    @classmethod
    def of(cls, out: Path, kind: str, round_: int | None, seed: int | None) -> FinishedRun:
        """Find a run of an experiment.

        :param out: the experiment's folder
        :param kind: kind of ticket, or ``dense``
        :param round_: round; ``None`` is the last finished round
        :param seed: seed; ``None`` is the experiment's first seed
        :raises ConfigError: no such experiment or run, or an experiment that ``sb3-lottery`` did not make
        """
        experiment = Experiment.load(out)
        settings = RunSettings.of(experiment)
        seed = experiment.seeds[0] if seed is None else seed
        if kind != DENSE:
            check_kind(kind)
        rounds = [row.round for row in read_rows(out, experiment) if (row.kind, row.seed) == (kind, seed)]
        if not rounds:
            raise ConfigError(f"{out} has no finished {kind} run of seed {seed}")
        run = Run(seed, kind, max(rounds) if round_ is None else round_)
        if not (out / run.folder / paths.MARKER).exists():
            raise ConfigError(f"{out} has no finished {run}; the last is round {max(rounds)}")
        return cls(out / run.folder, run, settings.model)

    def model(self) -> BaseAlgorithm:
        """Load the trained agent on the CPU, without an environment."""
        model: BaseAlgorithm = self.settings.algorithm.load().load(self.folder / MODEL, device="cpu")
        return model

    def normalize(self, env: VecEnv) -> VecEnv:
        """Normalise the observations of ``env`` as at the end of the training, if the training normalised them.

        :param env: environments of the agent
        """
        if self.settings.normalize is None:
            return env
        statistics = VecNormalize.load(str(self.folder / NORMALIZE), env)
        statistics.training = statistics.norm_reward = False
        return statistics

    def ticket(self) -> Ticket:
        """Load the ticket of the run.

        :raises ConfigError: a dense run, which has no ticket
        """
        if self.run.kind == DENSE:
            raise ConfigError("a dense run trains no ticket")
        return Ticket.load(self.folder / paths.TICKET)
