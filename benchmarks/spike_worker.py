"""One sorter on one recording in a separate process: ``python -m benchmarks.spike_worker FOLDER``.

``FOLDER`` holds ``recording`` (saved by SpikeInterface) and ``job.json`` (sorter, seed, threads; ``recording``, another
folder of a recording; ``options`` of the sorter). It receives
``spikes.npz`` (samples, units) and ``outcome.json`` (seconds, note). Seconds are those of the call that sorts, with
compilation and training, without imports.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

OURS = "crsae"
PEERS = ("mountainsort5", "spykingcircus2", "tridesclous2", "lupin", "simple")


def below_nyquist(parameters, sampling_frequency):
    """The ``freq_max`` entries of a sorter's defaults (nested too) that the sampling rate forbids, lowered.

    Returns:
        dict of what to pass, empty where every cut-off lies below half the rate.

    Example:
        >>> below_nyquist({"freq_max": 6000.0, "filtering": {"freq_max": 7000, "ftype": "bessel"}}, 10000.0)
        {'freq_max': 4500.0, 'filtering': {'freq_max': 4500.0, 'ftype': 'bessel'}}
    """
    out, limit = {}, 0.45 * sampling_frequency
    for name, value in parameters.items():
        if isinstance(value, dict):
            inside = below_nyquist(value, sampling_frequency)
            if inside:
                out[name] = {**value, **inside}
        elif name == "freq_max" and value is not None and value >= sampling_frequency / 2:
            out[name] = limit
    return out


def sort_with_peer(name, recording, folder, seed, options):
    """(samples, units, seconds, note) of a SpikeInterface sorter with its defaults, seeded where it takes a seed."""
    from spikeinterface.sorters import get_default_sorter_params, run_sorter

    defaults = get_default_sorter_params(name)
    lowered = below_nyquist(defaults, recording.get_sampling_frequency())
    options = options | lowered | {key: seed for key in ("seed", "whitening_seed") if key in defaults}
    start = time.perf_counter()
    sorting = run_sorter(name, recording, folder=folder / "sorter", **options)
    seconds = time.perf_counter() - start
    note = f"freq_max lowered to {0.45 * recording.get_sampling_frequency():g} Hz" if lowered else ""
    vector = sorting.to_spike_vector()
    return vector["sample_index"], vector["unit_index"], seconds, note


def sort_with_ours(recording, seed, options):
    """The same of ``spike_sorting.sort`` with its defaults."""
    from keras_crsae.applications import spike_sorting

    start = time.perf_counter()
    result = spike_sorting.sort(recording, seed=seed, **options)
    return result.spike_samples, result.spike_units, time.perf_counter() - start, ""


def main(folder):
    from spikeinterface.core import load, set_global_job_kwargs

    job = json.loads((folder / "job.json").read_text())
    set_global_job_kwargs(n_jobs=job["threads"], progress_bar=False)
    recording, options = load(job.get("recording", folder / "recording")), job.get("options", {})
    if job["sorter"] == OURS:
        samples, units, seconds, note = sort_with_ours(recording, job["seed"], options)
    else:
        samples, units, seconds, note = sort_with_peer(job["sorter"], recording, folder, job["seed"], options)
    np.savez(folder / "spikes.npz", samples=np.asarray(samples, np.int64), units=np.asarray(units, np.int64))
    (folder / "outcome.json").write_text(json.dumps({"seconds": seconds, "note": note}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the recording and the job")
    main(parser.parse_args().folder)
