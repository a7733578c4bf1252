"""``find_tickets``: a whole experiment with a model that the user's own function makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from lottery_core.cli import DEFAULTS, search_lines, search_settings, transfer_settings
from lottery_core.errors import ConfigError
from lottery_core.experiments import (
    FULL,
    Executor,
    Experiment,
    Progress,
    Runner,
    check_levels,
    check_seeds,
    read_floor,
    write_floor,
)
from lottery_core.experiments.executors import Processes
from lottery_core.pruning import (
    FLOOR,
    GRADUAL,
    SEARCH_FULL,
    PruningSchedule,
    any_rewinds,
)
from sb3_lottery.find.floor import floor_of
from sb3_lottery.find.found import Found
from sb3_lottery.find.look import look_at
from sb3_lottery.find.references import worker_command
from sb3_lottery.training import (
    Evaluation,
    InProcess,
    MakeCallbacks,
    MakeModel,
    Sb3,
    all_versions,
    call_callbacks,
    call_make_model,
    score_label,
    spec_of_length,
)


def find_tickets(
    make_model: MakeModel,
    out: str | Path,
    *,
    total_timesteps: int,
    rounds: int | None = None,
    prune_rate: float = 0.2,
    rewind: str | None = None,
    kinds: Sequence[str] | str = ("winning", "random"),
    seeds: Sequence[int] | int = (1,),
    scope: str | Sequence[str] = "all",
    score_episodes: int = 100,
    eval_episodes: int = 0,
    deterministic: bool = False,
    progress: bool = True,
    criterion: str = "magnitude",
    scope_shares: str = "together",
    after_rewind: str = FULL,
    gradual: str | Sequence[float] = str(GRADUAL),
    outside: str = "",
    jobs: int = 1,
    callbacks: MakeCallbacks | None = None,
    repeat_noise: int = 1,
    search: str = SEARCH_FULL,
    first: float | str | None = None,
    score_at: Sequence[float | str] | float | str | None = None,
    score_rounds: Sequence[int] | int | None = None,
    floor: bool = True,
    granularity: str = "weight",
    tickets_from: str | Path | None = None,
    map: str | Sequence[str] = (),
    unmatched: str | None = None,
) -> Found:
    """Find winning tickets for the model that ``make_model`` makes, and train controls alongside.

    Runs are trained one after the other in this process, or in parallel processes with ``jobs``. Interrupt it any time;
    repeat the call to resume in the same folder. A different model in the same folder is refused, as far as
    :func:`describe_model` can tell two models apart.

    .. warning::
        Pass ``seed=seed`` to the model, and ``policy_kwargs=dict(ortho_init=False)`` if the algorithm has it: with
        SB3's orthogonal initialisation pruning removes the action head first.

    :param make_model: makes a fresh model with its environment from a seed, a new one in every call
    :param out: the experiment's folder
    :param total_timesteps: length of each training run in environment steps
    :param rounds: rounds of pruning; with 0 only the dense runs are trained; ``None`` is 20, or as many as ``score_at``
        or ``score_rounds`` need
    :param prune_rate: share of the remaining parameters that each round removes, in (0, 1)
    :param rewind: rewind point: ``"timesteps:N"``, ``"episodes:N"``, ``"updates:N"`` (optimizer steps) or ``"init"``.
        ``None`` is a twentieth of the length, which corresponds to the paper's end of epoch 1 of 20, or just after the
        first update if that comes later. With ``"lr"`` the survivors keep their trained weights and only the learning
        rate schedule restarts; with ``"none"`` the schedule does not restart either
    :param kinds: kinds of ticket, see :data:`lottery_core.KINDS`
    :param seeds: the whole experiment is repeated for each seed. SB3 seeds environment i with ``seed + i``, so with
        many environments seeds that lie far apart are more independent
    :param scope: which parameters are in the pool, see :func:`lottery_core.pool_names`; also ``"actor"``, ``"critic"``
    :param score_episodes: L, the number of last training episodes whose mean return is the score
    :param eval_episodes: number of fresh episodes in which each trained model is also evaluated, in the environment of
        another model from ``make_model``; 0 for no evaluation
    :param deterministic: whether to evaluate with the best action instead of sampling
    :param progress: whether to print the progress
    :param criterion: how parameters are ranked for pruning, one of :data:`lottery_core.CRITERIA`
    :param scope_shares: ``"together"``: actor and critic are one pool; ``"separate"``: each is pruned at the same rate
    :param after_rewind: ``"full"``: tickets train for the whole length after the rewind point; ``"remaining"``: for
        what remains of it, with schedules that continue from the rewind point
    :param gradual: begin, end and steps of the schedule of tickets of kind ``"gradual"``, as shares of the training
    :param outside: where parameters outside the scope start in controls with fresh values: ``"rewind"``, as in the
        winning ticket, or ``"fresh"``; empty is as before in this folder, in a new one ``"rewind"``
    :param jobs: number of parallel runs. With more than one, each run has a process of its own with one CPU thread,
        which imports ``make_model`` and ``callbacks``: they must be functions at the top of a module, not of the script
    :param callbacks: makes further callbacks for a run from its seed, new ones in every call; experiments that differ
        only in their callbacks are not told apart
    :param repeat_noise: how often each ticket is trained, under different noise of training (environments, actions);
        the answer then says how much of the spread is luck
    :param search: how far rounds train that only search for the next ticket: ``"full"``, a share such as ``"0.5"``,
        shares that rise to the last search round such as ``"0.2-0.6"``, or ``"settled"`` or ``"settled:0.02"``, until
        the mask has settled
    :param first: share of the pool that survives the first round, e.g. 0.5; ``None`` if it prunes as the others do
    :param score_at: levels, shares of the pool, near which tickets are trained in full and scored; ``None`` for all
    :param score_rounds: the rounds whose tickets are trained in full and scored; ``None`` for all
    :param floor: whether to measure the floor once, in 100 episodes each of random actions, each constant action and
        the untrained network; the answer counts scores from there
    :param granularity: ``"weight"``: parameters are pruned one by one; ``"unit"``: whole units of hidden layers,
        channels and units of LSTMs, with their biases
    :param tickets_from: folder of another experiment, whose winning tickets the kinds ``"transfer"``,
        ``"transfer-values"`` and ``"transfer-random"`` get; or the folder of one of its seeds. Adds ``"transfer"`` if
        none of them is among the kinds
    :param map: changes of the names of the tensors there, as ``"REGEX=REPLACEMENT"``
    :param unmatched: tensors without a partner there: ``"dense"`` or ``"prune"``; ``None`` is ``"dense"``
    :raises LotteryError: a value is invalid; then nothing is written
    :raises RunError: a run failed, or the rewind point was not reached
    """
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    maps = (map,) if isinstance(map, str) else tuple(map)
    seeds = tuple(seeds) if isinstance(seeds, Iterable) else (seeds,)
    score_at = (score_at,) if isinstance(score_at, str | float | int) else score_at
    score_rounds = (score_rounds,) if isinstance(score_rounds, int) else score_rounds
    _check_types(
        total_timesteps=total_timesteps,
        rounds=0 if rounds is None else rounds,
        prune_rate=prune_rate,
        score_episodes=score_episodes,
        eval_episodes=eval_episodes,
        jobs=jobs,
        repeat_noise=repeat_noise,
        seeds=seeds,
        score_rounds=score_rounds or (),
    )
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, not {jobs}")
    evaluation = _evaluation(eval_episodes, deterministic)
    spec = spec_of_length(total_timesteps, rewind, score_episodes, after_rewind)
    values = {"search": search, "first": first, "score_at": score_at, "score_rounds": score_rounds}
    values |= {"rounds": DEFAULTS["rounds"] if rounds is None else rounds, "prune_rate": prune_rate}
    chosen = search_settings(values, rounds is not None)
    place = None if tickets_from is None else Path(tickets_from)
    from_another = {"tickets_from": place, "map": maps or None, "unmatched": unmatched}
    call_callbacks(callbacks, seeds[0])
    schedule = PruningSchedule.parse(gradual, "gradual")
    default_rewind = Path(out) if rewind is None else None
    asked = kinds, schedule, str(chosen["search"])
    model = look_at(make_model, seeds[0], spec, scope, scope_shares, granularity, default_rewind, *asked)
    spec = model.spec
    experiment = Experiment(
        out=Path(out),
        framework=Sb3.name,
        settings={
            "model": model.description,
            "total_timesteps": total_timesteps,
            "score_episodes": score_episodes,
            **({} if evaluation is None else {"evaluation": evaluation.as_json()}),
        },
        prune_rate=prune_rate,
        rewind=spec.rewind_word,
        scope=model.scope,
        **transfer_settings({**from_another, "kinds": kinds, "out": out}),
        seeds=seeds,
        **chosen,
        repeat_noise=repeat_noise,
        score_label=score_label(score_episodes),
        versions=all_versions(model.packages),
        criterion=criterion,
        scope_shares=scope_shares,
        after_rewind=after_rewind,
        gradual=str(schedule),
        outside=outside,
        granularity=granularity,
    )
    carried = check_levels(experiment, None, model.layout)
    shown = Progress(quiet=not progress)
    for line in (*search_lines(experiment), *carried):
        shown.say(line)
    for line in model.notes:
        Progress().say(line)
    if model.length_note:
        shown.say(model.length_note)
    for line in model.rewind_notes if any_rewinds(experiment.kinds) else ():
        shown.say(line)
    executor: Executor
    if jobs == 1:
        executor = InProcess(
            experiment.out,
            make_model,
            spec,
            lambda run, state: shown.status([(run, lambda: state)]),
            evaluation,
            callbacks,
            experiment.seeding,
        )
    else:
        command = partial(worker_command, make_model, callbacks)
        executor = Processes(lambda _, folder: command(folder), jobs)
        command(experiment.out)  # a function that another process cannot import is refused here
    try:
        if floor:
            _measure_floor(experiment, make_model, shown)
        rows = Runner(experiment, Sb3(), executor, shown).run()
    except KeyboardInterrupt:
        Progress().say("find_tickets: stopped; call it again to resume")
        raise KeyboardInterrupt from None
    rows = [row for row in rows if row.kind != FLOOR]
    return Found(rows, experiment.out, experiment.score_label, score_episodes)


def _measure_floor(experiment: Experiment, make_model: MakeModel, shown: Progress) -> None:
    if experiment.check_same_as_before() and read_floor(experiment.out) is not None:
        return
    shown.say("measuring the floor, 100 episodes of each policy that has learned nothing (floor=False leaves it out)")
    make = partial(call_make_model, make_model)
    try:
        score, policy, _ = floor_of(make, lambda seed: _env_of(make(seed)), experiment.seeds[0])
    except Exception as error:  # a user's environment may raise anything, and its training may be possible without
        Progress().say(f"the floor could not be measured: {type(error).__name__}: {error}")
        return
    write_floor(experiment.out, score, policy)


def _env_of(model: BaseAlgorithm) -> VecEnv:
    assert model.env is not None  # see look_at
    return model.env


def _check_types(prune_rate: object, seeds: Sequence[object], score_rounds: Iterable[object], **whole: object) -> None:
    several = [("each seed", seed) for seed in seeds] + [("each of score_rounds", round_) for round_ in score_rounds]
    for name, value in (*whole.items(), *several):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{name} must be a whole number, not {value!r}")
    if not isinstance(prune_rate, (int, float)) or isinstance(prune_rate, bool):
        raise ConfigError(f"prune_rate must be a number, not {prune_rate!r}")
    check_seeds([seed for seed in seeds if isinstance(seed, int)])  # make_model would fail with the first


def _evaluation(episodes: int, deterministic: bool) -> Evaluation | None:
    if deterministic and not episodes:
        raise ConfigError("deterministic is for evaluations: it needs eval_episodes")
    return Evaluation(episodes, deterministic) if episodes else None
