"""Training one member: loss, one step of the optimiser, and the compiled chunk of steps.

Everything that belongs to one model in training is one value, a `Member`. Numbers that a user might sweep (`hyper`) are
data in it, and optimiser and schedule are rebuilt from them inside the step: one program serves every number. What is
present (a clip, a dropout, an average of weights) is structure, and starts another program.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.layers import Bidirectional, FeedForward, Prediction
from rnnjax.tasks.base import Batch, Task, losses

RUNNING, NON_FINITE, STOPPED = 0, 1, 2
ROWS = "rows"  # the axis of devices that share the rows of a batch
"""What `Member.status` says: training, or frozen: loss or gradient was not finite, or it was told to stop."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a model is trained."""

    epochs: int = config.field(1, "passes over the data", at_least=1)
    steps: int | None = config.field(None, "steps of the optimiser, in place of epochs", at_least=1)
    batch: int = config.field(32, "rows of a batch", at_least=1)
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = config.field("adam", "update rule")
    semantics: Literal["rnnjax", "keras"] = config.field(
        "rnnjax", "whose rules hold where libraries differ: epsilon in Adam, what an activity penalty is a mean over"
    )
    learning_rate: float = config.field(1e-3, "rate of the optimiser", at_least=0)
    beta1: float = config.field(0.9, "decay of Adam's mean of gradients", at_least=0, below=1)
    beta2: float = config.field(0.999, "decay of the mean of squared gradients (Adam, RMSprop)", at_least=0, below=1)
    epsilon: float | None = config.field(
        None, "added to the root of that mean (Adam), or under it (RMSprop); None: 1e-8, Keras's 1e-7", above=0
    )
    momentum: float | None = config.field(None, "decay of the velocity (SGD, RMSprop)", at_least=0, below=1)
    weight_decay: float | None = config.field(
        None, "share of each weight taken off a step, times the rate (decoupled)", at_least=0
    )
    clip_norm: float | None = config.field(None, "largest norm of the whole gradient", above=0)
    schedule: Literal["constant", "linear", "cosine", "exponential"] = config.field("constant", "course of the rate")
    warmup_steps: float | None = config.field(None, "steps over which the rate rises from zero", at_least=0)
    decay_steps: float | None = config.field(None, "steps after warm-up over which it falls; None: to the end", above=0)
    final_scale: float = config.field(0.0, "where it ends, as a share of the rate", at_least=0)
    activity_l1: float | None = config.field(None, "times the mean over steps of the sum over units of |h|", at_least=0)
    activity_l2: float | None = config.field(
        None, "times the mean over steps of the sum over units of h squared", at_least=0
    )
    weight_l1: float | None = config.field(None, "times the sum of |w| over kernels and embeddings", at_least=0)
    weight_l2: float | None = config.field(None, "times the sum of w squared over kernels and embeddings", at_least=0)
    average: float | None = config.field(
        None, "decay of a moving average of weights, used in evaluation", at_least=0, below=1
    )
    accumulate: int = config.field(1, "parts that a batch is computed in, to save memory", at_least=1)
    carry_state: bool = config.field(False, "whether a batch begins with the state that the one before ended with")
    forget: float | None = config.field(
        None, "rate at which a row forgets its carried state before a batch", at_least=0, at_most=1
    )
    freeze: tuple[str, ...] = config.field((), "parameters that are not trained, by pattern: 'embedding*'")
    rate_scales: dict[str, float] = config.field({}, "factors of the rate by pattern of parameters")
    no_decay: tuple[str, ...] = config.field((), "parameters without weight decay, by pattern: '*bias'")
    residence: Literal["device", "host"] = config.field(
        "device", "where data lies: on the device, or prefetched from the host"
    )
    log_every: int = config.field(0, "steps between lines of the log; 0: ten lines an epoch", at_least=0)
    checkpoint_every: int | str = config.field("1epoch", "steps between checkpoints, or epochs as '1epoch'")
    evaluate_every: int | str = config.field("1epoch", "steps between validations, or epochs as '1epoch'")
    patience: int | None = config.field(
        None, "validations without a better loss after which training stops", at_least=1
    )
    keep_latest: int = config.field(2, "latest checkpoints kept", at_least=1)
    keep_best: int = config.field(1, "best checkpoints kept", at_least=0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Meter:
    """Sums since the log's last line: what its means are made of.

    Attributes:
      nats: sum of the loss over valid answers.
      answers: how many there were.
      correct: how many of them were right.
      objective: sum over steps of loss and penalties.
      gradient_norm: sum over steps of the norm of the whole gradient, before clipping.
      steps: how many there were.
    """

    nats: jax.Array
    answers: jax.Array
    correct: jax.Array
    objective: jax.Array
    gradient_norm: jax.Array
    steps: jax.Array

    @classmethod
    def empty(cls) -> Meter:
        """All zero."""
        number, count = partial(jnp.zeros, ()), partial(jnp.zeros, (), jnp.int32)  # each its own, to be donated
        return cls(number(), count(), count(), number(), number(), count())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Member:
    """One model in training. A population is the same with a leading axis on every leaf.

    Attributes:
      params: trained parameters, as nested dicts.
      fixed: the rest of the model's state: frozen parameters, rates, leaks.
      optimizer: state of the optimiser.
      average: moving average of the parameters, if there is one.
      carry: state of the recurrent layers between batches, if it is carried.
      hyper: every number of the training, by name.
      key: raw data of a threefry key; a step's randomness is ``fold_in(key, step)``.
      step: steps done.
      status: `RUNNING`, `NON_FINITE` or `STOPPED`; a frozen member changes no more.
      best: lowest validation loss so far, ``[]``.
      best_step: the step it was found at.
      waited: validations since.
      meter: sums since the log's last line.
    """

    params: Any
    fixed: Any
    optimizer: Any
    average: Any
    carry: Any
    hyper: dict[str, jax.Array]
    key: jax.Array
    step: jax.Array
    status: jax.Array
    best: jax.Array
    best_step: jax.Array
    waited: jax.Array
    meter: Meter


def learning_rate(train: TrainConfig, hyper: dict[str, jax.Array], step: jax.Array) -> jax.Array:
    """The rate at `step` (counted from 0)."""
    warmup = hyper.get("warmup_steps", jnp.zeros(()))
    rising = jnp.minimum(1.0, (step + 1) / jnp.maximum(warmup, 1.0))
    if train.schedule == "constant":
        return hyper["learning_rate"] * rising
    done = jnp.clip((step - warmup) / hyper["decay_steps"], 0.0, 1.0)
    final = hyper["final_scale"]
    falling = {
        "linear": 1 + (final - 1) * done,
        "cosine": final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * done)),
        "exponential": jnp.maximum(final, 1e-8) ** done,
    }[train.schedule]
    return hyper["learning_rate"] * rising * falling


def optimizer(train: TrainConfig, hyper: dict[str, jax.Array]) -> optax.GradientTransformation:
    """The update rule before rate and weight decay, its numbers taken from `hyper` (which may be traced)."""
    if train.optimizer in ("adam", "adamw") and train.semantics == "keras":
        return keras_adam(hyper["beta1"], hyper["beta2"], hyper["epsilon"])
    if train.optimizer in ("adam", "adamw"):
        return optax.scale_by_adam(hyper["beta1"], hyper["beta2"], hyper["epsilon"])
    rule = optax.scale_by_rms(hyper["beta2"], hyper["epsilon"]) if train.optimizer == "rmsprop" else optax.identity()
    return rule if train.momentum is None else optax.chain(rule, optax.trace(hyper["momentum"]))


def keras_adam(beta1: Any, beta2: Any, epsilon: Any) -> optax.GradientTransformation:
    """Adam as Keras and TensorFlow compute it: `epsilon` is added before the bias is corrected, not after (the form at
    the end of section 2 of Kingma & Ba 2015)."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        count = state.count + 1
        mean = jax.tree.map(lambda m, g: m + (1 - beta1) * (g - m), state.mu, updates)
        square = jax.tree.map(lambda v, g: v + (1 - beta2) * (g * g - v), state.nu, updates)
        correction = jnp.sqrt(1 - beta2**count) / (1 - beta1**count)
        moves = jax.tree.map(lambda m, v: correction.astype(m.dtype) * m / (jnp.sqrt(v) + epsilon), mean, square)
        return moves, optax.ScaleByAdamState(count, mean, square)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


class Trainer:
    """The static half of training: pure functions of a `Member` that any lift can be put around.

    Args:
      task: where batches come from.
      make: makes the model from ``nnx.Rngs`` and, by name, `numbers` in place of those described: a module with
        ``unroll(inputs, state=, key=, ...) -> Prediction``, ``initial_state(rows)``, ``watched`` and ``recordable``.
      train: how it is trained.

    Raises:
      InputError: a batch larger than the data, a pattern that no parameter has, or a state carried against the time.
    """

    def __init__(self, task: Task, make: Callable[..., Any], train: TrainConfig):
        self.task, self.make, self.config, self.shares = task, make, train, 1
        self.epoch_steps = task.steps("train", train.batch)
        if self.epoch_steps < 1:
            raise InputError(
                f"a batch of {train.batch} is larger than the training data",
                "in train.batch",
                "give a smaller batch",
            )
        if train.batch % train.accumulate:
            raise InputError(
                f"a batch of {train.batch} in {train.accumulate} parts",
                "in train.accumulate",
                "give a divisor of the batch",
            )
        self.total = train.steps or train.epochs * self.epoch_steps
        abstract = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
        self.graph, variables = nnx.split(abstract)
        params = nnx.to_flat_state(nnx.filter_state(variables, nnx.Param))
        self.paths = [".".join(map(str, path)) for path, _ in params]
        self._check_patterns()
        self.watched: tuple[str, ...] = abstract.watched
        self.recordable: dict[str, int] = abstract.recordable
        self.flat = isinstance(abstract, FeedForward) and task.read == "last"
        if train.carry_state and (task.read == "answer" or isinstance(abstract, FeedForward)):
            raise InputError(
                "a carried state of a network that has none at the end of a batch",
                "in train.carry_state",
                "set it to false",
            )
        if train.residence == "host" and task.shapes("train") > 1:
            raise InputError("batches of several shapes", "in train.residence", "set it to device")
        if train.carry_state and any(isinstance(part, Bidirectional) for _, part in nnx.iter_graph(abstract)):
            raise InputError(
                "a carried state with layers in both directions",
                "in train.carry_state",
                "set one of the two to false",
            )

    def sharing(self, devices: int) -> Trainer:
        """The same training on several devices, each with its share of the rows of every batch.

        To be called inside `jax.shard_map` over an axis called `ROWS`, the member being the same on all devices.

        Raises:
          InputError: rows that cannot be shared out.
        """
        if self.config.batch % (devices * self.config.accumulate):
            raise InputError(
                f"a batch of {self.config.batch} on {devices} devices", "in the layout", "choose a divisor of the batch"
            )
        shared = copy.copy(self)
        shared.shares = devices
        return shared

    def _check_patterns(self) -> None:
        """Checks that every pattern names a parameter."""
        train = self.config
        for where, patterns in (
            ("freeze", train.freeze),
            ("rate_scales", train.rate_scales),
            ("no_decay", train.no_decay),
        ):
            for pattern in patterns:
                if not any(fnmatchcase(path, pattern) for path in self.paths):
                    raise InputError(
                        f"no parameter is called '{pattern}'",
                        f"in train.{where}",
                        f"there are {', '.join(self.paths)}",
                    )

    def trained(self, path: tuple[Any, ...], variable: Any) -> bool:
        """Whether a variable of the model is a parameter that is trained."""
        name = ".".join(map(str, path))
        return isinstance(variable, nnx.Param) and not any(fnmatchcase(name, p) for p in self.config.freeze)

    def hyper(self, given: Mapping[str, Any] | None = None) -> dict[str, jax.Array]:
        """Every number of the configuration that may differ between members of a population.

        Args:
          given: numbers in place of those configured, by name; ones that this training has no use for are passed over.
        """
        train, given = self.config, given or {}
        numbers = {f.name: getattr(train, f.name) for f in dataclasses.fields(train) if "float" in str(f.type)}
        numbers.pop("rate_scales")
        if train.epsilon is None:
            numbers["epsilon"] = 1e-7 if train.semantics == "keras" else 1e-8
        if train.schedule == "constant":
            numbers |= {"decay_steps": None, "final_scale": None}
        elif train.decay_steps is None:
            warmup = given.get("warmup_steps", train.warmup_steps or 0)
            numbers["decay_steps"] = jnp.maximum(1.0, self.total - jnp.asarray(warmup, jnp.float32))
        numbers |= {name: given[name] for name, value in numbers.items() if value is not None and name in given}
        return {name: jnp.asarray(value, jnp.float32) for name, value in numbers.items() if value is not None}

    def member(self, seed: jax.Array | int, numbers: Mapping[str, Any] | None = None) -> Member:
        """A member before its first step.

        Args:
          seed: draws its weights, and its order of batches and dropout; may be traced.
          numbers: numbers in place of those configured, by dotted name as `train.learning_rate` or `model.dropout`;
            they may be traced, so that members of a population differ in them.
        """
        weights_key, key = jax.random.split(jax.random.key(seed))
        of_train, of_model = (
            {key: value for key, value in (numbers or {}).items() if key.startswith(section)}
            for section in ("train.", "model.")
        )
        model = self.make(nnx.Rngs(weights_key), **({"numbers": of_model} if of_model else {}))
        _, params, fixed = nnx.split(model, self.trained, ...)
        params, fixed = nnx.to_pure_dict(params), nnx.to_pure_dict(fixed)
        hyper = self.hyper({name.removeprefix("train."): value for name, value in of_train.items()})
        return Member(
            params=params,
            fixed=fixed,
            optimizer=optimizer(self.config, hyper).init(params),
            average=None if self.config.average is None else jax.tree.map(jnp.copy, params),
            carry=model.initial_state(self.config.batch) if self.config.carry_state else None,
            hyper=hyper,
            key=jax.random.key_data(key),
            step=jnp.zeros((), jnp.int32),
            status=jnp.full((), RUNNING, jnp.int32),
            best=jnp.full((), jnp.inf, jnp.float32),
            best_step=jnp.zeros((), jnp.int32),
            waited=jnp.zeros((), jnp.int32),
            meter=Meter.empty(),
        )

    def model(self, params: Any, fixed: Any) -> Any:
        """The module with these weights."""
        return nnx.merge(self.graph, nnx.State(_merged(params, fixed)))

    def chunk(self, member: Member, data: Any, start: jax.Array, count: jax.Array, clear: jax.Array) -> Member:
        """`count` steps of training from step `start`: one program for any count.

        Args:
          member: what is trained.
          data: the task's arrays; or, if they reside on the host, the batches of these steps, stacked.
          start: steps done, the same for all members of a population, so that they share the order of batches' numbers.
          count: steps to do.
          clear: whether the meter begins anew.
        """
        meter = jax.tree.map(lambda empty, sums: jnp.where(clear, empty, sums), Meter.empty(), member.meter)
        member = dataclasses.replace(member, meter=meter)
        if self.config.residence == "host":

            def stacked(k, member):
                return self.step(member, jax.tree.map(lambda v: v[k], data), start + k)

            return jax.lax.fori_loop(0, count, stacked, member)

        def epoch(state):
            member, done = state
            number, index = jnp.divmod(start + done, self.epoch_steps)
            order = self.order(member.key, number)
            here = jnp.minimum(count - done, self.epoch_steps - index)

            def step(k, member):
                train = partial(self.step, member, step=start + done + k)
                return self.taken(train, data, order, index + k, "train", self.config.batch)

            return jax.lax.fori_loop(0, here, step, member), done + here

        done = jnp.zeros((), jnp.int32)
        return jax.lax.while_loop(lambda state: state[1] < count, epoch, (member, done))[0]

    def taken(self, use: Callable[[Batch], Any], data: Any, order: Any, index: jax.Array, split: str, size: int) -> Any:
        """What `use` makes of batch number `index`, whichever of the task's shapes it has."""
        task, shapes = self.task, self.task.shapes(split)
        if shapes == 1:
            return use(task.take(data, order, index, split, size))
        branches = [
            lambda shape=shape: use(task.take_shaped(data, order, index, split, size, shape)) for shape in range(shapes)
        ]
        return jax.lax.switch(task.shape_of(order, index), branches)

    def order(self, key_data: jax.Array, epoch: jax.Array) -> Any:
        """The order of batches in an epoch, for a member's key data."""
        key = jax.random.fold_in(jax.random.wrap_key_data(key_data), jnp.uint32(2**32 - 1))  # apart from any step's
        return self.task.order(jax.random.fold_in(key, epoch), "train", self.config.batch)

    def step(self, member: Member, batch: Batch, step: jax.Array) -> Member:
        """One step of the optimiser. A member whose loss or gradient is not finite keeps what it had, and is frozen."""
        train, hyper = self.config, member.hyper
        gradients, carry, meter = self.gradients(
            member, batch, jax.random.fold_in(jax.random.wrap_key_data(member.key), step)
        )
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(meter.nats) & jnp.isfinite(norm)

        def moved(gradients: Any) -> Member:
            if train.clip_norm is not None:
                shrink = jnp.minimum(1.0, hyper["clip_norm"] / jnp.maximum(norm, 1e-30))
                gradients = jax.tree.map(lambda g: g * shrink.astype(g.dtype), gradients)
            updates, optimizer_state = optimizer(train, hyper).update(gradients, member.optimizer, member.params)
            rate = learning_rate(train, hyper, step)
            move = partial(self.move, rate, hyper.get("weight_decay"))
            params = jax.tree_util.tree_map_with_path(move, updates, member.params)
            average, share = member.average, 1 - hyper.get("average", jnp.zeros(()))
            if average is not None:
                average = jax.tree.map(lambda a, p: a + share.astype(p.dtype) * (p - a), average, params)
            return dataclasses.replace(
                member,
                params=params,
                optimizer=optimizer_state,
                average=average,
                carry=carry,
                step=member.step + 1,
                meter=jax.tree.map(jnp.add, member.meter, dataclasses.replace(meter, gradient_norm=norm)),
            )

        going = self.going(member.status, member.waited)
        # A branch, so that old arrays need not be kept beside the new ones; under vmap both are computed, one selected.
        after = jax.lax.cond(finite & going, moved, lambda _: member, gradients)
        return dataclasses.replace(after, status=jnp.where(finite, member.status, NON_FINITE))

    def going(self, status: Any, waited: Any) -> Any:
        """Whether members are trained further: not frozen, and not waiting too long for a better validation."""
        going, patience = status == RUNNING, self.config.patience
        return going if patience is None else going & (waited < patience)

    def move(
        self, rate: jax.Array, decay: jax.Array | None, path: Any, update: jax.Array, value: jax.Array
    ) -> jax.Array:
        """A parameter after its update."""
        name = ".".join(str(getattr(part, "key", part)) for part in path)
        train = self.config
        if decay is not None and not any(fnmatchcase(name, pattern) for pattern in train.no_decay):
            update = update + decay.astype(value.dtype) * value
        for pattern, factor in train.rate_scales.items():
            if fnmatchcase(name, pattern):
                update = update * factor
        return value - rate.astype(value.dtype) * update

    def gradients(self, member: Member, batch: Batch, key: jax.Array) -> tuple[Any, Any, Meter]:
        """Gradient of the objective by the parameters, the carried state after the batch, and this step's sums."""
        total = jnp.maximum(self.task.counted(batch).sum(), 1), jnp.maximum(self.hidden_steps(batch).sum(), 1)
        if self.shares == 1:
            return self._summed(member, member.carry, batch, key, total)
        carry, batch = (_part(tree, jax.lax.axis_index(ROWS), self.shares) for tree in (member.carry, batch))
        gradients, carry, meter = self._summed(member, carry, batch, key, total)
        gradients, meter = _sum_of_shares((gradients, meter))
        carry = jax.lax.all_gather(carry, ROWS, tiled=True)
        return gradients, carry, dataclasses.replace(meter, steps=jnp.ones((), jnp.int32))

    def _summed(
        self, member: Member, carry: Any, batch: Batch, key: jax.Array, total: tuple[jax.Array, jax.Array]
    ) -> tuple[Any, Any, Meter]:
        """What `gradients` gives, for some rows of a batch of `total` answers and steps, one part after the other."""
        parts = self.config.accumulate
        value = jax.value_and_grad(self.objective, has_aux=True)
        if parts == 1:
            (_, (carry, meter)), gradients = value(member.params, member, carry, batch, key, total)
            return gradients, carry, meter

        def part(sums, k):
            inputs = (_part(carry, k, parts), _part(batch, k, parts), jax.random.fold_in(key, k), total)
            (_, (after, meter)), gradients = value(member.params, member, *inputs)
            return jax.tree.map(jnp.add, sums, (gradients, meter)), after

        zeros = (jax.tree.map(jnp.zeros_like, member.params), Meter.empty())
        (gradients, meter), carry = jax.lax.scan(part, zeros, jnp.arange(parts))
        carry = jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), carry)
        return gradients, carry, dataclasses.replace(meter, steps=jnp.ones((), jnp.int32))

    def objective(
        self, params: Any, member: Member, carry: Any, batch: Batch, key: jax.Array, total: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, tuple[Any, Meter]]:
        """Loss and penalties: the share of a batch of `total` answers and steps that `batch` holds."""
        train, hyper = self.config, member.hyper
        model = self.model(params, member.fixed)
        if carry is not None and train.forget is not None:
            rows = batch.inputs.shape[0] * self.shares  # drawn for all of them, however many devices share them
            forgotten = jax.random.bernoulli(jax.random.fold_in(key, 1), hyper["forget"], (rows,))
            if self.shares > 1:
                forgotten = _part(forgotten, jax.lax.axis_index(ROWS), self.shares)
            carry = _restarted(model, forgotten[:, None], carry)
        prediction = predict(model, batch, carry, key)
        nats, answers, correct = answer_sums(self.task, prediction, batch)
        value = nats / total[0]
        for name, power in (("activity_l1", 1), ("activity_l2", 2)):
            if getattr(train, name) is not None:
                value += hyper[name] * self.activity(prediction, batch, power, total[1])
        for name, power in (("weight_l1", 1), ("weight_l2", 2)):
            if getattr(train, name) is not None:
                value += hyper[name] * weight_penalty(params, power) / (train.accumulate * self.shares)
        carry = None if carry is None else jax.lax.stop_gradient(prediction.state)
        one = jnp.ones((), jnp.int32)
        return value, (carry, Meter(nats, answers, correct, value, jnp.zeros(()), one))

    def hidden_steps(self, batch: Batch) -> jax.Array:
        """Which steps of the last hidden layer exist, ``[batch, steps]``."""
        if self.task.read == "answer":
            return jnp.ones(batch.targets.shape, bool)
        return jnp.ones((batch.inputs.shape[0], 1), bool) if self.flat else batch.existing()

    def activity(self, prediction: Prediction, batch: Batch, power: int, steps: jax.Array) -> jax.Array:
        """Sum over units of ``|h| ** power`` in the last hidden layer: a mean over `steps` that exist; with Keras's
        semantics the sum over what the readout reads, divided by the rows alone."""
        if self.config.semantics == "keras":
            return jnp.sum(magnitude(prediction.shown, power)) / self.config.batch
        size = jnp.sum(magnitude(prediction.hidden, power), axis=-1)
        return jnp.sum(jnp.where(self.hidden_steps(batch), size, 0)) / steps

    def evaluate(self, member: Member, data: Any) -> Meter:
        """Sums over the validation split, with the averaged weights if there are any."""
        rows = self.task.rows("validation", self.config.batch)
        shares = self.shares if rows % self.shares == 0 else 1  # else each device measures all rows
        steps = self.task.steps("validation", rows)
        params = member.params if member.average is None else member.average
        model = self.model(params, member.fixed)
        order = self.task.order(jax.random.key(0), "validation", rows)
        carry = model.initial_state(rows // shares) if self.config.carry_state else None

        def add(k, state):
            carry, sums = state

            def judged(batch):
                if shares > 1:
                    batch = _part(batch, jax.lax.axis_index(ROWS), shares)
                prediction = predict(model, batch, carry, None)
                nats, answers, correct = answer_sums(self.task, prediction, batch)
                zero = jnp.zeros(())
                seen = Meter(nats, answers, correct, zero, zero, jnp.ones((), jnp.int32))
                return (None if carry is None else prediction.state), jax.tree.map(jnp.add, sums, seen)

            return self.taken(judged, data, order, k, "validation", rows)

        sums = jax.lax.fori_loop(0, steps, add, (carry, Meter.empty()))[1]
        return sums if shares == 1 else dataclasses.replace(_sum_of_shares(sums), steps=sums.steps)

    def judge(self, member: Member, validation: Meter) -> Member:
        """The member after a validation: its best loss, and how long it has waited for a better one."""
        loss = validation.nats / validation.answers
        better = loss < member.best
        return dataclasses.replace(
            member,
            best=jnp.where(better, loss, member.best),
            best_step=jnp.where(better, member.step, member.best_step),
            waited=jnp.where(better, 0, member.waited + 1),
        )


def _part(tree: Any, k: jax.Array, parts: int) -> Any:
    """Part `k` of the rows of all arrays; a number has no rows."""
    return jax.tree.map(lambda v: v if v.ndim == 0 else v.reshape(parts, -1, *v.shape[1:])[k], tree)


def _sum_of_shares(tree: Any) -> Any:
    """The sum over devices, of all arrays of a type at once: what costs is that devices wait for each other."""
    leaves, structure = jax.tree.flatten(tree)
    kinds = dict.fromkeys(leaf.dtype for leaf in leaves)
    for kind in kinds:
        places = [k for k, leaf in enumerate(leaves) if leaf.dtype == kind]
        whole = jax.lax.psum(jnp.concatenate([leaves[k].reshape(-1) for k in places]), ROWS)
        ends = np.cumsum([leaves[k].size for k in places])[:-1]
        for k, part in zip(places, jnp.split(whole, ends), strict=True):
            leaves[k] = part.reshape(leaves[k].shape)
    return jax.tree.unflatten(structure, leaves)


def predict(model: Any, batch: Batch, carry: Any, key: jax.Array | None) -> Prediction:
    """The model's answers to a batch; a batch that is fresh begins with the initial state instead of `carry`.

    A model that writes a sequence is fed the right answers.
    """
    options = {"answers": batch.targets} if model.read == "answer" else {}
    if carry is not None and batch.fresh is not None:
        carry = _restarted(model, batch.fresh, carry)
    return model.unroll(
        batch.inputs, state=carry, lengths=batch.lengths, mask=batch.mask, reset=batch.reset, key=key, **options
    )


def _restarted(model: Any, where: jax.Array, carry: Any) -> Any:
    """The carried state, replaced by the initial one `where` it is to be forgotten (``[]``, or ``[rows, 1]``)."""
    rows = jax.tree.leaves(carry)[0].shape[0]
    return jax.tree.map(lambda start, state: jnp.where(where, start, state), model.initial_state(rows), carry)


def answer_sums(task: Task, prediction: Prediction, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Over valid answers: sum of losses, count, and count of right ones."""
    each, right = losses(task, prediction.outputs, batch)
    valid = task.counted(batch)
    nats = jnp.sum(jnp.where(valid, each, 0))
    return nats, valid.sum().astype(jnp.int32), jnp.sum(valid & (right > 0)).astype(jnp.int32)


def weight_penalty(params: Any, power: int) -> jax.Array:
    """Sum of ``|w| ** power`` over kernels and embeddings (biases, scales and peepholes are left alone)."""
    named = jax.tree_util.tree_leaves_with_path(params)
    kernels = [v for path, v in named if str(getattr(path[-1], "key", "")).endswith(("kernel", "embedding"))]
    return sum((jnp.sum(magnitude(v, power)) for v in kernels), start=jnp.zeros(()))


def magnitude(value: jax.Array, power: int) -> jax.Array:
    """``|value| ** power`` for a power of 1 or 2, its derivative at zero being zero.

    JAX takes the derivative of ``|x|`` at zero to be one (TensorFlow and PyTorch: zero), which would push what is
    exactly zero, such as the units of `rnnjax.padding`, away from it.
    """
    return value * jnp.sign(value) if power == 1 else value * value


def metrics(task: Task, meter: Meter) -> dict[str, float]:
    """What the sums of a meter say, as plain numbers: loss and, for classes, accuracy, bits and perplexity."""
    values = {name: float(value) for name, value in means(task, meter).items()}
    if task.answers == "classes":
        values["bits_per_symbol"] = values["loss"] / 0.6931471805599453
        values["perplexity"] = float(jnp.exp(jnp.asarray(min(values["loss"], 80.0))))
    return values


def means(task: Task, meter: Meter) -> dict[str, np.ndarray]:
    """Loss and, for classes, accuracy, in float64: a number, or of a population ``[members]``."""
    found = jax.device_get(meter)
    answers = np.maximum(1, found.answers)
    values = {"loss": np.asarray(found.nats, np.float64) / answers}
    return values | ({"accuracy": found.correct / answers} if task.answers == "classes" else {})


def _merged(a: Any, b: Any) -> Any:
    """Two nested dicts as one."""
    if not isinstance(a, dict) or not isinstance(b, dict):
        return a
    return {key: _merged(a[key], b[key]) if key in a and key in b else a.get(key, b.get(key)) for key in {**b, **a}}
