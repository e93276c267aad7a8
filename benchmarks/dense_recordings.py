"""Templates learned from recordings with drift and hum, with dense filters and without.

    python -m benchmarks.dense_recordings [--short]

40 windows of 1,500 samples at 10 kHz hold three templates of 24 samples in noise of 1, a drift of two slow sines and a
hum of 50 Hz. Both models begin with the same templates at an error of 0.45 and learn for 16 epochs.
"""

import numpy as np

from benchmarks import common

SAMPLES, RATE, KERNEL, FILTERS = 1500, 10_000, 64, 3
#: Sparse filters alone, and the same with one dense filter at this penalty.
VARIANTS = {"sparse": {}, "dense and sparse": {"dense_filters": 1, "dense_penalty": 3.0}}


def simulate(windows, seed=0):
    """Recording (windows, samples, 1) float32 and its templates (kernel, 1, filters)."""
    import keras_crsae as kc

    edge = (KERNEL - 24) // 2
    templates = np.pad(kc.data.spike_templates(kernel_size=24, filters=FILTERS), ((edge, edge), (0, 0), (0, 0)))
    made = kc.data.simulate_spikes(templates, windows=windows, samples=SAMPLES, events_per_window=7, seed=seed)
    time = np.arange(windows * SAMPLES) / RATE
    slow = 6 * np.sin(2 * np.pi * time + 1 + seed) + 4 * np.sin(2 * np.pi * 3 * time)
    hum = 4 * np.sin(2 * np.pi * 50 * time)
    return (made.signal + (slow + hum).reshape(made.signal.shape)).astype("float32"), templates


def learned_errors(name, windows, epochs, seed=0):
    """Errors of the templates after learning, (filters,)."""
    import keras

    import keras_crsae as kc

    keras.utils.set_random_seed(seed)
    signal, templates = simulate(windows, seed)
    model = kc.CRsAE(FILTERS, KERNEL, iterations=40, sigma="estimate", gradient="decoder", seed=seed, **VARIANTS[name])
    model.adapt(signal)
    dense = np.asarray(model.dictionary.kernel)[..., FILTERS:]
    first = kc.data.perturb_filters(templates, 0.45, seed=2 + seed)
    model.set_dictionary(np.concatenate([first, dense], axis=-1))
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(signal, epochs=epochs, batch_size=8, verbose=0)
    return kc.metrics.dictionary_error(templates, np.asarray(model.dictionary.kernel)[..., :FILTERS])


def main(arguments=None):
    """Measure both and write the table."""
    parser = common.parser(__doc__.splitlines()[0], threads=1)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    windows, epochs, seeds = (4, 1, 1) if args.short else (40, 16, args.seeds)
    described, rows, data = common.machine(args.threads), [], {}
    for name in VARIANTS:
        found = [learned_errors(name, windows, epochs, seed) for seed in range(seeds)]
        data[name] = [errors.tolist() for errors in found]
        rows.append([name, f"{np.mean(found):.2f}", f"{np.max(found):.2f}",
                     "; ".join(", ".join(f"{e:.2f}" for e in errors) for errors in found)])
    headers = ["filters", "mean error of the templates", "largest", "each, by seed"]
    section = common.report("dense_recordings", args, headers, rows, data, "after learning, error at first 0.45")
    return common.save("dense_recordings", args, described, [section])


if __name__ == "__main__":
    main()
