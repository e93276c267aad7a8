"""How well and how fast does ``spike_sorting.sort`` sort, beside the sorters that SpikeInterface runs?

Every sorter gets the same int16 recording, its defaults, a separate process and folder, the same cores and the
same time limit. Ours runs once a seed; on a shared file the others run for ``--peer-seeds`` of the seeds, on
simulated recordings, where another seed is another recording, for all of them.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import common
from benchmarks.spike_recordings import FILES, SIMULATED, load
from benchmarks.spike_scores import score
from benchmarks.spike_worker import OURS, PEERS

SHORT_SECONDS = 15.0
SHORT_KINDS, SHORT_SORTERS = ("sim_single_white", "sim_tetrode"), (OURS, "mountainsort5", "simple")


def store(recording, folder):
    """Save a benchmark recording as SpikeInterface does, with gains and positions."""
    import warnings

    from probeinterface import Probe
    from spikeinterface.core import NumpyRecording

    extractor = NumpyRecording([recording.traces], recording.sampling_frequency)
    extractor.set_channel_gains(recording.gain_uv)
    extractor.set_channel_offsets(0.0)
    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(recording.locations)
    probe.set_device_channel_indices(np.arange(len(recording.locations)))
    extractor.set_probe(probe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it lives in memory and cannot be written as a recipe
        extractor.save(folder=folder, verbose=False, progress_bar=False)


def run(recording, sorter, seed, threads, limit, module="benchmarks.spike_worker"):
    """One sorter on one recording.

    Returns:
        dict of ``seconds``, ``note`` and the scores; or of ``failed``, which says why there are none.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        store(recording, folder / "recording")
        return attempt(folder, {"sorter": sorter, "seed": seed, "threads": threads}, recording, limit, module)


def attempt(folder, job, truth, limit, module="benchmarks.spike_worker"):
    """The worker's run of ``job`` in ``folder``, scored: what ``run`` returns."""
    (folder / "job.json").write_text(json.dumps(job))
    try:
        done = subprocess.run([sys.executable, "-m", module, str(folder)], capture_output=True, text=True,
                              timeout=limit, cwd=Path(__file__).parent.parent, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"stopped after {limit:g} s"}
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip() and not line.startswith(" ")]
        errors = [line for line in lines if "Error" in line.split(":")[0] or "Exception" in line.split(":")[0]]
        return {"failed": f"crashed: {(errors or lines or ['no message'])[0][:200]}"}
    with np.load(folder / "spikes.npz") as spikes:
        found = score(truth, spikes["samples"], spikes["units"])
    return json.loads((folder / "outcome.json").read_text()) | found


def row(sorter, runs):
    """A table row of one sorter's runs: mean over seeds, and the range of the accuracy where there are several."""
    worked = [r for r in runs if "failed" not in r]
    notes = sorted({r.get("failed") or r["note"] for r in runs} - {""})
    if not worked:
        return [sorter, "-", "-", "-", "-", "-", "-", len(runs), "; ".join(notes)]
    accuracies = [r["accuracy"] for r in worked]
    mean = {key: statistics.mean(r[key] for r in worked) for key in ("accuracy", "precision", "recall", "seconds")}
    extent = f" ({min(accuracies):.3f} ... {max(accuracies):.3f})" if len(accuracies) > 1 else ""
    return [sorter, f"{mean['accuracy']:.3f}{extent}", f"{mean['precision']:.3f}", f"{mean['recall']:.3f}",
            f"{min(min(r['by_unit']) for r in worked):.3f}", "/".join(str(r["units"]) for r in worked),
            f"{mean['seconds']:.1f}", len(runs), "; ".join(notes)]


HEADERS = ["sorter", "accuracy", "precision", "recall", "worst unit", "units found", "seconds", "runs", "note"]


def title(kind, recording):
    """Title of the table of a kind of recording."""
    known = f"{len(np.unique(recording.spike_units))} {'units' if recording.exhaustive else 'known unit'}"
    return (f"{kind}: {recording.traces.shape[1]} channel(s), {recording.duration:g} s at "
            f"{recording.sampling_frequency / 1000:g} kHz, {known}")


def parse(arguments=None):
    parser = common.parser(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=FILES + SIMULATED, metavar="KIND",
                        help=f"recordings, of {', '.join(FILES + SIMULATED)} (default: all that are available)")
    parser.add_argument("--sorters", nargs="+", choices=(OURS, *PEERS), default=(OURS, *PEERS), metavar="SORTER",
                        help=f"of {', '.join((OURS, *PEERS))}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of ours and of simulations")
    parser.add_argument("--peer-seeds", type=int, default=1, help="how many seeds the others get on a shared file")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds that one sorter may take")
    return parser.parse_args(arguments)


def chosen(arguments):
    """(kinds, sorters, seeds) after --short and without files that are not there."""
    kinds, sorters, seeds = arguments.kinds or FILES + SIMULATED, list(arguments.sorters), arguments.seeds
    if arguments.short:
        kinds, seeds = arguments.kinds or SHORT_KINDS, seeds[:1]
        sorters = [s for s in sorters if s in SHORT_SORTERS]
    present = []
    for kind in kinds:
        try:
            load(kind) if kind in FILES else None
            present.append(kind)
        except FileNotFoundError as error:
            if arguments.kinds:
                raise
            print(f"{kind} is omitted. {error}", flush=True)
    return present, sorters, seeds


def main():
    arguments = parse()
    common.limit_threads(arguments.threads)
    described = common.machine(arguments.threads)
    kinds, sorters, seeds = chosen(arguments)
    from spikeinterface.sorters import installed_sorters

    installed = {OURS, *installed_sorters()}
    sections = []
    for kind in kinds:
        found = {sorter: [] for sorter in sorters}
        for place, seed in enumerate(seeds):
            recording = load(kind, seed)
            if arguments.short:
                recording = recording.first(SHORT_SECONDS)
            for sorter in sorters:
                if sorter not in installed:
                    found[sorter] = [{"failed": common.NOT_INSTALLED}]
                elif sorter == OURS or kind in SIMULATED or place < arguments.peer_seeds:
                    found[sorter].append({"seed": seed} | run(recording, sorter, seed, arguments.threads,
                                                              arguments.limit))
                    print(f"{recording.name}, {sorter}, seed {seed}: {found[sorter][-1]}", file=sys.stderr, flush=True)
        sections.append(common.report("spike_sorting", arguments, HEADERS, [row(s, r) for s, r in found.items()],
                                      found, title(kind, recording)))
    common.save("spike_sorting", arguments, described, sections)


if __name__ == "__main__":
    main()
