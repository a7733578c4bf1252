"""The settings that all runs of an experiment of ``sb3-lottery`` share, and their JSON in ``experiment.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment
from sb3_lottery.models import ModelSettings, Pretrained
from sb3_lottery.training.evaluation import Evaluation
from sb3_lottery.training.framework import Sb3
from sb3_lottery.training.spec import TrainingSpec


@dataclass(frozen=True)
class RunSettings:
    """The settings with which every run of an experiment is made, trained and evaluated.

    :param model: settings of the agent and its environments
    :param training: length of training, rewind point and score
    :param evaluation: how the trained agent is evaluated; ``None`` for no evaluation
    :param threads: number of torch threads
    :param start: the model whose weights the dense run starts from; ``None`` for the initialiser's
    """

    model: ModelSettings
    training: TrainingSpec
    evaluation: Evaluation | None = None
    threads: int = 1
    start: Pretrained | None = None

    def as_json(self) -> dict[str, Any]:
        """Return JSON values for ``Experiment.settings``; the rewind point is its own entry of the experiment."""
        evaluation = {} if self.evaluation is None else {"evaluation": self.evaluation.as_json()}
        return {
            "model": self.model.as_json(),
            **self.training.as_json(),
            "threads": self.threads,
            **evaluation,
            **({} if self.start is None else {"start": dict(self.start.as_json())}),
        }

    @classmethod
    def of(cls, experiment: Experiment) -> RunSettings:
        """Read the settings of an experiment.

        :param experiment: an experiment that ``sb3-lottery`` began
        :raises ConfigError: the experiment is of another framework or of ``find_tickets``
        """
        settings = experiment.settings
        model = saved_model(experiment.framework, settings)
        if model is None:
            raise ConfigError(f"{experiment.out} is not an experiment of sb3-lottery")
        evaluation = settings.get("evaluation")
        return cls(
            ModelSettings.from_json(model),
            TrainingSpec.from_json(settings, experiment.rewind, experiment.after_rewind),
            None if evaluation is None else Evaluation(**evaluation),
            settings["threads"],
            Pretrained(**settings["start"]) if "start" in settings else None,
        )


def saved_model(framework: str, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the JSON of :class:`~sb3_lottery.models.ModelSettings` in the settings of an experiment.

    :param framework: name of the experiment's framework
    :param settings: settings of the experiment
    :returns: ``None`` for another framework and for ``find_tickets``, which describes its model in other entries
    """
    model = settings.get("model", {})
    return model if framework == Sb3.name and "algo" in model else None
