"""Units found in whitened signals: the right number and the right shapes."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.correlations import gram

from keras_crsae.applications.spike_sorting import discovery
from keras_crsae.applications.spike_sorting.discovery import WaveformSpan, discover_units
from keras_crsae.applications.spike_sorting.matching import match_templates
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


def test_wide_probes_are_searched_in_parts_first_which_keep_rare_units(unit_signal, monkeypatch):
    signal, rare = unit_signal.copy(), np.zeros((SPAN.kernel_size, 2), np.float32)
    rare[10:26] = 7 * np.hanning(16)[:, None] * [1.0, -1.0]
    for start in range(700, len(signal) - 700, len(signal) // 22):  # every other one may lie outside of the parts
        signal[start:start + SPAN.kernel_size] = rare + np.random.default_rng(start).normal(size=rare.shape)
    lengths = []

    def match(white, *given):
        lengths.append(len(white))
        return match_templates(white, *given)

    monkeypatch.setattr(discovery, "match_templates", match)
    monkeypatch.setattr(discovery, "_PART_SAMPLES", 5000)
    templates, _ = discover_units(signal, signal, RATE, SPAN, seed=0, parameters=SortingParameters(
        wide_probe_channels=1, discovery_values=signal.size // 2))
    assert lengths[0] == len(signal) // 2 and lengths[-1] == len(signal)
    assert len(templates) == 4
    overlap = gram(np.concatenate([as_kernel(templates), as_kernel(rare[None])], axis=2))[-1, :-1].max(axis=1)
    assert overlap.max() > 0.95


def test_the_part_of_a_wide_probe_is_no_longer_than_the_signal():
    few = SortingParameters(wide_probe_channels=1, discovery_values=1)
    for samples, length in ((100_000, 100_000), (300_000, 131_072)):
        assert len(discovery._spread_part(np.zeros((samples, 2), np.float32), few)) == length


def test_noise_holds_no_units():
    noise = np.random.default_rng(1).normal(size=(5 * RATE, 2)).astype(np.float32)
    templates, reasons = discover_units(noise, noise, RATE, SPAN, seed=0)
    assert len(templates) == 0 and all("dropped" in r for r in reasons)
