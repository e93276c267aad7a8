"""``keras-crsae train``: files -> windows or patches -> a trained, saved ``CRsAE``."""

import math
import sys
import time
import warnings

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.signals import robust_std

from keras_crsae.cli.startup import Failure, start_workers
from keras_crsae.data.arrays import as_batch, check_finite, read_array
from keras_crsae.data.images import INTEGER_PIXELS, gray_image, is_image, opaque, random_patches, read_image, unit_image
from keras_crsae.data.paths import by, check_output
from keras_crsae.data.streams.windows import cut_windows
from keras_crsae.initializers import robust_sigma

_SAVE_EVERY = 200  # batches between two saves of --checkpoint, besides those after each epoch
_ADAPT = 256  # windows that sigma, lambda and the first filters are taken from


def train(args):
    """Train as the parsed options say; every input and the output are checked before TensorFlow starts.

    Returns:
        The history's dict of lists, one value an epoch.

    Raises:
        FileError: unfit input or output.
        ValueError: unfit option.
    """
    writes = _writes(args)
    output = check_output(args.output, (".keras",), args.overwrite, inputs=args.input) if writes else args.output
    if args.checkpoint is not None:
        check_output(args.checkpoint, (".keras",), overwrite=True, inputs=(*args.input, output))
    rank, arrays = _read(args)
    kernel_size = _pair(args.kernel_size, rank, "--kernel-size")
    strides = _pair(args.strides, rank, "--strides")
    rng = np.random.default_rng(args.seed)
    data = (_windows if rank == 1 else _patches)(args, arrays, kernel_size, rng)
    grey_levels = rank == 2 and any(array.dtype in INTEGER_PIXELS for _, array in arrays)
    if rank == 1:
        _note_offset(data)
    scale = 255.0 if grey_levels else 1.0

    sigma = args.sigma if args.sigma == "estimate" else args.sigma / scale
    sample = data[rng.permutation(len(data))[:_ADAPT]]
    first_lambda = args.lambda_init or ("donoho" if rank == 1 else ("over sigma", 1.2))
    if isinstance(first_lambda, tuple):
        sigma = robust_sigma(sample, rank) if sigma == "estimate" else sigma
        if not sigma > 0:
            raise FileError("The noise level of the input is estimated as zero: more than half of it is constant. "
                            "Give --sigma a number.")
        first_lambda = first_lambda[1] / sigma
    strategy = start_workers(args.workers, args.worker_index)
    import keras
    import tensorflow as tf

    from keras_crsae.models.crsae import CRsAE
    from keras_crsae.training.callbacks import RecentreFilters, SaveProgress

    keras.utils.set_random_seed(args.seed)
    init = args.init or ("energy" if rank == 1 else "windows")
    steps = args.epochs * math.ceil(len(data) / args.batch_size)
    with strategy.scope():
        model = CRsAE(
            args.filters, kernel_size, strides=strides, rank=rank,
            iterations=args.iterations or (40 if rank == 1 else 15),
            shrinkage=args.shrinkage or ("nonnegative_soft" if rank == 1 else "soft"),
            sigma=sigma, sigma_learning=args.sigma_learning, lambda_init=first_lambda, lambda_shared=args.lambda_shared,
            lambda_learning=None if args.lambda_learning == "none" else args.lambda_learning,
            gradient=args.gradient, seed=args.seed)
        model.adapt(sample, filters=None if init == "random" else init)
        model.compile(keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(args.learning_rate, steps, alpha=0.01)))
    print(f"{len(data)} {'windows' if rank == 1 else 'patches'} of {by(data.shape[1:-1])} "
          f"x {data.shape[-1]} channel{'s' * (data.shape[-1] > 1)}; sigma {_sigma(model, scale)}, "
          f"first lambda {_lambda(model)}", flush=True)
    # Filters begin as windows that hold a waveform anywhere. Measured on three simulated units, four seeds: errors of
    # .05 to .10 with the filters kept centred during the first half, .06 to .45 without.
    callbacks = [RecentreFilters(until=max(1, args.epochs // 2))] if rank == 1 and args.epochs > 1 else []
    if args.checkpoint is not None:
        callbacks.append(SaveProgress(args.checkpoint, every=_SAVE_EVERY))
    started = time.perf_counter()
    try:
        history = model.fit(data, epochs=args.epochs, batch_size=args.batch_size, callbacks=callbacks,
                            verbose=1 if sys.stdout.isatty() else 2).history
    except FloatingPointError as error:
        raise Failure(f"{error} No model was written; the option here is --learning-rate.") from error
    except tf.errors.OpError as error:
        if args.workers is None:
            raise
        raise Failure(f"Training stopped because another worker was lost ({type(error).__name__}). Start all of "
                      "them again; with --checkpoint they go on where they were.") from error
    seconds = time.perf_counter() - started
    if not writes:
        print(f"Worker {args.worker_index} of {len(args.workers)} is done; worker 0 writes the model.")
        return history
    with atomic_write(output, args.overwrite) as temporary:
        model.save(temporary)
    print(_summary(model, history, scale, seconds) if history else
          f"  {args.checkpoint} held a training that was complete: nothing was left to do")
    print(f"{output}: {output.stat().st_size / 1024:.0f} KiB. Next: keras-crsae encode {output} INPUT code.npy")
    return history


def _writes(args):
    """Whether this machine writes the model: alone, or as the first of several."""
    if (args.workers is None) != (args.worker_index is None):
        raise FileError("--workers and --worker-index belong together: every machine, and which of them this is.")
    if args.workers is not None and args.worker_index >= len(args.workers):
        raise FileError(f"--worker-index {args.worker_index}: --workers names {len(args.workers)} machines, counted "
                        "from 0.")
    return not args.worker_index


def _read(args):
    """Rank and a list of (name, array (batch, *space, channels)), integer images still integer."""
    images = [is_image(name) for name in args.input]
    if any(images) and not all(images):
        raise FileError("Give either image files or arrays, not both: "
                        f"{args.input[images.index(True)]} and {args.input[images.index(False)]}.")
    if all(images):
        if args.rank == 1:
            raise FileError("--rank 1 is for signals, and the input are images. Leave it out.")
        arrays = [(name, opaque(read_image(name))) for name in args.input]
    else:
        arrays = [(name, read_array(name, args.key)) for name in args.input]
    rank = args.rank or (2 if all(images) or any(array.ndim == 4 for _, array in arrays) else 1)
    out = []
    for name, array in arrays:
        check_finite(array, name)
        out.append((name, as_batch(array, rank, name)))
    if rank == 2 and not args.gray:
        _same(out, lambda a: a.shape[-1], "colour and grey images. Add --gray to turn all of them grey")
    if rank == 1:
        _same(out, lambda a: a.shape[-1], "different numbers of channels. Train one model for each")
    return rank, out


def _same(arrays, what, trouble):
    first, first_array = arrays[0]
    for name, array in arrays:
        if what(array) != what(first_array):
            raise FileError(f"{first} (shape {first_array.shape}) and {name} (shape {array.shape}) hold {trouble}.")


def _pair(size, rank, option):
    values = size if isinstance(size, tuple) else (size,) * rank
    if len(values) != rank:
        raise FileError(f"{option} {by(values)} names two axes, and signals have one. For images add --rank 2.")
    return values


def _windows(args, arrays, kernel_size, rng):
    """float32 (windows, time, channels); arrays of three axes stay as they are unless --window is given."""
    for name, array in arrays:
        if array.shape[1] < kernel_size[0]:
            raise FileError(f"{name} has {array.shape[1]} samples, fewer than one filter of {kernel_size[0]}. "
                            "Give a longer recording or a smaller --kernel-size.")
    shortest = min(array.shape[1] for _, array in arrays)
    window = min(shortest, max(2048, 8 * kernel_size[0]))
    if args.window is not None:
        window = _pair(args.window, 1, "--window")[0]
        if not kernel_size[0] <= window <= shortest:
            raise FileError(f"--window {window} must lie between the filter's length, {kernel_size[0]}, and the "
                            f"shortest input, {shortest} samples.")
    elif all(len(array) > 1 for _, array in arrays):
        if any(array.shape[1] != shortest for _, array in arrays):
            raise FileError("The inputs hold windows of different lengths. Give --window N to cut them alike.")
        window = shortest
    total = sum(array.shape[0] * array.shape[1] for _, array in arrays)
    cut = []
    for _, array in arrays:
        share = None if args.limit is None else math.ceil(args.limit * array.shape[0] * array.shape[1] / total)
        cut.append(cut_windows(array, window, share, rng))
    data = np.concatenate(cut) if len(cut) > 1 else cut[0]
    if args.limit is not None and len(data) > args.limit:
        data = data[rng.permutation(len(data))[:args.limit]]
    return data


def _patches(args, arrays, kernel_size, rng):
    """float32 (patches, height, width, channels) of the images without their slow part, as ``denoise`` sees them."""
    from keras_crsae.applications.denoising.pipeline import LOW_PASS, split

    low_pass = LOW_PASS if args.low_pass is None else args.low_pass
    pictures = []
    for name, array in arrays:
        for picture in array:
            picture = unit_image(np.asarray(picture))
            pictures.append(split(gray_image(picture)[None] if args.gray else picture[None], low_pass)[1][0])
            if any(n < k for n, k in zip(picture.shape, kernel_size, strict=False)):
                raise FileError(f"{name} has {by(picture.shape[:2])} pixels, fewer than one filter of "
                                f"{by(kernel_size)}. Leave it out or use a smaller --kernel-size.")
    smallest = tuple(min(p.shape[axis] for p in pictures) for axis in (0, 1))
    size = tuple(min(n, max(64, 4 * k)) for n, k in zip(smallest, kernel_size, strict=True))
    if args.window is not None:
        size = _pair(args.window, 2, "--window")
        if any(not k <= s <= n for k, s, n in zip(kernel_size, size, smallest, strict=True)):
            raise FileError(f"--window {by(size)} must lie between the filter's size, {by(kernel_size)}, and the "
                            f"smallest image, {by(smallest)} pixels.")
    return random_patches(pictures, size, args.limit or 200, rng)


def _note_offset(data):
    """Say so when a channel does not lie around zero, as the model supposes it to."""
    middle = np.median(data, axis=(0, 1))
    spread = robust_std(data, axis=(0, 1), center=middle)
    far = np.flatnonzero(np.abs(middle) > 2 * spread)
    if len(far):
        warnings.warn(f"channel {far[0]} has a median of {middle[far[0]]:.4g}, far from zero against its noise of "
                      f"{spread[far[0]]:.4g}. The model describes data around zero: high-pass filter the recording "
                      "or subtract its median first.", stacklevel=2)


def _lambda(model):
    """Lambda, and the same over sigma: the threshold in units of the noise."""
    from keras import ops

    values, sigma = (ops.convert_to_numpy(v).astype(float) for v in (model.lambda_reg, model.sigma))  # mirrored or not
    return f"{_range(values)} ({_range(values * sigma)} / sigma)"


def _range(values):
    low, high = f"{values.min():.4g}", f"{values.max():.4g}"
    return low if low == high else f"{low} to {high}"


def _sigma(model, scale):
    from keras import ops

    sigma = float(ops.convert_to_numpy(model.sigma))
    return f"{sigma:.4g}" + (f" ({sigma * scale:.3g} of {scale:.0f})" if scale != 1 else "")


def _summary(model, history, scale, seconds):
    """What training reached, as aligned lines."""
    epochs = len(history["loss"])

    def course(name):
        return f"{history[name][0]:.5g} -> {history[name][-1]:.5g}" if epochs > 1 else f"{history[name][-1]:.5g}"

    rows = {
        "trained": f"{epochs} epochs in {seconds:.1f} s",
        "filters": f"{model.dictionary.filters} of {by(model.dictionary.kernel_size)}, "
                   f"{model.encoder.iterations} iterations, {model.get_config()['code_prior']}",
        "reconstruction loss": f"{course('reconstruction_loss')} (mean squared residual, first -> last epoch)",
        "lambda loss": course("lambda_loss"),
        "sigma": _sigma(model, scale),
        "lambda": _lambda(model),
        "sparsity": f"{history['sparsity'][-1]:.3%} of the code values are non-zero",
    }
    return "\n".join(f"  {name:20} {text}" for name, text in rows.items())
