"""The matching engine "crsae" beside those of SpikeInterface, by the protocol of its ``MatchingStudy``, true templates.

    python -m benchmarks.matching_study [--short]

SpikeInterface generates recordings of 1, 4 and 32 channels with 3, 6 and 20 units that fire at random, and adds spikes
that fall on the very sample of another unit's (``add_synchrony_to_sorting``). Every engine gets the templates that the
recording was made from, on the channels they reach, its own default options and one process. SpikeInterface's
comparison scores them; times are the processor's, in that process. A collision is two spikes of different units within
2 ms; its recall is the share of spikes in collisions that are found.
"""

import contextlib
import io
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import common

FREQUENCY = 30_000.0
REFRACTORY_MS, COLLISION_MS, COLLISION_BINS, NBEFORE_MS = 4.0, 2.0, 11, 1.0
#: Engines of SpikeInterface's list, ours first. "nearest-svd" wants a model of waveforms that was fitted before.
ENGINES = ("crsae", "wobble", "circus-omp", "tdc-peeler", "nearest")
#: Parts of the lags in bins of 4/11 ms, from the middle one, and of the cosines of two templates.
LAGS = {"below 0.18 ms": (0, 0), "0.18 to 0.91 ms": (1, 2), "0.91 to 2 ms": (3, 5)}
SIMILARITIES = {"below 0.5": (-1.0, 0.5), "0.5 to 0.9": (0.5, 0.9), "0.9 and above": (0.9, 1.01)}


@dataclass(frozen=True)
class Kind:
    """A kind of generated recording."""

    channels: int
    units: int
    columns: int
    firing_rate_hz: float = 15.0
    synchronous_fraction: float = 0.1
    noise_uv: float = 10.0
    #: farthest a unit lies from the probe's plane, the least distance of two, and the amplitudes at their places:
    #: SpikeInterface's own, but for one channel, where its farthest units would be hidden in the noise
    depth_um: float = 50.0
    distance_um: float = 20.0
    alpha: tuple[float, float] = (100.0, 500.0)


KINDS = {"one channel, 3 units": Kind(1, 3, 1, depth_um=20.0, distance_um=8.0, alpha=(250.0, 500.0)),
         "4 channels, 6 units": Kind(4, 6, 2), "32 channels, 20 units": Kind(32, 20, 2)}


def firing(kind, seconds, seed):
    """True spikes, a ``NumpySorting``: Poisson, some synchronous, no two of a unit within the refractory time."""
    from spikeinterface.core import NumpySorting
    from spikeinterface.core.generate import add_synchrony_to_sorting, clean_refractory_period, generate_sorting

    made = generate_sorting(num_units=kind.units, durations=[seconds], sampling_frequency=FREQUENCY,
                            firing_rates=kind.firing_rate_hz, refractory_period_ms=REFRACTORY_MS, seed=seed)
    # Its own function for synchrony takes units that are named by their number.
    numbered = NumpySorting.from_unit_dict(
        [{row: made.get_unit_spike_train(unit) for row, unit in enumerate(made.unit_ids)}], FREQUENCY)
    both = add_synchrony_to_sorting(numbered, kind.synchronous_fraction, seed=seed)
    trains = {unit: clean_refractory_period(both.get_unit_spike_train(unit), round(REFRACTORY_MS * FREQUENCY / 1000))
              for unit in both.unit_ids}
    edge = round(0.005 * FREQUENCY)  # whole waveforms
    inside = {unit: train[(train > edge) & (train < seconds * FREQUENCY - edge)] for unit, train in trains.items()}
    return NumpySorting.from_unit_dict([inside], FREQUENCY)


def generate(kind, seconds, seed, folder):
    """(recording in ``folder``, true sorting, sparse true ``Templates``, noise levels)."""
    import spikeinterface.core as si

    probe = {"num_columns": kind.columns, "xpitch": 20, "ypitch": 20, "contact_shapes": "circle",
             "contact_shape_params": {"radius": 6}}
    places = {"margin_um": 10.0, "minimum_z": 5.0, "maximum_z": kind.depth_um, "minimum_distance": kind.distance_um}
    made, truth = si.generate_ground_truth_recording(
        durations=[seconds], sampling_frequency=FREQUENCY, num_channels=kind.channels,
        sorting=firing(kind, seconds, seed), generate_probe_kwargs=probe, ms_before=NBEFORE_MS,
        generate_unit_locations_kwargs=places, generate_templates_kwargs={"unit_params": {"alpha": kind.alpha}},
        noise_kwargs={"noise_levels": kind.noise_uv, "strategy": "on_the_fly"}, seed=seed)
    recording = made.save(folder=folder, verbose=False, progress_bar=False)
    noise = np.full(kind.channels, kind.noise_uv)
    dense = np.asarray(made.templates, np.float32)
    heights = np.ptp(dense, axis=1)  # on the channels where the peaks differ by a quarter of the noise, as in its tests
    mask = (heights >= 0.25 * noise) | (heights == heights.max(axis=1, keepdims=True))
    templates = si.Templates(dense, FREQUENCY, nbefore=round(NBEFORE_MS * FREQUENCY / 1000),
                             channel_ids=recording.channel_ids, unit_ids=truth.unit_ids, probe=recording.get_probe(),
                             is_in_uV=True)
    return recording, truth, templates.to_sparse(si.ChannelSparsity(mask, truth.unit_ids, recording.channel_ids)), noise


def found_of(true_positive, false_negative):
    """Share of spikes in collisions that are found; None without collisions."""
    total = int(np.sum(true_positive) + np.sum(false_negative))
    return float(np.sum(true_positive) / total) if total else None


def figures(comparison, collisions, templates):
    """Accuracy, precision and recall, means over units, and the recall of collisions by lag and by similarity."""
    scores = comparison.get_performance().astype(float).fillna(0.0)
    tp, fn = collisions.all_tp, collisions.all_fn
    away = np.abs(np.arange(COLLISION_BINS) - COLLISION_BINS // 2)
    flat = templates.reshape(len(templates), -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    cosine, pairs = flat @ flat.T, ~np.eye(len(flat), dtype=bool)
    lags = {name: (low <= away) & (away <= high) for name, (low, high) in LAGS.items()}
    alike = {name: pairs & (cosine >= low) & (cosine < high) for name, (low, high) in SIMILARITIES.items()}
    return {"accuracy": float(scores["accuracy"].mean()), "lowest": float(scores["accuracy"].min()),
            "precision": float(scores["precision"].mean()), "recall": float(scores["recall"].mean()),
            "collisions": int(tp.sum() + fn.sum()), "collision_recall": found_of(tp, fn),
            "by_lag": {name: found_of(tp[:, :, some], fn[:, :, some]) for name, some in lags.items()},
            "by_similarity": {name: found_of(tp[some], fn[some]) for name, some in alike.items()}}


def study(kind, seconds, seed, engines=ENGINES):
    """{engine: figures, with the seconds that the processor and the clock take for one of recording}, one study."""
    from spikeinterface.benchmark.benchmark_matching import MatchingStudy
    from spikeinterface.sortingcomponents.matching import find_spikes_from_templates
    from spikeinterface.sortingcomponents.matching.method_list import matching_methods

    from keras_crsae.applications.spikeinterface import register_matching

    register_matching()
    jobs = {"n_jobs": 1, "chunk_duration": "1s", "progress_bar": False}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # SpikeInterface's and pandas' own; its bars go to standard error
        recording, truth, templates, noise = generate(kind, seconds, seed, Path(folder) / "recording")
        options = {name: {"noise_levels": noise} if matching_methods[name].need_noise_levels else {}
                   for name in engines}
        start = recording.frame_slice(0, int(min(2.0, seconds) * FREQUENCY))
        for name in engines:  # what is compiled once is no part of the times
            find_spikes_from_templates(start, templates, method=name, method_kwargs=options[name], job_kwargs=jobs)
        cases = {name: {"label": name, "dataset": "made", "params": {
            "method": name, "templates": templates, "method_kwargs": options[name]}} for name in engines}
        made = MatchingStudy.create(Path(folder) / "study", datasets={"made": (recording, truth)}, cases=cases)
        used = {}
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of each chunk's size
            for name in engines:
                begin = time.process_time()
                made.run(case_keys=[name], **jobs)
                used[name] = time.process_time() - begin
        made.compute_results(with_collision=True, exhaustive_gt=True)
        found = {}
        for name in engines:
            result = made.get_result(name)
            collisions = result["gt_collision"]
            assert collisions.nbins == COLLISION_BINS and collisions.collision_lag == COLLISION_MS
            found[name] = figures(result["gt_comparison"], collisions, templates.get_dense_templates())
            found[name] |= {"processor_seconds_a_second": used[name] / seconds,
                            "seconds_a_second": result["run_time"] / seconds}
    return found


def mean_of(values):
    """Mean of numbers; None where there is none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def rows_of(found, engines=ENGINES):
    """One row an engine, means over the seeds."""
    def cell(value):
        return "-" if value is None else f"{value:.3f}"

    rows = []
    for name in engines:
        seeds = [made[name] for made in found]
        rows.append([name, cell(mean_of([s["accuracy"] for s in seeds])), cell(min(s["lowest"] for s in seeds)),
                     cell(mean_of([s["collision_recall"] for s in seeds])),
                     *(cell(mean_of([s["by_lag"][part] for s in seeds])) for part in LAGS),
                     *(cell(mean_of([s["by_similarity"][part] for s in seeds])) for part in SIMILARITIES),
                     common.seconds(mean_of([s["processor_seconds_a_second"] for s in seeds]))])
    return rows


def main(arguments=None):
    """Run the studies and write the tables."""
    parser = common.parser(__doc__.splitlines()[0], threads=1)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each recording")
    args = parser.parse_args(arguments)
    args.seeds, args.seconds = (1, 5.0) if args.short else (args.seeds, args.seconds)
    common.limit_threads(args.threads)
    described, sections = common.machine(args.threads), []
    headers = ["engine", "accuracy", "lowest of a unit", "collision recall", *(f"lag {part}" for part in LAGS),
               *(f"similarity {part}" for part in SIMILARITIES), "processor time a second of recording"]
    for title, kind in KINDS.items():
        found = [study(kind, args.seconds, seed) for seed in range(args.seeds)]
        sections.append(common.report("matching_study", args, headers, rows_of(found), found, title))
    return common.save("matching_study", args, described, sections)


if __name__ == "__main__":
    main()
