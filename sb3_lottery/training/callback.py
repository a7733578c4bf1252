"""The callback that trains a ticket in any script."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback
from torch import nn
from torch.utils.hooks import RemovableHandle

from lottery_core.checkpoints import read_weights
from lottery_core.errors import ConfigError, TicketError
from lottery_core.masking import MaskKeeper, ModuleHook, apply_ticket
from lottery_core.pruning import (
    GRADUAL,
    IN_TRAINING,
    REWIND,
    WINNING,
    PruningInTraining,
    PruningSchedule,
    check_kind,
    check_outside,
    check_without_search,
    control_ticket,
    derive_seed,
    survivors_of,
    ticket_without_search,
)
from lottery_core.tickets import ALL, Ticket, live_parameters, ticket_warnings
from sb3_lottery.models import (
    algorithm_of,
    bare_policy,
    copy_to_targets,
    goes_on,
    holds_ticket,
    is_known,
    mask_targets,
    optimizers_of,
    remember_ticket,
    scope_words,
    target_names,
    weights_of,
    writes_beside_optimizers,
)
from sb3_lottery.training.checks import check_effects, check_makeable
from sb3_lottery.training.episodes import NO_MONITOR, Episodes
from sb3_lottery.training.pruner import Pruner

log = logging.getLogger("sb3_lottery")
_CHECK_EVERY = 2000  # timesteps: a check takes a tenth of a rollout and update of A2C
_EARLIER_SEED = 0  # the default of version 0.1
_NO_SEED = (
    "the model has no seed, so the mask of the %s ticket is the same in each run: make the model with seed=, or pass "
    "seed= here; otherwise several runs do not measure luck"
)
_EPOCHS = 20  # a learn without epochs counts as so many, as in find_tickets


class LotteryCallback(BaseCallback):
    """A callback that trains a ticket: ``model.learn(..., callback=LotteryCallback("ticket.safetensors"))``.

    At the start of training the policy gets the ticket's start values, the state of its optimizers is cleared and the
    online networks are copied to the target networks. Everything else that a model has learned (SAC's entropy
    coefficient, a replay buffer) is kept, so pass a fresh model. From then on pruned parameters are exactly 0.0 and
    their gradients are zeroed before clipping, until ``learn`` returns. ``model.save`` then writes an ordinary zip:
    nothing is added to the model.

    .. warning::
        The masks are enforced only during a ``learn`` that is given this callback. A later ``learn`` without it brings
        pruned parameters back; pass the callback to every ``learn``. The ``best_model.zip`` of an ``EvalCallback`` may
        be from before the last step of ``kind="gradual"``, and then it is denser than asked for.

    It logs ``lottery/round``, ``lottery/surviving`` (share of the pool) and ``lottery/score`` (mean return of the last
    ``score_episodes`` training episodes).

    Without a ticket, ``LotteryCallback(kind="gradual", surviving=0.1)`` makes a network sparse while it trains, and
    ``kind="erk"`` trains a sparse random one; after ``learn``, :attr:`final_ticket` is the ticket. In the ``learn`` of
    another model the callback begins anew, unless that model holds this ticket (saved with it, and loaded).

    :param ticket: path of a ticket, or a :class:`lottery_core.Ticket`; ``None`` for a kind that needs none
    :param kind: ``"winning"`` trains the ticket as it is; a control (``"random"``, ``"reinit"`` ...) is made from it,
        with the model's present weights as its fresh values, so make the model with another seed. Without a ticket one
        of :data:`lottery_core.pruning.WITHOUT_SEARCH`, which starts from the model's present weights
    :param seed: seed of a control's shuffles, or of the mask of a kind without a ticket; by default made of the model's
        seed, the kind and the ticket's round, so that each run draws anew; a model without a seed is told
    :param rewind: path of the weights at the rewind point, for a ``"shuffled"`` or ``"at-start"`` control
    :param restart: ``True`` starts from the ticket; ``False`` keeps the model's weights and only enforces the masks;
        ``None`` resumes if the model was last trained with this ticket or, where it was loaded, has zeros where the
        ticket has (with a warning), and starts from the ticket otherwise
    :param score_episodes: L, the number of training episodes in the score
    :param verbose: 1 prints a line at the start of training
    :param surviving: share of the pool that survives, in (0, 1], for a kind without a ticket
    :param scope: which parameters are in the pool of a kind without a ticket, see :func:`lottery_core.pool_names`; also
        ``"actor"``, ``"critic"``
    :param gradual: begin, end and steps of the schedule of ``kind="gradual"``, as shares of the training
    :param outside: where parameters outside the scope start in a control with fresh values: ``"rewind"``, as in the
        ticket, or ``"fresh"``
    :raises ConfigError: the kind is unknown, needs a ticket, cannot be made from this one, exists in experiments only,
        a value is outside its range, or an option has no effect on the kind
    :raises TicketError: there is no such file
    """

    def __init__(
        self,
        ticket: str | Path | Ticket | None = None,
        kind: str = WINNING,
        seed: int | None = None,
        rewind: str | Path | None = None,
        restart: bool | None = None,
        score_episodes: int = 100,
        verbose: int = 0,
        surviving: float | None = None,
        scope: str | Sequence[str] = ALL,
        gradual: str | Sequence[float] = str(GRADUAL),
        outside: str = REWIND,
    ) -> None:
        super().__init__(verbose)
        self.ticket, self.seed, self.rewind, self.restart = ticket, seed, rewind, restart
        self.kind = check_kind(kind)
        self.surviving, self.scope, self.outside = surviving, scope, check_outside(outside)
        self.schedule = PruningSchedule.parse(gradual, "gradual")
        self.pruning: PruningInTraining | None = None
        self.share: Callable[[], float] = self._share_of_timesteps
        if ticket is not None and surviving is not None:
            raise ConfigError("surviving is for a kind without a ticket: the ticket says how many survive")
        if ticket is not None and not isinstance(ticket, Ticket) and not Path(ticket).is_file():
            raise TicketError(f"there is no ticket at {ticket}: No such file")
        check_makeable(kind, ticket)
        if ticket is None:
            check_without_search(kind, surviving)
        check_effects(kind, ticket is not None, scope, self.schedule, rewind, outside)
        self.episodes = Episodes(score_episodes)
        self._checked = 0  # timesteps at the last check
        self._guarded = False  # whether the keeper acts wherever the model may write
        self.warns = True  # the runner of an experiment warns itself
        self._keeper: MaskKeeper | None = None
        self._loading: RemovableHandle | None = None
        self._record: dict[str, float] = {}
        self._pruner: Pruner | None = None
        self._start: Ticket | None = None
        self._source = ""  # what a ticket is made from, whatever fresh values it gets
        self._names: set[str] = set()  # that tell the ticket apart
        self._policy: weakref.ref[nn.Module] | None = None  # that the start and the pruning belong to

    @property
    def final_ticket(self) -> Ticket | None:
        """The ticket that was trained, with the masks that pruning in training has found; ``None`` before ``learn``."""
        if self._start is None or self.pruning is None:
            return self._start
        return self._start.with_masks(self.pruning.masks)

    def _on_training_start(self) -> None:
        """Load the ticket into the policy and enforce its masks.

        :raises MismatchError: the ticket has another architecture
        :raises OptimizerError: the algorithm has no optimizer (ARS)
        :raises ConfigError: the callback stands inside another one that passes on steps alone
        """
        # A list passes on its own parent; an EventCallback passes on steps alone.
        if self.parent is not None:
            raise ConfigError(
                f"LotteryCallback stands inside {type(self.parent).__name__}, which does not tell it when rollouts and "
                "the training end: pass it to learn itself, or in a list"
            )
        optimizers = optimizers_of(self.model)
        policy = bare_policy(self.model)
        targets = target_names(policy)
        self._forget_another(policy)
        ticket = self._ticket().named_for(policy, targets)
        if self.ticket is not None:
            self._start = ticket
        self._names = {ticket.content, self._source} - {""}
        parameters = live_parameters(policy, targets)
        ticket.require_fit({name: tensor.shape for name, tensor in weights_of(self.model).tensors.items()})
        restart, doubt = self.restart, None
        if self.pruning is not None and self.pruning.done:
            restart = False  # a second learn goes on with the masks of the first
        if restart is None:
            resumes, doubt = goes_on(ticket, policy, self._names)
            restart = not resumes
        self.release()
        self._keeper = apply_ticket(ticket, policy, *optimizers, ignore=targets, restart=restart)
        remember_ticket(policy, self._names)
        self._checked = self.num_timesteps
        self._guarded = writes_beside_optimizers(self.model)
        if self._guarded:
            self._keeper.guard(policy)
        if restart:
            copy_to_targets(policy)
        masks = ticket.masks
        mask_targets(policy, masks)
        keeper = self._keeper
        if self.pruning is not None and not self.pruning.complete:
            self._pruner = Pruner(self.pruning, self.model, keeper, parameters, self.share)
        # Loading values during training (model.set_parameters) overwrites the target networks as well.
        hook = ModuleHook(lambda module, _: mask_targets(module, keeper.masks))
        self._loading = policy.register_load_state_dict_post_hook(hook)  # type: ignore[no-untyped-call]
        line = (
            f"{'training' if restart else 'resuming'} a {ticket.origin.kind} ticket, round {ticket.origin.round}: "
            f"pruned {masks.pruned / masks.pool:.1%}, surviving {masks.surviving / masks.pool:.1%} of {masks.pool:,}"
        )
        log.info(line)
        if self.verbose:
            print(line)
        warnings = [*([doubt] if doubt else []), *ticket_warnings(ticket, "this ticket")]
        for warning in warnings if self.warns else []:
            log.warning(warning)
        self.episodes = Episodes(self.episodes.returns.maxlen or 1)
        self.episodes.watch(self.training_env)
        self._record = {"lottery/round": ticket.origin.round, "lottery/surviving": masks.surviving / masks.pool}

    def _forget_another(self, policy: nn.Module) -> None:
        # Another model has a ticket of its own, unless it is the earlier one, saved and loaded.
        known = None if self._policy is None else self._policy()
        same = known is policy or (self.final_ticket is not None and holds_ticket(self.final_ticket, policy))
        if self._policy is not None and not same:
            self._start, self._source = None, ""
            self.pruning = self.pruning if self.ticket is not None else None
        self._policy = weakref.ref(policy)

    def _ticket(self) -> Ticket:
        if self.ticket is None:
            return self._ticket_without_search()
        start = None if self.restart else self._start
        if start is not None and goes_on(start, bare_policy(self.model), self._names)[0]:
            return start  # made anew, a control would have trained values for fresh ones
        ticket = self.ticket if isinstance(self.ticket, Ticket) else Ticket.load(self.ticket)
        if self.kind in (WINNING, ticket.origin.kind):
            return ticket
        rewind = None if self.rewind is None else read_weights(self.rewind)
        fresh = weights_of(self.model)
        control = self._drawn(
            ticket.origin.round,
            lambda seed: control_ticket(self.kind, ticket, seed, fresh=fresh, rewind=rewind, outside=self.outside),
        )
        self._source = f"{self.kind} {control.origin.seed} of {ticket.content}"
        return control

    def _drawn(self, round_: int, draw: Callable[[int], Ticket]) -> Ticket:
        if self.seed is not None:
            return draw(self.seed)
        # As in the commands: controls of several rounds or repeats must not be nested in each other.
        made, policy = draw(derive_seed("control", self.model.seed, self.kind, round_)), bare_policy(self.model)
        if is_known(policy) and self.model.seed is not None:
            return made
        earlier, targets = draw(_EARLIER_SEED), target_names(policy)
        loaded = not is_known(policy) and not holds_ticket(made.named_for(policy, targets), policy)
        if loaded and holds_ticket(earlier.named_for(policy, targets), policy):
            return earlier
        if self.model.seed is None and made.masks != earlier.masks and self.warns:
            log.warning(_NO_SEED, self.kind)
        return made

    def _ticket_without_search(self) -> Ticket:
        assert self.surviving is not None
        if self._start is None or self.restart:
            self.pruning, words = None, scope_words(self.scope, algorithm_of(self.model))
            kind, start, share = self.kind, weights_of(self.model), self.surviving
            self._start = self._drawn(0, lambda seed: ticket_without_search(kind, start, share, scope=words, seed=seed))
            seed = self._start.origin.seed
            self._source = "" if self.kind in IN_TRAINING else f"{self.kind} {seed} {self.surviving} {words}"
            if self.kind in IN_TRAINING:
                schedule = self.schedule.for_kind(IN_TRAINING[self.kind], _EPOCHS)
                survivors = survivors_of(self.surviving, self._start.masks.pool)
                self.pruning = PruningInTraining.of(self._start, schedule, survivors)
        return self._start if self.pruning is None else self._start.with_masks(self.pruning.masks)

    def _share_of_timesteps(self) -> float:
        # SB3's count and its total include what earlier learns have trained.
        begin = self.model._num_timesteps_at_start
        return (self.num_timesteps - begin) / max(1, self.model._total_timesteps - begin)

    def _check(self) -> None:
        # Whatever writes parameters outside an optimizer's step would bring weights back for the rest of the training.
        if self._keeper is not None and self._keeper.attached and not self._guarded:
            self._keeper.check()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps - self._checked >= _CHECK_EVERY:
            self._checked = self.num_timesteps
            self._check()
        if self._pruner is not None and self._pruner.before_rollout():
            self._note_masks()

    def _note_masks(self) -> None:
        if self._keeper is not None:
            self._record["lottery/surviving"] = self._keeper.masks.surviving / self._keeper.masks.pool
        if self.warns and self.pruning is not None and self.pruning.complete and self.final_ticket is not None:
            for warning in ticket_warnings(self.final_ticket, "this ticket"):
                log.warning(warning)

    def _on_step(self) -> bool:
        before = self.episodes.summed
        self.episodes.add(self.locals)
        if self.episodes.summed and not before and self.warns:
            log.warning(NO_MONITOR)
        return True

    def _on_rollout_end(self) -> None:
        for name, value in self._record.items():
            self.logger.record(name, value)
        if self.episodes.count:
            self.logger.record("lottery/score", self.episodes.score)

    def _on_training_end(self) -> None:
        # rl_zoo3 calls this twice for its first callback.
        try:
            self._check()
            if self._pruner is not None and self._pruner.finish():
                self._note_masks()
            if self._keeper is not None and self._keeper.attached:
                self._keeper.enforce()
            if self.final_ticket is not None:  # with the masks that were found in training
                remember_ticket(bare_policy(self.model), {*self._names, self.final_ticket.content})
        finally:
            self.release()

    def release(self) -> None:
        """Stop enforcing the masks, where Ctrl-C or an exception has ended ``learn``; calling it twice is safe."""
        if self._pruner is not None:
            self._pruner.detach()
            self._pruner = None
        if self._keeper is not None:
            self._keeper.detach()
        if self._loading is not None:
            self._loading.remove()
            self._loading = None
