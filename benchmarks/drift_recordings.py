"""Recordings that drift, each with its like that does not: ``benchmarks.drift`` sorts them.

32 channels in two columns, 10 units, of SpikeInterface's generator. "rigid": the tissue moves by one micrometre a
second, back and forth by 40; "bumps": it jumps by 30 micrometres every 15 to 30 seconds. "tetrode": the six units of
``spike_recordings``' tetrode, whose amplitudes change by 30 % from the first to the last second, up or down.
"""

from pathlib import Path

import numpy as np

from benchmarks.spike_recordings import NOISE_UV, coloured, draw_templates, draw_trains, inject

KINDS = ("rigid", "bumps", "tetrode")
#: Change of a unit's amplitude on a tetrode, over the recording.
CHANGE = 0.3
#: Noise standard deviations of one step of the tetrode's int16.
_STEP = 0.02
_CHUNK_S = 10.0


def generate(kind, duration, seed, folder):
    """(still recording, moving recording, true sorting), SpikeInterface's; a tetrode's are files in ``folder``."""
    if kind == "tetrode":
        return _tetrode(duration, seed, Path(folder))
    from probeinterface import generate_multi_columns_probe
    from spikeinterface.generation import generate_drifting_recording

    probe = generate_multi_columns_probe(num_columns=2, num_contact_per_column=16, xpitch=20, ypitch=20,
                                         contact_shapes="square", contact_shape_params={"width": 12})
    probe.set_device_channel_indices(np.arange(32))
    moves = {"rigid": {"drift_mode": "zigzag", "period_s": 80.0},
             "bumps": {"drift_mode": "bump", "bump_interval_s": (15.0, 30.0)}}[kind]
    reach = {"rigid": 20.0, "bumps": 15.0}[kind]
    return generate_drifting_recording(
        num_units=10, duration=duration, sampling_frequency=30000.0, probe=probe, seed=seed,
        generate_displacement_vector_kwargs={
            "displacement_sampling_frequency": 5.0, "drift_start_um": [0, reach], "drift_stop_um": [0, -reach],
            "drift_step_um": 1,
            "motion_list": [{"non_rigid_gradient": None, "t_start_drift": 0.0, "t_end_drift": duration, **moves}]},
        generate_unit_locations_kwargs={
            "margin_um": 10.0, "minimum_z": 5.0, "maximum_z": 30.0, "minimum_distance": 18.0, "max_iteration": 100,
            "distance_strict": False, "distribution": "uniform"})


def _tetrode(duration, seed, folder):
    """A tetrode, written in chunks: an hour does not fit in memory."""
    from spikeinterface.core import NumpySorting

    rng, fs = np.random.default_rng([32, seed]), 30000.0
    angle = np.arange(4) * np.pi / 2
    locations = 12.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    troughs, rates = rng.uniform(5, 13, 6), rng.uniform(4, 11, 6)
    fine = draw_templates(locations, 6, rng, similar=0.95)
    fine = fine * (troughs / np.abs(fine).max(axis=(1, 2)))[:, None, None]
    up = rng.permutation(np.array([1, 1, 1, -1, -1, -1]))
    total, size, reach = round(duration * fs), round(_CHUNK_S * fs), 250
    trains = draw_trains(rates, 0.0, total, fs, rng)
    paths = {"still": folder / "still.raw", "moving": folder / "moving.raw"}
    found = []
    with paths["still"].open("wb") as still, paths["moving"].open("wb") as moving:
        for first in range(0, total, size):
            count = min(size, total - first)
            # Spikes keep away from the borders of chunks, which are drawn one by one.
            near = [train[(train > first + reach) & (train < first + count - reach)] - first for train in trains]
            noise = coloured(count, locations, fs, np.random.default_rng([33, seed, first]))
            for file, drift in ((still, 0.0), (moving, CHANGE)):
                def size_at(unit, time, first=first, drift=drift):
                    return 1 + up[unit] * drift * ((first + time) / total - 0.5)

                signal, samples, units = inject(noise.copy(), fine, near, np.random.default_rng([34, seed, first]),
                                                size_at)
                np.clip(np.rint(signal / _STEP), -32767, 32767).astype(np.int16).tofile(file)
            found.append((samples + first, units))
    samples, units = (np.concatenate(part) for part in zip(*found, strict=True))
    truth = NumpySorting.from_samples_and_labels([samples], [units], fs)
    return *(_opened(path, fs, locations) for path in paths.values()), truth


def _opened(path, sampling_frequency, locations):
    """A raw file as a recording with gains and positions."""
    from spikeinterface.core import read_binary

    recording = read_binary(path, sampling_frequency, "int16", len(locations), gain_to_uV=_STEP * NOISE_UV,
                            offset_to_uV=0.0)
    recording.set_dummy_probe_from_locations(locations)
    return recording
