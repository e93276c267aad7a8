"""Shared fixtures. TensorFlow's start-up chatter and onnxruntime's reports are silenced before they are imported."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import keras
import numpy as np
import pytest

from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates


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
