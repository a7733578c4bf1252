"""Train one run of an experiment: make its model, train its ticket, and record its score."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from lottery_core.errors import RunError
from lottery_core.experiments import (
    FRESH_APART,
    REMAINING,
    SHARED,
    Experiment,
    Point,
    Run,
    Score,
    make_control,
    mask_watch,
    parse_point,
    paths,
    point_folder,
    prune_in_training,
    read_row,
    start_folder,
    write_score,
)
from lottery_core.files import CurveFile, counted, read_object, sign, write_atomically, write_json
from lottery_core.masking import with_inner
from lottery_core.pruning import (
    BUDGET,
    CHAINS,
    CONTROLS,
    DENSE,
    FRESH,
    IN_TRAINING,
    MaskWatch,
    PruningInTraining,
    starts_rewound,
)
from lottery_core.tickets import Ticket, Weights
from sb3_lottery.models import bare_policy, copy_to_targets, optimizers_of, weights_of
from sb3_lottery.training.callback import LotteryCallback
from sb3_lottery.training.checks import check_model, last_rate
from sb3_lottery.training.recorder import KeepPoint, Recorder, Report
from sb3_lottery.training.spec import UNITS, TrainingSpec

MODEL = "model.zip"
NORMALIZE = "vecnormalize.pkl"  # as in rl_zoo3
_NO_END = 2**31 - 1  # timesteps, if the number of episodes or updates ends the run


def train(
    model: BaseAlgorithm,
    spec: TrainingSpec,
    folder: Path,
    ticket: Ticket | None,
    report: Report,
    evaluate: Callable[[BaseAlgorithm, Score], Score] | None = None,
    begin: Mapping[str, int] | None = None,
    more: Sequence[BaseCallback] = (),
    pruning: PruningInTraining | None = None,
    watch: MaskWatch | None = None,
    points: Sequence[Point] = (),
) -> Score:
    """Train ``model`` as one run and write ``model.zip``, ``curve.csv`` and ``score.json``.

    A dense run (without a ticket) also writes ``init.safetensors`` and ``rewind.safetensors``; like a ticket it begins
    with new optimizer state and with target networks that are copies, also of a model that was loaded. A model with
    ``VecNormalize`` around its environments also writes ``vecnormalize.pkl``, for ``VecNormalize.load``.

    :param model: fresh model with its environment
    :param spec: length of training, rewind point and score
    :param folder: the run's folder, made if missing
    :param ticket: the ticket to train; ``None`` for a dense run
    :param report: called with the progress at the end of every epoch
    :param evaluate: adds an evaluation of the trained model to the score
    :param begin: unit -> number that counts as trained already: only the rest of the length is trained, with schedules
        that continue from there; ``None`` trains the whole length
    :param more: the user's own callbacks, which lose their ``model`` at the end
    :param pruning: finds the masks of the ticket while it trains; the ticket is then written as well
    :param watch: watches the mask that pruning would give, and ends a search run; ``None`` for none
    :param points: candidate rewind points, at which a dense run also keeps its weights, in ``point-01`` and so on
    :raises ConfigError: the model cannot be trained as specified, see :func:`check_model`
    :raises RunError: the rewind point was not reached, or no episode ended and no evaluation is the score
    :raises WriteError: a file cannot be written
    """
    check_model(model, spec)
    wall, cpu = time.perf_counter(), time.process_time()
    keep: Callable[[Weights], None] | None = None
    callbacks: list[BaseCallback] = []
    if ticket is None:
        _begin_as_tickets_do(model)
        weights_of(model).save(folder / paths.INIT)
        keep = lambda weights: weights.save(folder / paths.REWIND)  # noqa: E731
    else:
        lottery = LotteryCallback(ticket, restart=True, score_episodes=spec.score_episodes)
        lottery.warns = False
        lottery.pruning = pruning
        callbacks.append(lottery)
    kept = [(point, _keeper(point_folder(folder, number))) for number, point in enumerate(points, 1)]
    recorder = Recorder(spec, keep, report, begin, CurveFile(folder / paths.LEARNING), watch, kept)
    if ticket is not None:
        lottery.share = recorder.share
    before = _learn(model, spec, [*callbacks, recorder, *more], begin or {})
    searches = watch is not None and not watch.search.full
    _check_reached(recorder, spec, model.num_timesteps)
    if recorder.kept_at:
        write_json(folder / paths.REWIND_COUNTS, recorder.kept_at)
    if ticket is not None and pruning is not None:
        ticket.with_masks(pruning.masks).save(folder / paths.TICKET)
    _save(model, folder)
    episodes = recorder.episodes
    score = Score(
        score=episodes.score,
        score_se=episodes.standard_error,
        returns=len(episodes.returns),
        steps=model.num_timesteps - before,
        rewind_steps=recorder.kept_at.get("timesteps"),
    )
    if watch is not None and searches:
        score = replace(score, search=str(watch.search), share=watch.share, stopped=watch.outcome())
    elif evaluate is not None:
        score = evaluate(model, score)
    if not score.returns and not searches:  # an evaluation that is the score needs none
        raise RunError(
            "no episode ended in this run, so there is no score: train longer, or put gymnasium's TimeLimit around an "
            "environment whose episodes never end"
        )
    # With the evaluation, which every run of an experiment has to pay for, too.
    score = replace(score, wall_seconds=time.perf_counter() - wall, cpu_seconds=time.process_time() - cpu)
    write_score(folder, score)
    return score


def _begin_as_tickets_do(model: BaseAlgorithm) -> None:
    # A model that was loaded has the optimizer state and the target networks of its earlier training.
    for optimizer in optimizers_of(model):
        for each in with_inner(optimizer):
            each.state.clear()
    copy_to_targets(bare_policy(model))


def _keeper(folder: Path) -> KeepPoint:
    def keep(weights: Weights, counts: Mapping[str, int]) -> None:
        write_json(folder / paths.REWIND_COUNTS, counts)
        weights.save(folder / paths.REWIND)

    return keep


def _learn(model: BaseAlgorithm, spec: TrainingSpec, callbacks: list[BaseCallback], begin: Mapping[str, int]) -> int:
    # Returns the number of timesteps at which the count began.
    if not model.verbose and model.tensorboard_log is None and not model._custom_logger:
        # SB3 would make an empty temporary folder for its logger in every learn().
        model.set_logger(Logger(None, []))
    length, before = spec.length, begin.get("timesteps", 0)
    callback = CallbackList(callbacks)
    try:
        if length.unit != "timesteps":  # then there is no schedule
            model.learn(_NO_END, callback=callback)
            return 0
        if not before:
            model.learn(length.count, callback=callback)
            return 0
        return _learn_the_rest(model, length, before, callback)
    finally:
        _forget_model(callback)


def _learn_the_rest(model: BaseAlgorithm, length: Point, before: int, callback: BaseCallback) -> int:
    # SB3's schedules follow the share of all timesteps; the replay buffer is empty again, so it is filled again first.
    model.num_timesteps = before
    starts = getattr(model, "learning_starts", 0)
    if isinstance(model, OffPolicyAlgorithm):
        model.learning_starts += before
    try:
        model.learn(length.count - before, callback=callback, reset_num_timesteps=False)
    finally:
        if isinstance(model, OffPolicyAlgorithm):
            model.learning_starts = starts  # that of the zip
    return before


def _forget_model(callback: BaseCallback) -> None:
    # The variables of learn() in a callback name the callback itself: models would live until a full collection.
    callback.locals, callback.globals, callback.model = {}, {}, None  # type: ignore[assignment]
    several = getattr(callback, "callbacks", ())
    children = [getattr(callback, name, None) for name in ("callback", "callback_on_new_best")]
    for child in (*children, *(several if isinstance(several, Sequence) else ())):
        if isinstance(child, BaseCallback) and getattr(child, "model", None) is not None:
            _forget_model(child)


def _check_reached(recorder: Recorder, spec: TrainingSpec, timesteps: int) -> None:
    missed = [point for point, _ in recorder.points]
    if not recorder.kept or missed:
        raise RunError(
            f"the rewind point {missed[0] if missed else spec.rewind} was not reached in {spec.length}: "
            f"{counted(recorder.episodes.count, 'episode')}, {counted(recorder.updates, 'update')}, "
            f"{counted(timesteps, 'timestep')}",
            status=2,
        )


def _begin(out: Path, run: Run, spec: TrainingSpec) -> dict[str, int] | None:
    # Controls train as long as the winning ticket; a chain that starts from the initialisation trains the whole length.
    resets = run.kind in (*CHAINS, *IN_TRAINING) and not starts_rewound(run.kind)
    if spec.after_rewind != REMAINING or run.kind == DENSE or resets:
        return None
    path = out / start_folder(run) / paths.REWIND_COUNTS
    counts = read_object(path)
    if not all(isinstance(counts.get(unit), int) for unit in UNITS):
        raise RunError(f"{path} does not say how far the dense run was at the rewind point", status=2)
    if counts[spec.length.unit] >= spec.length.count:
        raise RunError(f"nothing remains of {spec.length} after the rewind point {spec.rewind}", status=2)
    return counts


def _watch(out: Path, run: Run, model: BaseAlgorithm, spec: TrainingSpec, ticket: Ticket | None) -> MaskWatch | None:
    if not read_row(out):
        return None
    return mask_watch(Experiment.load(out), run, weights_of(model), ticket, spec.epochs)


def _candidates(out: Path) -> list[Point]:
    probe = Experiment.load(out).probed if read_row(out) else None
    return [] if probe is None else [parse_point(word, UNITS, "--points") for word in probe.points]


def _save(model: BaseAlgorithm, folder: Path) -> None:
    write_atomically(folder / MODEL, lambda file: model.save(file))  # type: ignore[arg-type]
    sign(folder / MODEL)
    statistics = model.get_vec_normalize_env()
    if statistics is not None:
        write_atomically(folder / NORMALIZE, lambda file: pickle.dump(statistics, file))  # VecNormalize.save
        sign(folder / NORMALIZE)


def train_run(
    out: Path,
    run: Run,
    make_model: Callable[[int], BaseAlgorithm],
    spec: TrainingSpec,
    report: Report,
    evaluate: Callable[[BaseAlgorithm, Score], Score] | None = None,
    more: Sequence[BaseCallback] = (),
    seeding: str = SHARED,
    make_fresh: Callable[[int], BaseAlgorithm] | None = None,
) -> Score:
    """Train one run of an experiment: make its model, load its ticket, and call :func:`train`.

    A control is made here, where the model's own initialisation can provide its fresh values: those of a second model
    with a seed of its own, so that the environments and the actions of the run are those of the other kinds.

    :param out: the experiment's folder
    :param run: the run
    :param make_model: makes a fresh model from a seed
    :param spec: length of training, rewind point and score
    :param report: called with the progress at the end of every epoch
    :param evaluate: adds an evaluation of the trained model to the score
    :param more: the user's own callbacks
    :param seeding: the experiment's seeding: under :data:`~lottery_core.experiments.FRESH_APART` a control with fresh
        values is trained by the model that drew them
    :param make_fresh: makes a model whose initial weights are the same as those of ``make_model``, and which is not
        trained; ``None`` is ``make_model``
    :raises LotteryError: see :func:`train`
    """
    folder = out / run.folder
    control = CONTROLS.get(run.kind)
    draws = control is not None and control.needs == FRESH and not run.repeats
    fresh = _initial(make_fresh or make_model, run.control_seed) if draws and seeding != FRESH_APART else None
    model = make_model(run.control_seed if draws and fresh is None else run.noise_seed)
    try:
        ticket = pruning = None
        if run.kind in IN_TRAINING:
            ticket, pruning = prune_in_training(out, run, spec.epochs)
        elif control and not run.repeats:
            ticket = make_control(out, run, fresh or weights_of(model))
            ticket.save(folder / paths.TICKET)
        elif run.has_ticket:
            ticket = Ticket.load(folder / paths.TICKET)
            if not spec.rate_restarts and run.kind in CHAINS and CHAINS[run.kind].rewinds:
                model.learning_rate = last_rate(model)
                model._setup_lr_schedule()
        begin = _begin(out, run, spec)
        if run.kind in BUDGET:
            spec, begin = spec.of_whole_search(run.round, (begin or {}).get(spec.length.unit, 0)), None
        watch = _watch(out, run, model, spec, ticket)
        points = _candidates(out) if run.kind == DENSE else ()
        return train(model, spec, folder, ticket, report, evaluate, begin, more, pruning, watch, points)
    finally:
        if model.env is not None:
            model.env.close()


def _initial(make_model: Callable[[int], BaseAlgorithm], seed: int) -> Weights:
    model = make_model(seed)
    try:
        return weights_of(model)
    finally:
        if model.env is not None:
            model.env.close()
