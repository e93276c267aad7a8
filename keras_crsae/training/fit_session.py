"""One call of ``fit``: checks, first values, data and callbacks; then the arguments that Keras' own ``fit`` takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
from keras import ops

from keras_crsae.backend import tf
from keras_crsae.data.batch_order import SEED_BOUND, BatchOrder
from keras_crsae.data.streams.batch_source import BatchSource, array_batches
from keras_crsae.training import inputs
from keras_crsae.training.checkpoint import Checkpoint
from keras_crsae.training.distribution import (
    check_scope,
    number,
    several_machines,
    source_per_machine,
    synchronise,
)
from keras_crsae.training.failure_handling import (
    FaultReport,
    StopOnNonFinite,
    raise_failure,
    warn_of_identical_filters,
    watch_failures,
)
from keras_crsae.training.progress import EndEpoch, TrackProgress
from keras_crsae.training.weight_averages import FinishAverages, RestoreConstraints, weight_averages

Arguments = dict[str, Any]


class SessionTrainer(Protocol):
    """What a session needs of the trainer."""

    model: Any
    nonfinite: str
    order: BatchOrder

    def layout(self) -> inputs.SignalLayout: ...

    def variables(self) -> list[keras.Variable]: ...


class _Data(NamedTuple):
    """What Keras is given, and what is known of it."""

    x: Any
    steps: int | None  # batches of a whole epoch
    skips: bool  # it can begin in the middle of an epoch
    counted: bool  # Keras has the number of steps, too
    errors: list[Exception]  # what a reader raised


@contextlib.contextmanager
def fit_session(trainer: SessionTrainer, arguments: Arguments) -> Iterator[Arguments]:
    """Prepare a ``fit``, give the arguments for ``keras.Model.fit``, and report what went wrong in it.

    Args:
        trainer: of the model.
        arguments: those of ``keras.Model.fit`` by name, all of them.
    """
    model = trainer.model
    _check_call(model, arguments)
    arguments = _checked_data(trainer, arguments)
    arguments = _adapt_once(trainer, arguments)
    _prepare_state(trainer, arguments["initial_epoch"])
    report = FaultReport(model)
    callbacks = _list_of(arguments["callbacks"])
    restored = [epoch for epoch in (c.restore(model) for c in callbacks if isinstance(c, Checkpoint))
                if epoch is not None]
    if restored:
        arguments["initial_epoch"] = max(restored)
    data = _data(trainer, arguments, callbacks)
    progress = TrackProgress(trainer, data.steps, data.skips)
    arguments.update(x=data.x, callbacks=_callbacks(trainer, arguments["callbacks"], progress, data, arguments))
    try:
        with watch_failures(model.training_state), weight_averages(model):
            yield arguments
    except tf.errors.OpError:
        if data.errors:
            raise data.errors[-1] from None
        raise
    finally:
        progress.release()
    report.warn(model.history.history.get("sparsity", [1.0])[-1])


@contextlib.contextmanager
def batch_session(trainer: SessionTrainer, x: Any, y: Any = None, sample_weight: Any = None,
                  class_weight: Any = None) -> Iterator[inputs.Arrays]:
    """Prepare a ``train_on_batch`` as a ``fit`` is, give its data, and raise where the batch was not finite.

    Args:
        trainer: of the model.
        x, y, sample_weight, class_weight: those of ``keras.Model.train_on_batch``.

    Raises:
        FloatingPointError: a stage was not finite; the weights are those from before the batch.
    """
    model = trainer.model
    _check_call(model, {"x": x, "class_weight": class_weight}, "train_on_batch")
    data = inputs.checked_arrays(x, y, sample_weight, trainer.layout(), finite=False)
    adapt_once(trainer, data)
    model.restore_constraints()
    with watch_failures(model.training_state):
        yield data
        model.note_training()
        raise_failure(model.training_state, "")


def evaluation_data(trainer: SessionTrainer, x: Any, y: Any, sample_weight: Any,
                    method: str = "evaluate") -> inputs.Arrays:
    """``x``, ``y`` and ``sample_weight`` of ``evaluate``: arrays checked and cast, streams as they are.

    A model without filters is built for them; values such as lambda are left to the data of ``fit`` and ``adapt``.
    """
    model = trainer.model
    check_compiled(model, method)
    x = inputs.unshuffled(x)
    if inputs.is_array(x):
        x, y, sample_weight = inputs.checked_arrays(x, y, sample_weight, trainer.layout(),
                                                    finite=trainer.nonfinite == "stop")
    elif not model.built:
        x = inputs.as_stream(x)
    if not model.built:
        first, x = (x, x) if inputs.is_array(x) else inputs.first_batch(x)
        signal = first[0] if isinstance(first, tuple) else first
        signal = signal["signal"] if isinstance(signal, dict) else signal
        model.build((None,) * (model.rank + 1) + (signal.shape[-1],))
    model.restore_constraints()
    return x, y, sample_weight


def check_compiled(model: Any, method: str) -> None:
    """ValueError where ``compile`` was not called before ``method``."""
    if not model.compiled:
        raise ValueError(f"Call `compile` before `{method}`, for example model.compile(keras.optimizers.Adam(1e-3)).")


def _check_call(model: Any, arguments: Arguments, method: str = "fit") -> None:
    check_compiled(model, method)
    if arguments["class_weight"] is not None:
        raise ValueError("`class_weight` has no meaning here: CRsAE has no classes. Use `sample_weight`.")
    if arguments["x"] is None:
        raise ValueError(f"`{method}` needs `x`: signals (batch, *space, channels)"
                         f"{', a dataset or a generator' if method == 'fit' else ''}.")
    inputs.check_order(arguments["x"])


def _checked_data(trainer: SessionTrainer, arguments: Arguments) -> Arguments:
    """Arrays checked, and their validation part split off."""
    x, y, weight = inputs.as_stream(arguments["x"]), arguments["y"], arguments["sample_weight"]
    validation = arguments["validation_data"]
    if inputs.is_array(x):
        arrays = inputs.checked_arrays(x, y, weight, trainer.layout(), finite=trainer.nonfinite == "stop")
        (x, y, weight), held_out = inputs.split_off(arrays, arguments["validation_split"])
        validation = held_out if validation is None else validation
        arguments = {**arguments, "validation_split": 0.0}
    elif isinstance(x, BatchSource) and (y is not None or weight is not None):
        raise ValueError("A batch source gives targets and weights as part of its batches: omit `y` and "
                         "`sample_weight`, and use `source.map(lambda batch: (batch, target, weight))`.")
    validation = inputs.checked_validation(validation, trainer.layout())
    return {**arguments, "x": x, "y": y, "sample_weight": weight, "validation_data": validation}


def _adapt_once(trainer: SessionTrainer, arguments: Arguments) -> Arguments:
    """``adapt`` on the first batch of a ``fit``, where nobody did so before."""
    model, x = trainer.model, arguments["x"]
    if is_adapted(model):
        return arguments
    if inputs.is_array(x):
        count = arguments["batch_size"] or 32
        first = tuple(inputs.select(a, slice(count)) for a in (x, arguments["y"], arguments["sample_weight"]))
    else:
        first, x = inputs.first_batch(x)
    adapt_once(trainer, first)
    return {**arguments, "x": x}


def is_adapted(model: Any) -> bool:
    """Whether a model has taken first values from data."""
    return bool(model.built and number(model.training_state.adapted))


def adapt_once(trainer: SessionTrainer, first: Any) -> None:
    """``adapt`` on a batch of Keras' form, where nobody did so before."""
    model = trainer.model
    if is_adapted(model):
        return
    likelihood = trainer.layout().likelihood
    batch, size = inputs.raw_batch(first, model.rank, "float32", likelihood, model.measurement)
    signal, observed, operator = batch.signal, batch.observed, batch.operator
    if trainer.nonfinite == "skip":
        each = operator if operator is not None and operator.shape.rank else None
        signal, observed, size, each = inputs.finite_signals(signal, observed, size, each)
        operator = operator if each is None else each
    options = {str(likelihood.size_name): size, "operator": operator}
    model.adapt(signal, mask=observed, **{name: value for name, value in options.items() if value is not None})


def _prepare_state(trainer: SessionTrainer, initial_epoch: int) -> None:
    """Everything that a ``fit`` begins with: variables in the strategy's scope, one seed, the same on all machines."""
    model, state = trainer.model, trainer.model.training_state
    strategy = model.distribute_strategy
    check_scope(strategy, model.weights, "The model")
    check_scope(strategy, [*model.optimizer.variables, *model.lambda_optimizer.variables], "An optimiser")
    if number(state.order_seed) < 0:
        state.order_seed.assign(np.random.randint(SEED_BOUND) if model.seed is None else model.seed % SEED_BOUND)
    model.restore_constraints()
    synchronise(strategy, trainer.variables())
    warn_of_identical_filters(ops.convert_to_numpy(model.dictionary.kernel))
    state.progress.assign([initial_epoch, 0])
    trainer.order = BatchOrder()


def _data(trainer: SessionTrainer, arguments: Arguments, callbacks: list[keras.callbacks.Callback]) -> _Data:
    """The dataset that Keras iterates once an epoch; changes ``arguments`` where they then hold no longer."""
    x, shuffle, steps = arguments["x"], arguments["shuffle"], arguments["steps_per_epoch"]
    if inputs.is_array(x) and not steps and shuffle in (True, False):
        x = array_batches((x, arguments["y"], arguments["sample_weight"]), arguments["batch_size"] or 32, shuffle)
        arguments.update(y=None, sample_weight=None, batch_size=None)
    if isinstance(x, BatchSource):
        return _of_source(trainer, x, arguments)
    if not isinstance(x, tf.data.Dataset):
        return _Data(x, None, skips=False, counted=True, errors=[])
    arguments["shuffle"] = False  # Keras would warn of its own default
    total = int(x.cardinality())
    known = total > 0 and (not steps or steps == total)
    resumes = any(isinstance(c, Checkpoint | keras.callbacks.BackupAndRestore) for c in callbacks)
    if not known or not resumes:
        return _Data(x, total if known else None, skips=False, counted=True, errors=[])
    counted = total % trainer.model.steps_per_execution == 0
    return _Data(_without_done(x, lambda: trainer.order, counted), total, skips=True, counted=counted, errors=[])


def _of_source(trainer: SessionTrainer, source: BatchSource, arguments: Arguments) -> _Data:
    model, steps = trainer.model, len(source)
    if arguments["steps_per_epoch"] not in (None, steps):
        raise ValueError(f"An epoch of this batch source has {steps} batches: omit `steps_per_epoch`. Received: "
                         f"steps_per_epoch={arguments['steps_per_epoch']!r}")
    arguments.update(shuffle=False, steps_per_epoch=None)
    source.errors.clear()

    def order() -> BatchOrder:
        return trainer.order

    if several_machines(model.distribute_strategy):
        x, counted = source_per_machine(model.distribute_strategy, source, order), False
    else:
        # Keras' last execution of several steps may look behind the end, which a dataset that is shorter than it
        # states to be answers by an error.
        counted = steps % model.steps_per_execution == 0
        x = source.dataset(order, counted)
    return _Data(x, steps, skips=True, counted=counted, errors=source.errors)


def _without_done(data: tf.data.Dataset, order: Callable[[], BatchOrder], counted: bool) -> tf.data.Dataset:
    """A user's dataset without the batches that were done before, looked up each time it is iterated."""
    def skip() -> np.int64:
        return np.int64(order().skip)

    rest = tf.data.Dataset.range(1).flat_map(
        lambda _: data.skip(tf.ensure_shape(tf.numpy_function(skip, [], tf.int64), ())))
    if counted:
        rest = rest.apply(tf.data.experimental.assert_cardinality(int(data.cardinality())))
    return rest.with_options(data.options())


def _list_of(callbacks: Any) -> list[keras.callbacks.Callback]:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []


def _callbacks(trainer: SessionTrainer, given: Any, progress: TrackProgress, data: _Data,
               arguments: Arguments) -> Any:
    """The user's callbacks with those of ``fit`` around them; what saves comes last and sees what the others did."""
    model, own = trainer.model, _list_of(given)
    savers = [c for c in own if isinstance(c, Checkpoint)]
    others = [c for c in own if c not in savers]  # these may change weights
    ordered = [progress, FinishAverages(), *others, *([RestoreConstraints()] if others else []),
               StopOnNonFinite(model.training_state, trainer), *savers, EndEpoch(progress, data.counted)]
    if isinstance(given, keras.callbacks.CallbackList):
        return keras.callbacks.CallbackList(ordered, add_history=True, model=model, **(given.params or {}))
    if data.counted:
        return ordered
    return keras.callbacks.CallbackList(  # Keras would show the number of steps as unknown
        ordered, add_history=True, add_progbar=arguments["verbose"] != 0, model=model, verbose=arguments["verbose"],
        epochs=arguments["epochs"], steps=data.steps)
