"""Small spikes of other neurons are told from a unit's own."""

import dataclasses

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.background import background_border, least_amplitudes
from keras_crsae.applications.spike_sorting.matching import UnitSpikes
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS


@pytest.mark.parametrize("deviation", [0.05, 0.12])
def test_amplitudes_of_one_neuron_have_no_border(rng, deviation):
    for count in (60, 400, 3000):
        assert background_border(rng.normal(1, deviation, count)) is None
    heavy = 1 + deviation * rng.standard_t(4, 1000)
    assert background_border(heavy) is None, "what varies to both sides is the unit"


def test_smaller_spikes_of_others_are_left_out_and_told(rng):
    own, others = rng.normal(16, 1.5, 400), rng.uniform(8, 13, 90)
    shape = np.hanning(30)[None, :, None]
    template = shape * 16 / np.linalg.norm(shape)
    spikes = UnitSpikes(template, np.arange(490), np.zeros(490, int), np.append(own, others))
    least, messages = least_amplitudes(spikes)
    kept = spikes.code_amplitude >= 16 * least[0]
    assert np.count_nonzero(kept[:400]) > 380 and np.count_nonzero(kept[400:]) < 30
    assert "unit 0" in messages[0]
    known = dataclasses.replace(DEFAULTS, minimum_background_bic_difference=1e9)
    assert least_amplitudes(spikes, known)[0].tolist() == [0.0]
