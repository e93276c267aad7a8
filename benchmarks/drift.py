"""Sorting of probes that move: SpikeInterface's generated recordings without motion, with it, and with it taken out.

32 channels in two columns, 10 units. "rigid": the tissue moves by one micrometre a second, back and forth by 40;
"bumps": it jumps by 30 micrometres every 30 to 90 seconds. The same spikes and noise with and without motion.
"""

import warnings

import numpy as np

from benchmarks import common

KINDS = ("rigid", "bumps")
#: How the moving recording is sorted, by the name of the column.
WAYS = {"moving": None, "motion estimated": "estimate"}
HEADERS = ["motion", "still", *WAYS, "kept"]


def generate(kind, duration, seed):
    """(still recording, moving recording, true sorting) of SpikeInterface's generator."""
    from probeinterface import generate_multi_columns_probe
    from spikeinterface.generation import generate_drifting_recording

    probe = generate_multi_columns_probe(num_columns=2, num_contact_per_column=16, xpitch=20, ypitch=20,
                                         contact_shapes="square", contact_shape_params={"width": 12})
    probe.set_device_channel_indices(np.arange(32))
    moves = {"rigid": {"drift_mode": "zigzag", "period_s": 80.0},
             "bumps": {"drift_mode": "bump", "bump_interval_s": (30.0, 90.0)}}[kind]
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


def accuracy(recording, truth, motion):
    """Mean accuracy over the true units."""
    from spikeinterface.comparison import compare_sorter_to_ground_truth

    from keras_crsae.applications import spike_sorting

    found = spike_sorting.sort(recording, motion=motion, seed=0).sorting
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas' own
        compared = compare_sorter_to_ground_truth(truth, found, delta_time=0.5, exhaustive_gt=True)
        return float(compared.get_performance()["accuracy"].astype(float).fillna(0.0).mean())


def main(arguments=None):
    """Print and save the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND",
                        help=f"motions, of {', '.join(KINDS)}")
    parser.add_argument("--seconds", type=float, help="length of a recording (default: 300; 60 with --short)")
    arguments = parser.parse_args(arguments)
    common.limit_threads(arguments.threads)
    duration = arguments.seconds or (60.0 if arguments.short else 300.0)
    described, rows, data = common.machine(arguments.threads), [], {}
    for kind in arguments.kinds[:1] if arguments.short else arguments.kinds:
        still, moving, truth = generate(kind, duration, seed=1)
        scores = {"still": accuracy(still, truth, None)}
        scores |= {way: accuracy(moving, truth, motion) for way, motion in WAYS.items()}
        data[kind] = scores
        kept = scores["motion estimated"] / max(scores["still"], 1e-9)
        rows.append([kind, *(f"{scores[name]:.3f}" for name in ("still", *WAYS)), f"{kept:.3f}"])
    common.save("drift", arguments, described,
                [common.report("drift", arguments, HEADERS, rows, data, f"accuracy, {duration:g} s")])


if __name__ == "__main__":
    main()
