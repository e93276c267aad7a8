"""MNE's objects as arrays and back: values, units, times, names, what is bad."""

import datetime

import numpy as np
import pytest

from keras_crsae.data import from_mne

mne = pytest.importorskip("mne", reason="the extra `mne` is not installed")

FIRST = 40


@pytest.fixture
def raw(rng):
    """Three EEG channels with places, one of them bad, and a magnetometer, 10 s at 100 Hz, not from sample 0."""
    info = mne.create_info(["Cz", "Pz", "Oz", "MEG 1"], 100.0, ["eeg", "eeg", "eeg", "mag"])
    info.set_montage(mne.channels.make_dig_montage(
        {"Cz": (0, 0, 0.12), "Pz": (0, -0.05, 0.1), "Oz": (0, -0.1, 0.05)}, coord_frame="head"))
    info["chs"][3]["loc"][:3] = (0.0, 0.0, 0.1)
    info["bads"] = ["Oz"]
    values = rng.standard_normal((4, 1000)) * np.array([2e-5, 2e-5, 1.0, 3e-13])[:, None]
    made = mne.io.RawArray(values, info, first_samp=FIRST, verbose="error")
    return made.set_meas_date(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))


@pytest.fixture
def epochs(raw):
    events = np.array([[FIRST + 100 * i, 0, 1 + i % 2] for i in range(1, 8)])
    return mne.Epochs(raw, events, {"left": 1, "right": 2}, -0.2, 0.3, picks=["Pz", "Cz"], baseline=None, preload=True,
                      verbose="error")


def test_a_recording_becomes_an_array_of_unit_scale_with_what_belongs_to_it(raw):
    signals = from_mne(raw)
    assert signals.signal.shape == (1, 1000, 3) and signals.signal.dtype == np.float32 and signals.mask is None
    assert signals.channel_names == ("Cz", "Pz", "MEG 1") and signals.sampling_frequency == 100.0 and signals.is_raw
    np.testing.assert_allclose(signals.signal.std(axis=1), 1, atol=0.15)
    np.testing.assert_allclose(signals.positions, [raw.info["chs"][i]["loc"][:3] for i in (0, 1, 3)])
    assert signals.scales[0] == signals.scales[1] != signals.scales[2]
    np.testing.assert_allclose(from_mne(raw, picks=["Oz"], scale=False).signal[0, :, 0], raw.get_data(["Oz"])[0],
                               rtol=1e-6)


def test_the_reconstruction_is_a_recording_of_the_same_times_units_and_annotations(raw):
    raw.set_annotations(mne.Annotations([2.0], [0.5], ["stimulus"]))
    signals = from_mne(raw)
    back = signals.reconstruction(signals.signal)
    np.testing.assert_allclose(back.get_data(), raw.get_data(list(signals.channel_names)), rtol=1e-6, atol=1e-19)
    assert back.first_samp == FIRST and back.info["meas_date"] == raw.info["meas_date"]
    np.testing.assert_allclose(back.annotations.onset, raw.annotations.onset)
    assert back.ch_names == ["Cz", "Pz", "MEG 1"] and back.get_channel_types() == ["eeg", "eeg", "mag"]


@pytest.mark.parametrize("strides", [1, 3])
def test_codes_stand_at_the_samples_where_their_filters_start(raw, strides):
    signals = from_mne(raw)
    code = np.zeros((1, (1000 - 20) // strides + 1, 2), np.float32)
    code[0, 50, 1] = 2.0
    made = signals.codes(code, strides)
    assert made.ch_names == ["filter 0", "filter 1"] and made.n_times == 1000 and made.first_samp == FIRST
    np.testing.assert_array_equal(np.argwhere(made.get_data()), [[1, 50 * strides]])
    raw.add_channels([made])  # the same times, so that MNE plots them below each other


@pytest.mark.parametrize("dated", [True, False])
def test_events_become_annotations_at_their_samples(raw, dated):
    raw.set_meas_date(raw.info["meas_date"] if dated else None)
    signals = from_mne(raw)
    code = np.zeros((1, 981, 2), np.float32)
    code[0, [0, 300, 304, 600], 0] = 5.0, 4.0, 3.0, 0.5  # the third is too near, the last too small
    code[0, 980, 1] = -6.0
    raw.set_annotations(raw.annotations + signals.annotations(code, kernel_size=20, min_amplitude=1.0))
    events, kinds = mne.events_from_annotations(raw, verbose="error")
    found = [(sample - FIRST, label) for sample, _, label in events]
    assert found == [(0, kinds["filter 0"]), (300, kinds["filter 0"]), (980, kinds["filter 1"])]
    np.testing.assert_allclose(raw.annotations.duration, 0.2)


def test_epochs_go_in_and_come_back_with_their_events(epochs):
    signals = from_mne(epochs)
    assert signals.signal.shape == (len(epochs), 51, 2) and not signals.is_raw
    back = signals.reconstruction(signals.signal)
    np.testing.assert_allclose(back["left"].get_data(), epochs["left"].get_data(), rtol=1e-6)
    np.testing.assert_allclose(back.times, epochs.times)
    np.testing.assert_array_equal(signals.codes(np.ones((len(epochs), 40, 3)))["right"].get_data()[0, :, 39:41],
                                  [[1, 0]] * 3)
    with pytest.raises(ValueError, match="epochs"):
        signals.annotations(np.ones((len(epochs), 40, 3)), 12, 1.0)


def test_what_is_annotated_as_bad_is_masked_and_zero(raw):
    raw.set_annotations(mne.Annotations([2.0], [0.5], ["BAD_jump"]))
    signals = from_mne(raw)
    hidden = np.flatnonzero(signals.mask[0, :, 0] == 0)
    assert 49 <= len(hidden) <= 51 and abs(hidden[0] - 200) <= 1 and not signals.signal[:, hidden].any()


def test_other_objects_picks_and_shapes_are_refused(raw, epochs):
    with pytest.raises(TypeError, match="mne.io.Raw"):
        from_mne(raw.get_data())
    with pytest.raises(ValueError, match=r"No channels for picks='grad'.*'eeg', 'mag'"):
        from_mne(raw, picks="grad")
    with pytest.raises(ValueError, match="No samples"):
        from_mne(epochs[:0])
    signals = from_mne(raw)
    with pytest.raises(ValueError, match="shape of the source"):
        signals.reconstruction(np.ones((1, 5, 3)))
    with pytest.raises(ValueError, match="up to 334 positions"):
        signals.codes(np.ones((1, 335, 3)), strides=3)


def test_channels_without_a_place_have_no_positions_and_flat_ones_a_scale_of_one():
    signals = from_mne(mne.io.RawArray(np.zeros((2, 50)), mne.create_info(2, 100.0, "eeg"), verbose="error"))
    assert signals.positions is None
    np.testing.assert_array_equal(signals.scales, 1.0)
