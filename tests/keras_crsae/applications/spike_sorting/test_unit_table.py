"""Statistics of units as text."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.unit_table import unit_table


def test_the_table_describes_the_simulated_units(sorted_spikes):
    recording, simulated, result = sorted_spikes
    columns = unit_table(result)
    assert columns["unit"] == ["0", "1"] and columns["presence"] == ["-", "-"]  # shorter than a minute
    truth = np.sort((simulated.code[0] > 0).sum(axis=0))
    np.testing.assert_allclose(np.sort(np.array(columns["spikes"], int)), truth, atol=2)
    for unit in range(2):
        assert float(columns["rate (Hz)"][unit]) == pytest.approx(int(columns["spikes"][unit]) / 5, abs=0.01)
        size = abs(float(columns["amplitude"][unit]))
        assert float(columns["SNR"][unit]) == pytest.approx(size / result.noise[0], rel=0.05)
        assert columns["< 1.5 ms"][unit] == "0 (0.00%)"  # the simulation leaves 3 ms
