"""Sorting of recordings that drift: the same spikes and noise without drift, with it, and with it corrected.

On probes ours estimates the motion and takes it out in one call; the others get the recording with the same motion
taken out by SpikeInterface, and their own correction switched off. On a tetrode there is no motion to take out: ours
follows (``motion="follow"``). The table holds the mean accuracy over true units, and over seeds where they are several.
One JSON file for each kind of drift.
"""

import json
import statistics
import tempfile
from pathlib import Path
from types import SimpleNamespace

from benchmarks import common
from benchmarks.drift_recordings import KINDS, generate
from benchmarks.spike_sorting import attempt
from benchmarks.spike_worker import OURS

PEERS = ("lupin", "tridesclous2", "spykingcircus2")
HEADERS = ["sorter", "still", "drifting", "corrected", "corrected / still", "units found", "note"]
SECONDS = {"rigid": 60.0, "bumps": 60.0, "tetrode": 600.0}
#: The peers get the still recording and the corrected one, or of a tetrode the drifting one; ours gets all.
CONDITIONS = ("still", "drifting", "corrected")


def stored(kind, duration, seed, folder):
    """(folder of the recording of each condition, truth as ``spike_scores.score`` takes it); made once."""
    import warnings

    from spikeinterface.core import load

    folders = {name: folder / name for name in CONDITIONS if name != "corrected" or kind != "tetrode"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SpikeInterface's own
        if not (folder / "truth").exists():
            folder.mkdir(parents=True, exist_ok=True)
            still, moving, truth = generate(kind, duration, seed, folder)
            for name, recording in (("still", still), ("drifting", moving)):
                recording.save(folder=folders[name], verbose=False, progress_bar=False, overwrite=True)
            truth.save(folder=folder / "truth")
        if "corrected" in folders and not folders["corrected"].exists():
            _corrected(load(folders["drifting"])).save(folder=folders["corrected"], verbose=False, progress_bar=False)
        truth = load(folder / "truth")
    spikes = truth.to_spike_vector()
    return folders, SimpleNamespace(spike_samples=spikes["sample_index"], spike_units=spikes["unit_index"],
                                    sampling_frequency=truth.get_sampling_frequency(), exhaustive=True)


def _corrected(recording):
    """The recording without the motion that ``sort(motion="estimate")`` takes out."""
    from keras_crsae.applications.spike_sorting.motion import DEFAULT_PRESET, estimate_motion, without_motion
    from keras_crsae.applications.spike_sorting.recording import as_recording

    return without_motion(recording, estimate_motion(recording, as_recording(recording), DEFAULT_PRESET))


def job(kind, sorter, condition, folders, seed, threads):
    """What the worker does; None where a condition makes no sense."""
    out = {"sorter": sorter, "seed": seed, "threads": threads}
    if sorter == OURS:
        if condition == "corrected":  # the one call that a user makes
            return out | {"recording": str(folders["drifting"]),
                          "options": {"motion": "follow" if kind == "tetrode" else "estimate"}}
        return out | {"recording": str(folders[condition])}
    if condition not in folders or condition == "drifting" and "corrected" in folders:
        return None
    return out | {"recording": str(folders[condition]), "options": {"apply_motion_correction": False}}


def row(sorter, runs):
    """A table row of the runs {condition: [outcome of each seed]} of one sorter."""
    means, notes = {}, set()
    for condition, outcomes in runs.items():
        worked = [outcome for outcome in outcomes if "failed" not in outcome]
        notes |= {outcome["failed"] for outcome in outcomes if "failed" in outcome}
        if worked:
            means[condition] = statistics.mean(outcome["accuracy"] for outcome in worked)
    best = [outcome for outcome in runs.get("corrected") or runs.get("drifting") or [] if "failed" not in outcome]
    kept = means["corrected"] / max(means["still"], 1e-9) if {"corrected", "still"} <= set(means) else None
    return [sorter, *(f"{means[name]:.3f}" if name in means else "" for name in CONDITIONS),
            "" if kept is None else f"{kept:.3f}", "/".join(str(outcome["units"]) for outcome in best),
            "; ".join(sorted(notes))]


def compare(kind, duration, arguments):
    """{sorter: {condition: [outcome of each seed]}}."""
    from spikeinterface.sorters import installed_sorters

    installed, out = {OURS, *installed_sorters()}, {sorter: {} for sorter in arguments.sorters}
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as place:
            folder = (arguments.keep or Path(place)) / f"{kind}_{duration:g}_{seed}"
            folders, truth = stored(kind, duration, seed, folder)
            for sorter in arguments.sorters:
                for condition in arguments.conditions:
                    work = job(kind, sorter, condition, folders, 0, arguments.threads)
                    if work is None:
                        continue
                    known = folder / f"{sorter}_{condition}.json"
                    if known.exists():
                        done = json.loads(known.read_text())
                    elif sorter not in installed:
                        done = {"failed": common.NOT_INSTALLED}
                    else:
                        with tempfile.TemporaryDirectory() as inside:
                            done = {"seed": seed} | attempt(Path(inside), work, truth, arguments.limit)
                            known.write_text(json.dumps(done))
                    out[sorter].setdefault(condition, []).append(done)
                    print(f"{kind}, {condition}, {sorter}, seed {seed}: {done}", flush=True)
    return out


def main(arguments=None):
    """Print and save the tables."""
    parser = common.parser(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND",
                        help=f"drifts, of {', '.join(KINDS)}")
    parser.add_argument("--sorters", nargs="+", choices=(OURS, *PEERS), default=(OURS, *PEERS), metavar="SORTER",
                        help=f"of {', '.join((OURS, *PEERS))}")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=CONDITIONS, metavar="CONDITION",
                        help=f"of {', '.join(CONDITIONS)}")
    parser.add_argument("--seconds", type=float, help=f"length of a recording (default: {SECONDS})")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], help="of the recordings")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds that one sorter may take")
    parser.add_argument("--keep", type=Path, help="folder that keeps recordings and outcomes: what is there is not "
                                                  "made again, so a run goes on where it was stopped")
    arguments = parser.parse_args(arguments)
    common.limit_threads(arguments.threads)
    described = common.machine(arguments.threads)
    for kind in arguments.kinds[:1] if arguments.short else arguments.kinds:
        duration = arguments.seconds or (20.0 if arguments.short else SECONDS[kind])
        found = compare(kind, duration, arguments)
        rows = [row(sorter, runs) for sorter, runs in found.items()]
        common.save("drift", arguments, described,
                    [common.report("drift", arguments, HEADERS, rows, found, f"{kind}, {duration:g} s")], part=kind)


if __name__ == "__main__":
    main()
