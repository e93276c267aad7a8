"""The graph of an encoder of counts, against the same iterations in NumPy (no Keras)."""

import dataclasses

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from crsae_onnx.core.spec import SIZE_NAMES, EncoderSpec
from crsae_onnx.core.spec_parts import StepSearch
from crsae_onnx.graph import pipelines
from crsae_onnx.graph.folding import fold_encoder

from .test_encoder import adjoint, synthesis

MEANS = {"poisson": np.exp, "binomial": lambda eta: 1 / (1 + np.exp(-eta))}
PARTITIONS = {"poisson": np.exp, "binomial": lambda eta: np.logaddexp(0, eta)}


def counts_spec(rng, likelihood="poisson", search=True, iterations=25, strides=1, channels=2, **changes):
    kernel = rng.standard_normal((7, channels, 3))
    kernel /= np.sqrt(np.square(kernel).sum(axis=(0, 1)))
    rates = rng.uniform(1.0, 2.0, 3) * (1.0 if likelihood == "poisson" else 0.3)
    values = dict(kernel=kernel, decoder_kernel=rng.standard_normal(kernel.shape) / 7, strides=(strides,),
                  step_size=0.1, lambda_reg=rates, sigma=np.max(changes.get("size", 1.0)) ** -0.5,
                  momentum=np.arange(iterations) / (np.arange(iterations) + 3), block=(4,), likelihood=likelihood,
                  baseline=rng.uniform(-0.5, 1.0, channels), search=StepSearch() if search else None)
    return EncoderSpec(**{**values, **changes})  # sigma^2 = 1 / size


def encode(spec, counts, size=None, mask=None, baseline=None):
    """(code, eta) in float64. Padded samples are not observed."""
    (length,), (stride,) = spec.kernel_size, spec.strides
    size = spec.size if size is None else size
    size = np.broadcast_to(size, counts.shape) * (1.0 if mask is None else mask)
    largest = np.maximum(size.max(axis=(1, 2), keepdims=True), 1e-30)
    y, weight = np.where(size > 0, counts / np.maximum(size, 1e-30), 0.0), size / largest
    positions = -(-(counts.shape[1] - length) // stride) + 1
    padding = ((0, 0), (0, (positions - 1) * stride + length - counts.shape[1]), (0, 0))
    y, weight = np.pad(y, padding), np.pad(weight, padding)
    mu = (spec.baseline if baseline is None else baseline[:, None]).astype(float)
    kernel, penalty = spec.kernel.astype(float), spec.lambda_reg / largest
    mean, partition = MEANS[spec.likelihood], PARTITIONS[spec.likelihood]

    def shrink(moved, threshold):
        new = np.maximum(moved - threshold, 0)
        return new - np.maximum(-moved - threshold, 0) if spec.code_prior == "soft" else new

    x = w = np.zeros((len(counts), positions, spec.filters))
    step = np.full_like(largest, spec.step_size)
    if spec.search is None:
        for factor in spec.momentum:
            residual = weight * (y - mean(synthesis(w, kernel, stride) + mu))
            new = shrink(w + step * adjoint(residual, kernel, stride), step * penalty)
            x, w = new, new + factor * (new - x)
    else:
        if spec.search.by_data:
            silent, most = mean(mu).max(axis=-1, keepdims=True), (weight * y).max(axis=(1, 2), keepdims=True)
            step = step / np.maximum(silent, most / 2)
        t, steepest = np.ones_like(step), np.full_like(step, 1e-30)
        for k in range(1, spec.iterations + 1):
            eta = synthesis(w, kernel, stride) + mu
            step = np.minimum(step, 1.0 / steepest)
            new = shrink(w + step * adjoint(weight * (y - mean(eta)), kernel, stride), step * penalty)
            change = synthesis(new, kernel, stride) + mu - eta
            above = weight * (partition(eta + change) - partition(eta) - mean(eta) * change)
            if spec.likelihood == "poisson":  # Likelihood.step_excess
                least = np.maximum(change, -6)
                above = weight * change**2 / 2 * np.exp(eta + least / 3 + least**2 / 36)
            allowed = np.square(new - w).sum(axis=(1, 2), keepdims=True) / (2 * step)
            taken = above.sum(axis=(1, 2), keepdims=True) <= (1 + 1e-4) * allowed
            if k % 10 == 0:
                variance = weight * mean(eta) * (1 if spec.likelihood == "poisson" else 1 - mean(eta))
                moving = np.where(new == 0, 0, adjoint(variance, np.abs(kernel), stride))
                rows = np.where(weight > 0, synthesis(moving, np.abs(kernel), stride), 0)
                steepest = np.maximum(rows.max(axis=(1, 2), keepdims=True), 1e-30)
            t_next = np.minimum(t + 0.5, 50)
            w = np.where(taken, new + (t - 1) / t_next * (new - x), w)
            x, t = np.where(taken, new, x), np.where(taken, t_next, t)
            step = step * np.where(taken, np.where(allowed > 0, 1 / 0.97, 1.0), 0.5)
    return x, synthesis(x, spec.decoder_kernel, stride)[:, :counts.shape[1]] + mu


def run(spec, counts, inputs=("signal",), feed=None, **options):
    model = pipelines.build(fold_encoder(spec, **options), ("code", "eta", "mean"), inputs)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {name: np.asarray(value, np.float32) for name, value in {"signal": counts, **(feed or {})}.items()}
    return session.run(["code", "eta", "mean"], feed)


def compare(spec, counts, loop=True, feed=None, **expected):
    made = run(spec, counts, ("signal", *(feed or {})), feed, loop=loop)
    code, eta = encode(spec, counts, **expected)
    assert 0 < np.count_nonzero(code) < code.size
    for value, wanted in zip(made, (code, eta, MEANS[spec.likelihood](eta)), strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-4 * np.abs(wanted).max())


def draw(rng, spec, time, batch=3, size=1.0):
    positions = -(-(time - 7) // spec.strides[0]) + 1
    code = (rng.random((batch, positions, 3)) < 0.1) * rng.uniform(1, 2, (batch, positions, 3))
    mean = MEANS[spec.likelihood](synthesis(code, spec.kernel, spec.strides[0])[:, :time] + spec.baseline)
    size = np.broadcast_to(size, mean.shape)
    return rng.poisson(size * mean) if spec.likelihood == "poisson" else rng.binomial(size.astype(int), mean)


@pytest.mark.parametrize("likelihood", MEANS)
@pytest.mark.parametrize("changes", [
    {}, dict(code_prior="soft"), dict(strides=3), dict(block=None), dict(search=False, step_size=0.02),
    dict(search=False, step_size=0.02, strides=3, code_prior="soft"), dict(size=20.0, lambda_reg=[8.0])])
def test_code_eta_and_mean_are_those_of_the_iterations(likelihood, changes, rng):
    spec = counts_spec(rng, likelihood, **changes)
    for time, loop in ((41, True), (43, False)):
        compare(spec, draw(rng, spec, time, size=spec.size), loop)


@pytest.mark.parametrize("likelihood", MEANS)
@pytest.mark.parametrize("search", [True, False])
def test_masks_sizes_and_baselines_are_inputs(likelihood, search, rng):
    spec = counts_spec(rng, likelihood, search, step_size=0.02, lambda_reg=[3.0])
    name = SIZE_NAMES[likelihood]
    for time, per_sample in ((29, False), (42, True)):
        size = rng.integers(5, 20, (3, time, 2) if per_sample else (3, 1, 1))
        counts = draw(rng, spec, time, size=size)
        mask = rng.random(counts.shape) < 0.8
        baseline = rng.uniform(-0.5, 0.5, (3, 2))
        compare(spec, counts, feed={"mask": mask, name: size, "baseline": baseline}, size=size, mask=mask,
                baseline=baseline)
    spec = counts_spec(rng, likelihood, search, step_size=0.02)
    counts = draw(rng, spec, 41)
    mask = rng.random(counts.shape) < 0.8
    compare(spec, np.where(mask, counts, 77), feed={"mask": mask}, mask=mask)


def test_a_size_of_each_sample_may_be_the_model_s(rng):
    spec = counts_spec(rng)
    size = rng.uniform(0.5, 3.0, (40, 1))
    spec = dataclasses.replace(spec, size=size, sigma=size.max() ** -0.5)
    compare(spec, draw(rng, spec, 40, size=size))


def test_silent_and_loud_signals_keep_their_own_steps(rng):
    spec = counts_spec(rng, iterations=60, lambda_reg=[2.0], step_size=1.0)
    counts = draw(rng, spec, 40)
    counts = np.stack([counts[0], 0 * counts[0], 1000 * counts[0]])
    whole = run(spec, counts)
    for one, code in zip(counts, whole[0], strict=True):
        np.testing.assert_allclose(run(spec, one[None])[0][0], code, atol=1e-4 * max(np.abs(code).max(), 1))
    assert all(np.isfinite(array).all() for array in whole) and np.count_nonzero(whole[0][2])


def test_a_tolerance_ends_the_search_when_no_signal_moves(rng):
    spec = counts_spec(rng, iterations=400)
    counts = draw(rng, spec, 40, batch=1)
    codes = {n: encode(dataclasses.replace(spec, momentum=np.zeros(n)), counts)[0] for n in range(10, 410, 10)}
    change = {n: np.linalg.norm(codes[n] - codes[n - 10]) / np.linalg.norm(codes[n]) for n in range(20, 410, 10)}
    end = next(n for n in range(40, 410, 10) if change[n] < 0.7 * min(change[m] for m in range(20, n, 10)))
    tolerance = np.sqrt(change[end] * min(change[m] for m in range(20, end, 10)))
    code = run(spec, counts, tolerance=tolerance)[0]
    np.testing.assert_allclose(code, codes[end], atol=1e-4 * code.max())
