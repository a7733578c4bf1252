"""A finished run of ``sb3-lottery`` or ``find_tickets``: its settings, its trained agent and its ticket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Run, paths, read_rows
from lottery_core.files import printable, why_not_regular
from lottery_core.pruning import BEST_OF, DENSE, check_kind
from lottery_core.reports import measured, once
from lottery_core.tickets import Ticket
from sb3_lottery.analysis.trust import require_own_run
from sb3_lottery.analysis.user_model import OPTION, UserModel
from sb3_lottery.models import ModelSettings, make_rendered_env
from sb3_lottery.training import MODEL, NORMALIZE, RunSettings, Sb3, saved_model

T = TypeVar("T")
# HerReplayBuffer cannot be made without an environment, and a buffer may need gigabytes.
_NO_BUFFER: dict[str, Any] = {"replay_buffer_class": None, "replay_buffer_kwargs": {}, "buffer_size": 1, "n_steps": 1}


@dataclass(frozen=True)
class FinishedRun:
    """The settings, the trained agent and the ticket of one run.

    :param folder: the run's folder
    :param run: seed, kind and round
    :param settings: settings of the agent and its environments, or the user's own function that makes them
    """

    folder: Path
    run: Run
    settings: ModelSettings | UserModel

    @classmethod
    def of(
        cls,
        out: Path,
        kind: str,
        round_: int | None,
        seed: int | None,
        make_model: str | None = None,
        trust: bool = False,
    ) -> FinishedRun:
        """Find a run of an experiment.

        Loading the run's agent unpickles objects and may import a module, so a folder that was not written by this
        user's own commands is refused unless the user trusts it.

        :param out: the experiment's folder
        :param kind: kind of ticket, or ``dense``
        :param round_: round; ``None`` for the last finished round. Of a kind that is the best of several draws, the run
            is that of the draw with the best score, as in a report
        :param seed: seed; ``None`` for the experiment's first seed
        :param make_model: ``"module:function"``, for an experiment of ``find_tickets``
        :param trust: whether the folder may run code even if others wrote it
        :raises ConfigError: there is no such experiment or run, the experiment is of another framework, ``make_model``
            is missing or not needed, a round of the dense run is asked for, or somebody else wrote the folder
        """
        experiment = Experiment.load(out)
        by_function = experiment.framework == Sb3.name and saved_model(Sb3.name, experiment.settings) is None
        if by_function and make_model is None:
            raise ConfigError(
                f"{out} is an experiment of find_tickets: name the function that makes its model, {OPTION} "
                "MODULE:FUNCTION (in a file of the current folder, or installed)"
            )
        if not by_function and make_model is not None:
            raise ConfigError(f"{OPTION} is for experiments of find_tickets; {out} has the settings of its model")
        seed = experiment.seeds[0] if seed is None else seed
        if kind != DENSE:
            check_kind(kind)
        elif round_:
            raise ConfigError(f"the dense run has no rounds: leave --round {round_} out, or give --kind")
        rows = [row for row in measured(read_rows(out, experiment)) if (row.kind, row.seed) == (kind, seed)]
        if not rows:
            raise ConfigError(f"{out} has no finished {kind} run of seed {seed}")
        last = max(row.round for row in rows)
        run = Run(seed, kind, last if round_ is None else round_)
        if kind in BEST_OF:
            run = next((row.run for row in once(rows) if row.round == run.round), run)
        if not (out / run.folder / paths.MARKER).exists():
            raise ConfigError(f"in {out}, {run} is not finished; the last finished round is {last}")
        if not trust:
            require_own_run(out, run)
        if make_model is not None:
            return cls(out / run.folder, run, UserModel(make_model, seed, experiment.settings.get("model", {})))
        return cls(out / run.folder, run, RunSettings.of(experiment).model)

    def model(self) -> BaseAlgorithm:
        """Load the trained agent on the CPU, without an environment.

        :raises ConfigError: the file is damaged, or holds no agent of this algorithm
        """
        made = self.settings
        kind = made.model_class if isinstance(made, UserModel) else made.algorithm.load()
        kept = _NO_BUFFER if issubclass(kind, OffPolicyAlgorithm) else {}
        model: BaseAlgorithm = _unpickled(self.folder / MODEL, lambda path: kind.load(path, device="cpu", **kept))
        return model

    def rendered_env(self, seed: int, render_mode: str) -> VecEnv:
        """Make a single environment that can be rendered, with the normalisation used in training.

        :param seed: seed of the environment
        :param render_mode: gymnasium's ``"human"`` or ``"rgb_array"``
        :raises ConfigError: the environment cannot be made with this render mode
        """
        made = self.settings
        if isinstance(made, UserModel):
            return self.normalize(made.rendered_env(seed, render_mode))
        return self.normalize(make_rendered_env(made, seed, render_mode))

    def normalize(self, env: VecEnv) -> VecEnv:
        """Normalise the observations of ``env`` as at the end of training, if training normalised them.

        :param env: environments for the agent
        :raises ConfigError: the statistics cannot be read, or belong to other observations
        """
        made = self.settings
        if not (made.normalizes if isinstance(made, UserModel) else made.normalize is not None):
            return env
        statistics = _unpickled(self.folder / NORMALIZE, lambda path: VecNormalize.load(str(path), env))
        statistics.training = statistics.norm_reward = False
        return statistics

    def ticket(self) -> Ticket:
        """Load the ticket of the run.

        :raises ConfigError: the run is dense, so it has no ticket
        """
        if self.run.kind == DENSE:
            raise ConfigError("a dense run has no ticket: give --kind with a kind of ticket")
        return Ticket.load(self.folder / paths.TICKET)


def _unpickled(path: Path, load: Callable[[Path], T]) -> T:
    why = why_not_regular(path)
    if why is None:
        try:
            return load(path)
        except Exception as error:  # unpickling a damaged file may raise anything
            why = f"{type(error).__name__}: {printable(str(error), 200)}"
    raise ConfigError(f"cannot read {path}: {why}")
