"""Train and measure ``models/spikes-single-channel``: ``python -m benchmarks.train_spikes``.

Everything is simulated (``data.simulate``), so that nothing but this repository is needed. The model's filters belong
to the three units of that simulation: it is an example of a finished sorter, file formats included, and no substitute
for sorting one's own recording.
"""

import json
import time
from pathlib import Path

import numpy as np

from benchmarks import common, zoo_card
from benchmarks.spike_recordings import Recording
from benchmarks.spike_scores import score

NAME, RATE, SECONDS = "spikes-single-channel", 30_000, 60
DATA = ("a simulated recording of one channel, 60 s at 30 kHz: three units of 15 spikes a second, white noise "
        "(`keras_crsae.data.simulate`, seed 0)")
LICENCE = "none needed: it is made by this package"
COMMAND = "python -m benchmarks.train_spikes"
MICROVOLTS = 10.0  #: noise standard deviation


def recording(seed, seconds=SECONDS):
    """A draw of the recording the model is for: the same units, other spikes and other noise for each seed."""
    from keras_crsae.data.simulate import simulate_spikes, spike_templates

    made = simulate_spikes(spike_templates(45, 3), windows=1, samples=seconds * RATE, events_per_window=15 * seconds,
                           amplitude=(12.0 * MICROVOLTS, 1.2 * MICROVOLTS), sigma=MICROVOLTS, seed=seed)
    start, unit = np.nonzero(made.code[0])
    extremum = np.abs(made.filters[:, 0]).argmax(axis=0)
    return Recording(f"simulated, seed {seed}", np.round(made.signal[0]).astype(np.int16), 1.0, RATE,
                     np.zeros((1, 2)), start + extremum[unit], unit)


def main(arguments=None):
    """Train, measure and write the model's folder."""
    parser = common.parser(__doc__.splitlines()[0])
    parser.set_defaults(output=Path(__file__).parent.parent / "models")
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    from keras_crsae.applications import spike_sorting

    known = recording(0)
    started = time.perf_counter()
    result = spike_sorting.sort(known.traces, RATE, seed=0)
    minutes = (time.perf_counter() - started) / 60
    folder = args.output / NAME
    folder.mkdir(parents=True, exist_ok=True)
    model = zoo_card.for_use(result.model)
    model.save(folder / "model.keras")
    (folder / "config.json").write_text(json.dumps(model.get_config(), indent=1, default=str) + "\n")
    _export(model, result.reader, folder)
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    facts = {"name": NAME, "task": "spikes", "parameters": parameters, "seed": 0,
             "training_command": COMMAND, "data": DATA, "licence_of_data": LICENCE,
             "recipe": result.settings, "minutes": round(minutes, 2), "machine": described,
             "metrics": _measure(folder, known)}
    facts["summary"] = [f"{name}: accuracy {row['accuracy']:.3f}" for name, row in facts["metrics"].items()]
    (folder / "metadata.json").write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "README.md").write_text(card(facts, model, result.reader))
    print("\n".join(facts["summary"]))


def _export(model, reader, folder):
    from crsae_onnx.convert import convert
    from crsae_onnx.validate import validate

    about = {"name": NAME, "data": DATA, "training": COMMAND, "unit": "noise standard deviations (whitened signal)"}
    convert(model, folder / "encoder.onnx", overwrite=True, about=about, spikes=reader)
    validate(model, folder / "encoder.onnx", shapes=[(1, 301, 1), (2, 1000, 1)], record=True)


def _measure(folder, known):
    """Scores of the exported file, run as a user would without TensorFlow; and its speed."""
    from crsae_onnx import SparseEncoder
    from crsae_onnx.core.spikes.detector import SpikeReader

    encoder = SparseEncoder(folder / "encoder.onnx")
    reader = SpikeReader.from_json(encoder.info["spikes"])
    out = {}
    for name, truth in (("the recording learned from", known), ("another recording of these units", recording(1))):
        started = time.perf_counter()
        spikes = reader.find(encoder.encode, truth.traces)
        seconds = time.perf_counter() - started
        out[name] = score(truth, spikes.peak_sample, spikes.unit_id) | {"times_real_time": round(SECONDS / seconds, 1)}
    return out


def card(facts, model, reader):
    """The README of the model."""
    rows = [(name, f"{r['accuracy']:.3f}", f"{r['precision']:.3f}", f"{r['recall']:.3f}", f"{min(r['by_unit']):.3f}",
             r["times_real_time"]) for name, r in facts["metrics"].items()]
    machine = facts["machine"]
    return "\n".join([
        f"# {NAME}", "",
        "Reads the spikes of three units off a recording of one channel at 30 kHz. An example of a finished sorter, to "
        "try the file formats and the run time with; its filters are those of simulated units.", "",
        "```python", "from crsae_onnx import SparseEncoder", "from crsae_onnx.core.spikes.detector import SpikeReader",
        "from keras_crsae import zoo", "",
        f'encoder = SparseEncoder(zoo.path_of("{NAME}", "encoder.onnx"))',
        'reader = SpikeReader.from_json(encoder.info["spikes"])',
        "spikes = reader.find(encoder.encode, recording)           # (samples, 1): sample, unit, amplitude", "```", "",
        "`crsae-onnx run encoder.onnx recording.npy spikes.csv --spikes`", "",
        f"- **Model**: {model.filters} filters of {model.kernel_size[0]} samples, {model.encoder.iterations} "
        f"iterations, tied; {facts['parameters']} trainable parameters. The signal is whitened first, by a filter "
        f"of {len(reader.whitening.taps)} taps that the file keeps.",
        f"- **Data**: {facts['data']}.", f"- **Licence of the data**: {facts['licence_of_data']}.",
        f"- **Training**: `{facts['training_command']}`, seed 0, {facts['minutes']:g} minutes; {machine['cpu']}, "
        f"{machine['threads']} threads, {machine['memory_gib']} GiB.",
        "- **Limits**: other units are not found. For a recording of your own use "
        "`keras_crsae.applications.spike_sorting.sort`.", "",
        f"Measured by `{facts['training_command']}` with the exported file (accuracy TP / (TP + FN + FP) at 0.5 ms):",
        "", common.table(("recording", "accuracy", "precision", "recall", "worst unit", "times real time"), rows), ""])


if __name__ == "__main__":
    main()
