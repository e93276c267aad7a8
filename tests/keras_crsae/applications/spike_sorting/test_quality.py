"""Quality metrics: the same numbers as SpikeInterface's, and sensible ones at the edges."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting import quality
from keras_crsae.applications.spike_sorting.noise import channel_noise

FS = 20000.0


@pytest.fixture(scope="module")
def trains():
    """(samples, units) with many short intervals, a unit that stops half-way, one that bursts, one with a spike."""
    rng = np.random.default_rng(0)
    samples = int(70 * FS)
    parts = [rng.integers(0, samples, 2000), rng.integers(0, samples // 2, 300),
             (rng.integers(0, samples - 100, 200)[:, None] + np.array([0, 15, 30])).ravel(), np.array([5])]
    times = np.concatenate(parts)
    labels = np.repeat(np.arange(4), [len(p) for p in parts])
    order = np.argsort(times, kind="stable")
    return times[order], labels[order], samples


@pytest.mark.filterwarnings("ignore")  # SpikeInterface's and pandas' own
@pytest.mark.parametrize("bin_seconds", [60.0, 7.0])
def test_quality_equals_spikeinterface(trains, bin_seconds):
    si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
    pytest.importorskip("pandas", reason="spikeinterface[metrics] is not installed")
    from spikeinterface.metrics import compute_quality_metrics

    times, labels, samples = trains
    rng = np.random.default_rng(1)
    traces = rng.normal(0, [3.0, 6.0, 4.0], (samples, 3)).astype("float32")
    wave = np.array([-20.0, -60.0, -25.0, 10.0], "float32")
    for time, label in zip(times, labels, strict=True):
        if time + 3 < samples and time > 0:
            traces[time - 1:time + 3, label % 3] += wave * (1 + label)
    recording = si.NumpyRecording([traces], FS)
    recording.set_dummy_probe_from_locations(np.array([[0.0, 0.0], [0.0, 30.0], [0.0, 60.0]]))
    sorting = si.NumpySorting.from_samples_and_labels([times], [labels], FS)
    analyzer = si.create_sorting_analyzer(sorting, recording, sparse=False, main_channel_peak_sign="both",
                                          main_channel_peak_mode="extremum")
    analyzer.compute(["random_spikes", "templates", "noise_levels"], progress_bar=False)
    theirs = compute_quality_metrics(
        analyzer, metric_names=["num_spikes", "firing_rate", "presence_ratio", "isi_violation", "rp_violation", "snr"],
        metric_params={"presence_ratio": {"bin_duration_s": bin_seconds}, "snr": {"method": "extremum"}})

    ours = quality.unit_quality(times, labels, 4, samples=samples, sampling_frequency=FS, bin_seconds=bin_seconds,
                                templates=analyzer.get_extension("templates").get_data(),
                                noise=analyzer.get_extension("noise_levels").get_data())
    assert set(ours) == set(theirs.columns)
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name].to_numpy(float), rtol=1e-6, err_msg=name)
    assert ours["isi_violations_count"][2] >= 400 and ours["rp_violations"][2] >= 400
    np.testing.assert_allclose(channel_noise(traces), analyzer.get_extension("noise_levels").get_data(), rtol=0.05)


def test_numbers_by_hand():
    train = np.array([0, 10, 20, 5000])  # at 10 kHz: two intervals of 1 ms, three pairs within 2 ms
    assert quality.isi_violations(train, 10000, 10000.0)[1] == 2
    assert quality.isi_violations(train, 10000, 10000.0)[0] == pytest.approx(2 / (2 * 4 * 0.0015) / 4.0)
    contamination, pairs = quality.rp_violations(train, 10000, 10000.0, period_ms=2.0)
    assert pairs == 3 and contamination == 1.0  # 3 * 10000 / (16 * 20) exceeds 1
    assert quality.rp_violations(np.arange(0, 10000, 100), 10000, 10000.0) == (0.0, 0)
    assert quality.presence_ratio(train, 10000, 10000.0, bin_seconds=0.1) == pytest.approx(2 / 10)


def test_order_does_not_matter(trains):
    times, labels, samples = trains
    shuffled = np.random.default_rng(2).permutation(len(times))
    first = quality.unit_quality(times, labels, 4, samples=samples, sampling_frequency=FS)
    second = quality.unit_quality(times[shuffled], labels[shuffled], 4, samples=samples, sampling_frequency=FS)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_unit_without_spikes_and_a_short_recording_have_no_fractions():
    found = quality.unit_quality(np.array([3, 50]), np.array([0, 0]), 2, samples=100, sampling_frequency=1000.0)
    assert np.isnan(found["presence_ratio"]).all()  # 0.1 s holds no bin of a minute
    assert np.isnan([found[n][1] for n in ("firing_rate", "isi_violations_ratio", "rp_contamination")]).all()
    assert found["num_spikes"].tolist() == [2, 0] and found["isi_violations_count"].tolist() == [0, 0]
    none = quality.unit_quality([], [], 1, samples=100, sampling_frequency=1000.0)
    assert none["num_spikes"].tolist() == [0]


def test_snr_takes_the_channel_of_the_largest_magnitude_whatever_its_sign():
    templates = np.zeros((2, 3, 2))
    templates[0, 1] = [-4.0, 3.0]
    templates[1, 2] = [5.0, 8.0]
    assert quality.snr(templates, [2.0, 4.0]).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("times, labels, message", [
    ([1.5, 2.0], [0, 0], "must be ints"), ([1, 2], [0], "one each a spike"), ([1, 200], [0, 0], "lie in 0 ... 99"),
    ([-1, 2], [0, 0], "the recording"), ([1, 2], [0, 5], "lie in 0 ... 1"),
])
def test_invalid_spikes_are_refused(times, labels, message):
    with pytest.raises(ValueError, match=message):
        quality.unit_quality(times, labels, 2, samples=100, sampling_frequency=1000.0)


def test_invalid_templates_and_periods_are_refused():
    with pytest.raises(ValueError, match="units, time, channels"):
        quality.snr(np.zeros((2, 3, 2)), [1.0])
    with pytest.raises(ValueError, match="one template a unit"):
        quality.unit_quality([1], [0], 2, samples=9, sampling_frequency=1000.0, templates=np.ones((1, 3, 1)),
                             noise=[1.0])
    with pytest.raises(ValueError, match="shorter than a sample"):
        quality.rp_violations(np.array([1, 2]), 100, 100.0)
    with pytest.raises(ValueError, match="need `noise`"):
        quality.unit_quality([1], [0], 1, samples=9, sampling_frequency=1000.0, templates=np.ones((1, 3, 1)))
