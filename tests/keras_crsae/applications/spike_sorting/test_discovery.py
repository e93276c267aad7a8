"""Units found in whitened signals: the right number and the right shapes."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.discovery import WaveformSpan, discover_units
from keras_crsae.applications.spike_sorting.parameters import SortingParameters
from keras_crsae.applications.spike_sorting.templates import as_kernel, template_norms
from keras_crsae.metrics import dictionary_error

RATE = 20_000
SPAN = WaveformSpan(kernel_size=40, before=14, refractory=20)


@pytest.fixture(scope="module")
def discovered(unit_signal):
    return discover_units(unit_signal, unit_signal, RATE, SPAN, seed=0)


def test_each_round_is_reported_before_it_begins(unit_signal):
    told = []
    discover_units(unit_signal, unit_signal, RATE, SPAN, seed=0, parameters=SortingParameters(discovery_rounds=2),
                   progress=lambda text, fraction: told.append((text, fraction)))
    assert [fraction for _, fraction in told] == [0.0, 1 / 3, 2 / 3]
    assert told[0][0] == "waveforms are clustered" and told[1][0].startswith("round 1 of at most 2")


def test_every_unit_is_found_and_no_other(discovered, unit_shapes):
    templates, _ = discovered
    assert len(templates) == 3
    assert dictionary_error(as_kernel(unit_shapes), as_kernel(templates)).max() < 0.25
    np.testing.assert_allclose(np.sort(template_norms(templates)), [9.0, 14.0, 16.0], rtol=0.08)


def test_the_same_seed_finds_the_same(discovered, unit_signal):
    again, _ = discover_units(unit_signal, unit_signal, RATE, SPAN, seed=0)
    np.testing.assert_array_equal(again, discovered[0])


def test_noise_holds_no_units():
    noise = np.random.default_rng(1).normal(size=(5 * RATE, 2)).astype(np.float32)
    templates, reasons = discover_units(noise, noise, RATE, SPAN, seed=0)
    assert len(templates) == 0 and all("dropped" in r for r in reasons)
