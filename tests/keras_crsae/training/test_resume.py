"""Training interrupted, saved, loaded in a new process and resumed is training in one go."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates

RESUME = """
import sys
import keras, numpy as np
import keras_crsae
folder, epochs = sys.argv[1], int(sys.argv[2])
model = keras.saving.load_model(folder + "/half.keras")
signal = np.load(folder + "/signal.npy")
model.fit(signal, initial_epoch=3, epochs=epochs, batch_size=8, shuffle=False, verbose=0)
groups = (model.weights, model.optimizer.variables, model.lambda_optimizer.variables)
np.savez(folder + "/resumed.npz", *[keras.ops.convert_to_numpy(v) for group in groups for v in group])
"""


@pytest.mark.parametrize("options", [
    dict(lambda_learning="em", gradient="unrolled"),
    dict(lambda_learning="em_closed_form", gradient="decoder", sigma=1.2, sigma_learning=True, sigma_rate=0.1,
         lambda_shared=True, lambda_prior=kc.GammaPrior(strength=9.0))], ids=["em", "closed form, sigma learned"])
def test_training_resumed_in_a_new_process_equals_training_in_one_go(tmp_path, options):
    filters = spike_templates(21, 3)
    signal = simulate_spikes(filters, windows=24, samples=200, events_per_window=1, seed=4).signal
    np.save(tmp_path / "signal.npy", signal)

    def fresh():
        model = kc.CRsAE(3, 21, iterations=10, seed=0, **options)
        model.set_dictionary(perturb_filters(filters, 0.45, seed=5))
        model.compile(keras.optimizers.Adam(1e-2))
        return model

    fitting = dict(batch_size=8, shuffle=False, verbose=0)
    whole, half = fresh(), fresh()
    whole.fit(signal, epochs=6, **fitting)
    half.fit(signal, epochs=3, **fitting)
    half.save(tmp_path / "half.keras")
    root = pathlib.Path(__file__).parents[3]
    made = subprocess.run([sys.executable, "-c", RESUME, str(tmp_path), "6"], cwd=root, capture_output=True, text=True,
                          env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert made.returncode == 0, made.stderr
    with np.load(tmp_path / "resumed.npz") as file:
        resumed = list(file.values())
    variables = [*whole.weights, *whole.optimizer.variables, *whole.lambda_optimizer.variables]
    assert len(resumed) == len(variables)
    moved = keras.ops.convert_to_numpy(half.dictionary.kernel) - keras.ops.convert_to_numpy(whole.dictionary.kernel)
    assert np.abs(moved).max() > 1e-3
    for variable, value in zip(variables, resumed, strict=True):
        np.testing.assert_allclose(value, keras.ops.convert_to_numpy(variable), atol=1e-6, rtol=1e-6,
                                   err_msg=variable.path)
