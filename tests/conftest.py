"""Shared fixtures. TensorFlow's start-up chatter and onnxruntime's reports are silenced before they are imported."""

import gc
import os
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates


def pytest_collection_finish():
    """What imports made is never garbage: searching its million objects again and again took a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def eagerly():
    """Training and ``predict`` run operation by operation: a graph costs more than a few small steps."""
    tf.config.run_functions_eagerly(True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Even though the `tf.config", UserWarning)
        yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def spikes():
    """Three filters of 21 samples, 32 windows of 300: small, yet alive."""
    return simulate_spikes(spike_templates(21, 3), windows=32, samples=300, events_per_window=3, seed=1)


@pytest.fixture(scope="session")
def near_filters(spikes):
    return perturb_filters(spikes.filters, 0.45, seed=2)


@pytest.fixture(scope="session")
def sorted_spikes():
    """(recording int16 (samples, 1), simulation, sorting result) of 5 s at 10 kHz with two units."""
    pytest.importorskip("sklearn", reason="the extra `spikes` is not installed")
    from keras_crsae.applications.spike_sorting import SortingParameters, sort

    made = simulate_spikes(spike_templates(24, 2, seed=3), windows=1, samples=50000, events_per_window=60,
                           amplitude=(16.0, 1.0), refractory=30, seed=1)
    recording = np.round(20 * made.signal[0]).astype("int16")
    return recording, made, sort(recording, 10000, parameters=SortingParameters(epochs=1, iterations=30))
