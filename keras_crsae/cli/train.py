"""``keras-crsae train``: files -> windows or patches -> a trained, saved ``CRsAE``."""

from __future__ import annotations

import math
import sys
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError

from keras_crsae.cli.startup import Failure, start_workers
from keras_crsae.cli.training_data import (
    holds_gray_levels,
    read_inputs,
    sizes_of,
    training_patches,
    training_windows,
)
from keras_crsae.data.paths import check_output, size_text
from keras_crsae.initializers import robust_sigma

if TYPE_CHECKING:
    import keras

    from keras_crsae.models.crsae import CRsAE

_SAVE_EVERY = 200  # batches between two saves of --checkpoint, besides those after each epoch
_ADAPT = 256  # windows that sigma, lambda and the first filters are taken from


@dataclass(frozen=True)
class _Plan:
    """Everything that is resolved before TensorFlow starts.

    ``scale`` is the unit of options and messages, in the data's unit: 255 for images of whole numbers, else 1.
    """

    rank: int
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    data: np.ndarray
    sample: np.ndarray
    sigma: float | str
    lambda_init: float | str
    scale: float

    def __str__(self) -> str:
        channels = self.data.shape[-1]
        return (f"{len(self.data)} {'windows' if self.rank == 1 else 'patches'} of {size_text(self.data.shape[1:-1])} "
                f"x {channels} channel{'s' * (channels > 1)}")


def train(args: Namespace) -> dict[str, list[float]]:
    """Train as the parsed options say; every input and the output are checked before TensorFlow starts.

    Returns:
        The history's dict of lists, one value an epoch.

    Raises:
        FileError: invalid input or output.
        ValueError: invalid option.
        Failure: training diverged, or another worker was lost.
    """
    writes = _writes(args)
    output = check_output(args.output, (".keras",), args.overwrite, inputs=args.input) if writes else args.output
    if args.checkpoint is not None:
        check_output(args.checkpoint, (".keras",), overwrite=True, inputs=(*args.input, output))
    plan = _plan(args)
    model = _new_model(args, plan)
    print(f"{plan}; sigma {_sigma_text(model, plan.scale)}, first lambda {_lambda_text(model)}", flush=True)
    started = time.perf_counter()
    history = _fit(args, model, plan)
    seconds = time.perf_counter() - started
    if not writes:
        print(f"Worker {args.worker_index} of {len(args.workers)} is done; worker 0 writes the model.")
        return history
    with atomic_write(output, args.overwrite) as temporary:
        model.save(temporary)
    print(_summary(model, history, plan.scale, seconds) if history else
          f"  {args.checkpoint} held a training that was complete: nothing was left to do")
    print(f"{output}: {Path(output).stat().st_size / 1024:.0f} KiB. Next: keras-crsae encode {output} INPUT code.npy")
    return history


def _writes(args: Namespace) -> bool:
    """Whether this machine writes the model: alone, or as the first of several."""
    if (args.workers is None) != (args.worker_index is None):
        raise FileError("--workers and --worker-index belong together: every machine, and which of them this is.")
    if args.workers is not None and args.worker_index >= len(args.workers):
        raise FileError(f"--worker-index {args.worker_index}: --workers names {len(args.workers)} machines, counted "
                        "from 0.")
    return not args.worker_index


def _plan(args: Namespace) -> _Plan:
    """Data, sizes, noise level and first lambda of the options."""
    rank, arrays = read_inputs(args)
    kernel_size = sizes_of(args.kernel_size, rank, "--kernel-size")
    strides = sizes_of(args.strides, rank, "--strides")
    rng = np.random.default_rng(args.seed)
    data = (training_windows if rank == 1 else training_patches)(args, arrays, kernel_size, rng)
    scale = 255.0 if rank == 2 and holds_gray_levels(arrays) else 1.0
    sample = data[rng.permutation(len(data))[:_ADAPT]]
    sigma = args.sigma if args.sigma == "estimate" else args.sigma / scale
    lambda_init = args.lambda_init or ("donoho" if rank == 1 else ("over sigma", 1.2))
    if isinstance(lambda_init, tuple):
        sigma = robust_sigma(sample, rank) if sigma == "estimate" else sigma
        if not sigma > 0:
            raise FileError("No noise is found in the input: what is not constant is too little, or has none. Give "
                            "--sigma a number.")
        lambda_init = lambda_init[1] / sigma
    return _Plan(rank, kernel_size, strides, data, sample, sigma, lambda_init, scale)


def _new_model(args: Namespace, plan: _Plan) -> CRsAE:
    """A compiled model with its first filters, on all workers."""
    strategy = start_workers(args.workers, args.worker_index, args.progress)
    import keras

    from keras_crsae.models.crsae import CRsAE

    keras.utils.set_random_seed(args.seed)
    signals = plan.rank == 1
    init = args.init or ("energy" if signals else "windows")
    steps = args.epochs * math.ceil(len(plan.data) / args.batch_size)
    with strategy.scope():
        model = CRsAE(
            args.filters, plan.kernel_size, strides=plan.strides, rank=plan.rank,
            iterations=args.iterations or (40 if signals else 15),
            shrinkage=args.shrinkage or ("nonnegative_soft" if signals else "soft"),
            sigma=plan.sigma, sigma_learning=args.sigma_learning, lambda_init=plan.lambda_init,
            lambda_shared=args.lambda_shared,
            lambda_learning=None if args.lambda_learning == "none" else args.lambda_learning,
            gradient=args.gradient, seed=args.seed)
        model.adapt(plan.sample, init=None if init == "random" else init)
        model.compile(keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(args.learning_rate, steps, alpha=0.01)))
    return model


def _callbacks(args: Namespace, rank: int) -> list[keras.callbacks.Callback]:
    from keras_crsae.training.callbacks import RecentreFilters, SaveProgress

    callbacks = []
    if rank == 1 and args.epochs > 1:
        # Filters begin as windows that hold a waveform anywhere. Measured on three simulated units, four seeds: errors
        # of .05 to .10 with the filters kept centred during the first half, .06 to .45 without.
        callbacks.append(RecentreFilters(until=max(1, args.epochs // 2)))
    if args.checkpoint is not None:
        callbacks.append(SaveProgress(args.checkpoint, every=_SAVE_EVERY))
    return callbacks


def _fit(args: Namespace, model: CRsAE, plan: _Plan) -> dict[str, list[float]]:
    import tensorflow as tf

    verbose = (1 if sys.stdout.isatty() else 2) if args.progress else 0
    try:
        return model.fit(plan.data, epochs=args.epochs, batch_size=args.batch_size,
                         callbacks=_callbacks(args, plan.rank), verbose=verbose).history
    except FloatingPointError as error:
        raise Failure(f"{error} No model was written; the option here is --learning-rate.") from error
    except tf.errors.OpError as error:
        if args.workers is None:
            raise
        raise Failure(f"Training stopped because another worker was lost ({type(error).__name__}). Start all of "
                      "them again; with --checkpoint they go on where they were.") from error


def _lambda_text(model: CRsAE) -> str:
    """Lambda, and its multiple of 1 / sigma: the penalty weight in units of the noise."""
    from keras import ops

    values, sigma = (ops.convert_to_numpy(v).astype(float) for v in (model.lambda_reg, model.sigma))  # mirrored or not
    return f"{_range_text(values)} ({_range_text(values * sigma)} / sigma)"


def _range_text(values: np.ndarray) -> str:
    low, high = f"{values.min():.4g}", f"{values.max():.4g}"
    return low if low == high else f"{low} to {high}"


def _sigma_text(model: CRsAE, scale: float) -> str:
    from keras import ops

    sigma = float(ops.convert_to_numpy(model.sigma))
    return f"{sigma:.4g}" + (f" ({sigma * scale:.3g} of {scale:.0f})" if scale != 1 else "")


def _summary(model: CRsAE, history: dict[str, list[float]], scale: float, seconds: float) -> str:
    """What training reached, as aligned lines."""
    epochs = len(history["loss"])

    def course(name: str) -> str:
        return f"{history[name][0]:.5g} -> {history[name][-1]:.5g}" if epochs > 1 else f"{history[name][-1]:.5g}"

    rows = {
        "trained": f"{epochs} epochs in {seconds:.1f} s",
        "filters": f"{model.dictionary.filters} of {size_text(model.dictionary.kernel_size)}, "
                   f"{model.encoder.iterations} iterations, {model.get_config()['code_prior']}",
        "reconstruction loss": f"{course('reconstruction_loss')} (mean squared residual, first -> last epoch)",
        "lambda loss": course("lambda_loss"),
        "sigma": _sigma_text(model, scale),
        "lambda": _lambda_text(model),
        "sparsity": f"{history['sparsity'][-1]:.3%} of the code values are non-zero",
    }
    return "\n".join(f"  {name:20} {text}" for name, text in rows.items())
