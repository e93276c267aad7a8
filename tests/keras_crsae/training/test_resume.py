"""Training interrupted, saved, loaded in a new process and resumed is training in one go."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np

import keras_crsae as kc
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates

RESUME = """
import sys
import keras, numpy as np
import keras_crsae
for folder in sys.argv[1:]:
    model = keras.saving.load_model(folder + "/half.keras")
    signal = np.load(folder + "/signal.npy")
    model.fit(signal, initial_epoch=3, epochs=6, batch_size=8, shuffle=False, verbose=0)
    groups = (model.weights, model.optimizer.variables, model.lambda_optimizer.variables)
    np.savez(folder + "/resumed.npz", *[keras.ops.convert_to_numpy(v) for group in groups for v in group])
"""
FILTERS = spike_templates(21, 3)
OPTIONS = {
    "em": dict(lambda_learning="em", gradient="unrolled"),
    "closed form, sigma learned": dict(
        lambda_learning="em_closed_form", gradient="decoder", sigma=1.2, sigma_learning=True, sigma_rate=0.1,
        lambda_shared=True, lambda_prior=kc.GammaPrior(strength=9.0))}


def check_resumed(folder, whole, half):
    with np.load(folder / "resumed.npz") as file:
        resumed = list(file.values())
    variables = [*whole.weights, *whole.optimizer.variables, *whole.lambda_optimizer.variables]
    assert len(resumed) == len(variables)
    moved = keras.ops.convert_to_numpy(half.dictionary.kernel) - keras.ops.convert_to_numpy(whole.dictionary.kernel)
    assert np.abs(moved).max() > 1e-3
    for variable, value in zip(variables, resumed, strict=True):
        np.testing.assert_allclose(value, keras.ops.convert_to_numpy(variable), atol=1e-6, rtol=1e-6,
                                   err_msg=f"{folder.name}, {variable.path}")


def test_training_resumed_in_a_new_process_equals_training_in_one_go(tmp_path):
    signal = simulate_spikes(FILTERS, windows=24, samples=200, events_per_window=1, seed=4).signal
    fitting, models = dict(batch_size=8, shuffle=False, verbose=0), {}
    for name, options in OPTIONS.items():
        models[tmp_path / name] = made = []
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "signal.npy", signal)
        for epochs in (6, 3):
            model = kc.CRsAE(3, 21, iterations=10, seed=0, **options)
            model.set_dictionary(perturb_filters(FILTERS, 0.45, seed=5))
            model.compile(keras.optimizers.Adam(1e-2))
            model.fit(signal, epochs=epochs, **fitting)
            made.append(model)
        model.save(tmp_path / name / "half.keras")
    made = subprocess.run([sys.executable, "-c", RESUME, *map(str, models)], cwd=pathlib.Path(__file__).parents[3],
                          capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert made.returncode == 0, made.stderr
    for folder, (whole, half) in models.items():
        check_resumed(folder, whole, half)
