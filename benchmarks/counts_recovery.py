"""Filters learned from counts, against the truth: 25 trials with overlapping events, and single trials.

    python -m benchmarks.counts_recovery [--seeds 5] [--case trials single onsets two lambda]

``lambda`` asks which lambda is best: Donoho's, held, or EM's with a prior of some strength. Prints a line for each seed
and model, and the means; ``--out`` writes them as JSON. One process, a few minutes a case.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_crsae as kc
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates


def sigmoid(eta: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-eta))


def overlapping_trials(seed: int) -> dict[str, Any]:
    """200 windows of 500 samples, 25 trials, three templates of 50 with 1.5 events each in a window, rate at -3.5."""
    filters = -spike_templates(50, 3, seed=seed)
    made = simulate_spikes(filters, windows=200, samples=500, events_per_window=1.5, amplitude=(16.0, 1.6), seed=seed)
    counts = np.random.default_rng(seed + 1000).binomial(25, sigmoid(made.clean - 3.5))
    return dict(filters=filters, counts=counts, code=made.code, trials=25,
                start=perturb_filters(filters, 0.45, seed=seed + 5))


def single_trials(seed: int, kernels: int = 1) -> dict[str, Any]:
    """100 trials of 3 s in bins of 5 ms, 8 Hz, five events each of a kernel of 125 ms that adds up to 3.3 to eta."""
    time_ = np.arange(25) / 25
    shapes = [np.exp(-0.5 * ((time_ - 0.4) / 0.15) ** 2), np.exp(-0.5 * ((time_ - 0.25) / 0.06) ** 2)
              + 0.8 * np.exp(-0.5 * ((time_ - 0.75) / 0.08) ** 2)][:kernels]
    filters = np.stack([shape / np.linalg.norm(shape) for shape in shapes], axis=-1)[:, None]
    made = simulate_spikes(filters, windows=100, samples=600, events_per_window=5 / kernels,
                           amplitude=(9.84, 1.34), seed=seed)
    counts = np.random.default_rng(seed + 1000).binomial(5, sigmoid(made.clean + np.log(0.008 / 0.992)))
    noise = np.abs(np.random.default_rng(seed + 5).standard_normal((25, 1, kernels)))
    return dict(filters=filters, counts=counts, code=made.code, trials=5,
                start=noise * np.hanning(27)[1:-1, None, None])


def from_near(data: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same data, to be learned from filters at an error of .45."""
    return {**data, "start": perturb_filters(data["filters"], 0.45, seed=seed + 5)}


def train(data: dict[str, Any], epochs: int, support: Any = None, learning_rate: float = 2e-2, batch_size: int = 20,
          **options: Any) -> kc.CRsAE:
    """A model of these counts after ``epochs``, its learning rate falling to zero."""
    counts = data["counts"]
    model = kc.CRsAE(data["filters"].shape[-1], len(data["filters"]), gradient="decoder", seed=0, **options)
    model.set_dictionary(data["start"])
    model.adapt(counts)
    steps = epochs * -(-len(counts) // batch_size)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)))
    model.fit(counts, epochs=epochs, batch_size=batch_size, verbose=0, support=support)
    return model


def binomial(data: dict[str, Any], **options: Any) -> kc.CRsAE:
    return train(data, **{"likelihood": "binomial", "trials": data["trials"], "lambda_learning": None, **options})


CASES: dict[str, dict[str, Callable[[int], tuple[dict[str, Any], kc.CRsAE]]]] = {}


def case(group: str, name: str, make: Callable[[int], dict[str, Any]],
         fit: Callable[[dict[str, Any]], kc.CRsAE]) -> None:
    def run(seed: int) -> tuple[dict[str, Any], kc.CRsAE]:
        data = make(seed)
        return data, fit(data)

    CASES.setdefault(group, {})[name] = run


SMOOTH = kc.regularizers.Smoothness
case("trials", "binomial", overlapping_trials, lambda d: binomial(d, epochs=8, iterations=60, refit_distance=9))
case("trials", "binomial, plain codes", overlapping_trials, lambda d: binomial(d, epochs=8, iterations=60))
case("trials", "gaussian", overlapping_trials, lambda d: train(
    {**d, "counts": d["counts"] - d["counts"].mean()}, epochs=8, iterations=60, sigma="estimate"))
case("single", "binomial", single_trials, lambda d: binomial(
    d, epochs=20, iterations=60, refit_distance=13, kernel_regularizer=SMOOTH(1e-2)))
case("onsets", "binomial", single_trials, lambda d: binomial(
    d, epochs=20, iterations=60, support=d["code"] > 0, lambda_init=0.05, kernel_regularizer=SMOOTH(3e-3)))
case("two", "binomial, from error .45", lambda seed: from_near(single_trials(seed, 2), seed), lambda d: binomial(
    d, epochs=20, iterations=60, refit_distance=9, kernel_regularizer=SMOOTH(3e-3)))
for text, lambdas in {
        "Donoho's, held": dict(lambda_learning=None),
        **{f"EM, strength {strength:g}": dict(lambda_learning="em_closed_form",
                                              lambda_prior=kc.GammaPrior(strength=strength))
           for strength in (1.0, 4.0, 10.0)}}.items():
    case("lambda", f"25 trials, {text}", overlapping_trials, lambda d, lambdas=lambdas: binomial(
        d, epochs=8, iterations=60, refit_distance=9, **lambdas))
    case("lambda", f"single trials, {text}", single_trials, lambda d, lambdas=lambdas: binomial(
        d, epochs=20, iterations=60, refit_distance=13, kernel_regularizer=SMOOTH(1e-2), **lambdas))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--case", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict[str, dict[str, list[list[float]]]] = {}
    for group in arguments.case:
        for name, run in CASES[group].items():
            rows = found.setdefault(group, {}).setdefault(name, [])
            for seed in range(arguments.seeds):
                began = time.perf_counter()
                data, model = run(seed)
                learned = keras.ops.convert_to_numpy(model.dictionary.kernel)
                error = kc.metrics.dictionary_error(data["filters"], learned)
                rows.append(error.round(4).tolist())
                base = "" if model.baseline is None else f", baseline {float(model.baseline[0]):.2f}"
                base += f", lambda {float(keras.ops.mean(model.lambda_reg)):.2f}"
                print(f"{group}, {name}, seed {seed}: {error.round(3)} mean {error.mean():.3f}{base}, "
                      f"{time.perf_counter() - began:.0f} s", flush=True)
            print(f"{group}, {name}: mean {np.mean(rows):.3f}, worst seed {np.max(np.mean(rows, axis=1)):.3f}")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
