"""Train ``denoise-poisson`` fast: ``python -m benchmarks.train_poisson``; ``--start`` goes on from earlier weights.

The same network, data and loss as ``train_denoiser(noise="poisson", peak=(1, 8))``, written for the speed of one core:
space folded 2 x 2 into channels, convolutions in bfloat16 (three times as fast where the processor has AMX), all banks
in one variable, the loss on the inner part of larger crops in place of mirrored edges. The images come from
``images/train400`` of the folder that KERAS_CRSAE_DATA names; every twentieth is kept for looking at.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np

from benchmarks import common
from benchmarks.train_zoo import train_folder

ROOT = Path(__file__).parent.parent
FILTERS, TAPS, FOLD, ITERATIONS, PEAKS = 64, 5, 2, 10, (1.0, 8.0)
#: Crops and their part at each side that is not in the loss, in pixels.
CROP, EDGE, BATCH = 80, FOLD * (TAPS - 1), 2
RATE, FLAT, WARM_UP, CLIP, FIRST_THRESHOLD = 6e-4, 0.35, 100, 0.01, 0.7
#: A loss above is no step: an outlier, or a network that diverges, which then goes back to earlier weights.
LARGEST_LOSS, MOST_BAD = 0.08, 4
#: From this part of the time on the result is an average of the weights, taken every so many steps.
AVERAGE_FROM, AVERAGE_EVERY, AVERAGE_KEPT = 0.7, 50, 0.9
#: Unit of the thresholds' offsets in the model: noise in the middle of the range.
SIGMA = 0.5


def main(arguments=None):
    """Train, and write weights and model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--start", type=Path, help="weights (.npz) of an earlier run to go on from")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "poisson" / "denoise-poisson.npz")
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    start = None if args.start is None else tuple(np.load(args.start).values())
    weights, facts = train(start or first_weights(), args.minutes, args.seed, args.output)
    np.savez(args.output, *weights)
    as_model(weights).save(args.output.with_suffix(".keras"))
    print(f"{args.output}: {facts}", flush=True)


def first_weights():
    """(banks, thresholds): a cosine basis of the lowest frequencies in every bank, scaled as ISTA with a step of 1.

    Banks are (2 iterations, taps, taps, fold^2, filters): analysis of each iteration, synthesis of each but the first,
    and the output's; thresholds (2, iterations, filters): t0 and t1 of t0 + t1 sigma.
    """
    from keras_crsae.operators.lipschitz import largest_eigenvalue

    side = FOLD * TAPS
    waves = np.cos(np.pi * (np.arange(side) + 0.5) * np.arange(side)[:, None] / side)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    order = sorted((i * i + j * j, i, j) for i in range(side) for j in range(side))[:FILTERS]
    basis = np.stack([np.outer(waves[i], waves[j]) for _, i, j in order], -1)[:, :, None].astype(np.float32)
    scale = 1 / np.sqrt(float(largest_eigenvalue(basis, (FOLD, FOLD))))
    banks = np.repeat(folded(scale * basis)[None], 2 * ITERATIONS, axis=0)
    factors = np.full((ITERATIONS, FILTERS), FIRST_THRESHOLD * scale, np.float32)
    return banks.astype(np.float32), np.stack([np.zeros_like(factors), factors])


def folded(kernel):
    """(side, side, 1, filters) as (taps, taps, fold^2, filters)."""
    taps = kernel.shape[0] // FOLD
    kernel = kernel.reshape(taps, FOLD, taps, FOLD, -1).transpose(0, 2, 1, 3, 4)
    return kernel.reshape(taps, taps, FOLD * FOLD, -1)


def network(tf, banks, thresholds, signal, sigma):
    """D z_K of a folded signal (batch, height, width, fold^2) at noise levels (batch, 1, 1, 1)."""
    def correlate(x, kernel):
        return tf.cast(tf.nn.conv2d(tf.cast(x, tf.bfloat16), kernel, 1, "VALID"), tf.float32)

    def synthesize(z, kernel):
        padded = tf.pad(tf.cast(z, tf.bfloat16), [(0, 0), (TAPS - 1,) * 2, (TAPS - 1,) * 2, (0, 0)])
        turned = tf.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
        return tf.cast(tf.nn.conv2d(padded, turned, 1, "VALID"), tf.float32)

    @tf.custom_gradient
    def shrink(z, limit):
        result = z - tf.minimum(tf.maximum(z, -limit), limit)

        def gradient(upstream):
            signs = tf.sign(result)
            part = upstream * signs
            return part * signs, -tf.reduce_sum(part, (1, 2), keepdims=True)
        return result, gradient

    kernels = tf.unstack(tf.cast(banks, tf.bfloat16))
    analysis, synthesis, output = kernels[:ITERATIONS], kernels[ITERATIONS:-1], kernels[-1]
    code = None
    for k in range(ITERATIONS):
        residual = signal if code is None else signal - synthesize(code, synthesis[k - 1])
        step = correlate(residual, analysis[k])
        code = shrink(step if code is None else code + step, tf.nn.relu(thresholds[0, k] + thresholds[1, k] * sigma))
    return synthesize(code, output)


def loss_of(tf, banks, thresholds, counts, clean, peak):
    """Mean squared error of rate / peak inside the crops."""
    from keras_crsae.models.rate_error import rates_in_units_of_peak
    from keras_crsae.problem.anscombe import ZERO, anscombe

    sigma = 1 / (anscombe(peak) - ZERO)
    signal = (anscombe(counts) - ZERO) * sigma
    mean = tf.reduce_mean(signal, (1, 2, 3), keepdims=True)
    smooth = network(tf, banks, thresholds, tf.nn.space_to_depth(signal - mean, FOLD), sigma)
    rates = rates_in_units_of_peak(tf.nn.depth_to_space(smooth, FOLD) + mean, sigma)
    return tf.reduce_mean(tf.square(rates - clean)[:, EDGE:-EDGE, EDGE:-EDGE])


def train(start, minutes, seed, path):
    """(average of the weights at the end, facts), writing the weights to ``path`` on the way."""
    import tensorflow as tf

    weights = [tf.Variable(value) for value in start]
    moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in weights]

    @tf.function
    def step(counts, clean, peak, rate, number):
        with tf.GradientTape() as tape:
            loss = loss_of(tf, *weights, counts, clean, peak)
        gradients = tape.gradient(loss, weights)
        norm = tf.linalg.global_norm(gradients)
        good = tf.logical_and(loss < LARGEST_LOSS, tf.math.is_finite(norm))
        factor = tf.where(good, tf.minimum(1.0, CLIP / (norm + 1e-12)), 0.0)
        for variable, gradient, (first, second) in zip(weights, gradients, moments, strict=True):  # Adam
            gradient = tf.where(good, factor * gradient, tf.zeros_like(gradient))
            first.assign(0.9 * first + 0.1 * gradient)
            second.assign(0.999 * second + 0.001 * tf.square(gradient))
            scale = tf.sqrt(1 - 0.999**number) / (1 - 0.9**number)
            variable.assign_sub(rate * scale * first / (tf.sqrt(second) + 1e-8))
        banks, thresholds = weights
        norms = tf.sqrt(tf.reduce_sum(tf.square(banks), (1, 2, 3), keepdims=True))
        banks.assign(banks / tf.maximum(1.0, norms))
        thresholds.assign(tf.stack([thresholds[0], tf.nn.relu(thresholds[1])]))
        return loss

    draw, losses, bad = crops(seed), [], 0
    kept = average = [v.numpy() for v in weights]
    began, shown, number = time.monotonic(), 0.0, 0
    while (share := (time.monotonic() - began) / 60 / minutes) < 1:
        number += 1
        fall = 1.0 if share < FLAT else 0.5 + 0.5 * np.cos(np.pi * (share - FLAT) / (1 - FLAT))
        rate = RATE * fall * min(1.0, number / WARM_UP)
        loss = float(step(*next(draw), tf.constant(rate, tf.float32), tf.constant(float(number))))
        bad = 0 if loss < LARGEST_LOSS else bad + 1
        if bad > MOST_BAD:
            for variable, value in zip(weights, kept, strict=True):
                variable.assign(value)
            bad = 0
        elif not bad:
            losses.append(loss)
        if number % 200 == 0 and losses and np.mean(losses[-50:]) < 1.2 * np.mean(losses[-200:]):
            kept = [v.numpy() for v in weights]
        if number % AVERAGE_EVERY == 0:
            keep = AVERAGE_KEPT if share > AVERAGE_FROM else 0.0
            average = [keep * a + (1 - keep) * v.numpy() for a, v in zip(average, weights, strict=True)]
        if time.monotonic() - shown > 120:
            shown = time.monotonic()
            np.savez(path, *average)
            print(f"step {number}, {share * minutes:.1f} min: PSNR {-10 * np.log10(np.mean(losses[-400:])):.2f} dB",
                  flush=True)
    return average, {"steps": number, "minutes": minutes, "cpu_minutes": time.process_time() / 60}


def crops(seed):
    """Endless batches (counts, clean, peak) of turned and flipped crops."""
    from keras_crsae.data.images import load_images

    rng = np.random.default_rng(seed)
    images = [image[..., 0] / np.float32(image.max()) for image in load_images(train_folder())]
    images = [image for index, image in enumerate(images) if index % 20]
    while True:
        clean = np.empty((BATCH, CROP, CROP, 1), np.float32)
        for one in clean:
            image = images[rng.integers(len(images))]
            row, column = (rng.integers(n - CROP + 1) for n in image.shape)
            crop = np.rot90(image[row:row + CROP, column:column + CROP], rng.integers(4))
            one[..., 0] = crop[:, ::-1] if rng.random() < 0.5 else crop
        peak = np.exp(rng.uniform(*np.log(PEAKS), (BATCH, 1, 1, 1))).astype(np.float32)
        yield rng.poisson(clean * peak).astype(np.float32), clean, peak


def as_model(weights):
    """The ``CDLNet`` of trained weights, with what it was trained for."""
    from keras_crsae.applications.denoising import DenoiserTraining
    from keras_crsae.models import CDLNet

    banks, thresholds = weights
    filters, side = banks.shape[-1], FOLD * TAPS
    unfolded = banks.reshape(-1, TAPS, TAPS, FOLD, FOLD, filters).transpose(0, 1, 3, 2, 4, 5)
    unfolded = unfolded.reshape(-1, side, side, 1, filters)
    settings = DenoiserTraining.poisson(crop_pixels=CROP, batch_size=BATCH, learning_rate=RATE, flat_share=FLAT)
    settings = {**settings.resolve(SIGMA).to_dict(), "noise": "poisson", "peak": list(PEAKS)}
    model = CDLNet(filters, side, strides=FOLD, iterations=ITERATIONS, sigma=SIGMA, seed=0, training_settings=settings)
    model.build((None, None, None, 1))
    encoder = model.encoder
    encoder.analysis.kernel.assign(np.concatenate(list(unfolded[:ITERATIONS]), axis=-1))
    encoder.synthesis.kernel.assign(np.concatenate(list(unfolded[ITERATIONS:-1]), axis=-1))
    model.dictionary.kernel.assign(unfolded[-1])
    encoder.factors.assign(thresholds[1])
    encoder.offsets.assign(thresholds[0] / SIGMA)
    return model


if __name__ == "__main__":
    main()
