"""Does training and encoding of hours of recording stay flat in memory, lose no sample, and survive its faults?

A recording is simulated block by block into a file, with stretches of NaN in it. A model trains on it as it is read
(``window_batches``), bad batches skipped, progress saved; the process is killed in the middle and started again. Then
the file is encoded in windows, and reconstructed window by window.

    python -m benchmarks.long_run                             # two hours of recording, about ten minutes of training
    python -m benchmarks.long_run --minutes 10 --epochs 40    # four minutes of training
    python -m benchmarks.long_run --short                     # half a minute of recording: too short to judge memory

It fails where memory grows faster than ``--limit``, a sample is lost, codes differ or bad batches go unnoticed.
Memory is what the process holds of its own (without mapped files), with one arena of glibc's allocator: with the
default of many, any TensorFlow program creeps up for hours, as threads leave holes of their own (docs/training.md).
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import deque
from pathlib import Path

import numpy as np

from benchmarks import common

RATE, CHANNELS, KERNEL, FILTERS, WINDOW, BATCH = 10_000, 2, 45, 3, 2000, 16
BLOCK = 200_000  # samples that are simulated at a time
BAD_EVERY, BAD = 7, 50  # one block in so many holds so many NaN
JUDGED = 60.0  # seconds of readings that a slope needs
KEPT = 1000  # steps whose times are kept: a list of all would be the growth that is looked for


def write_recording(path, samples):
    """A ``.npy`` file (samples, channels) of float32, written block by block. Returns its CRC-32 and bad samples."""
    from keras_crsae.data.simulate import simulate_spikes, spike_templates

    one = spike_templates(KERNEL, FILTERS)
    templates = np.concatenate([one, 0.5 * one], axis=1) / np.sqrt(1.25)
    file = np.lib.format.open_memmap(path, "w+", np.float32, (samples, CHANNELS))
    check = bad = 0
    for number, start in enumerate(range(0, samples, BLOCK)):
        size = min(BLOCK, samples - start)
        made = simulate_spikes(templates, windows=1, samples=size, events_per_window=size // 200, seed=number).signal[0]
        made = made.astype(np.float32)
        if number % BAD_EVERY == 1:
            made[size // 2:size // 2 + BAD] = np.nan
            bad += BAD
        file[start:start + size] = made
        check = zlib.crc32(made.tobytes(), check)
    file.flush()
    return check, bad


class Memory(threading.Thread):
    """Resident memory of this process, once a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seconds, self.megabytes = [], []

    def run(self):
        page, begun = os.sysconf("SC_PAGE_SIZE"), time.monotonic()
        while True:
            fields = Path("/proc/self/statm").read_text().split()
            self.seconds.append(time.monotonic() - begun)
            # Without the pages of mapped files, which the system takes back when it wants them.
            self.megabytes.append((int(fields[1]) - int(fields[2])) * page / 2**20)
            time.sleep(1.0)

    def slope(self, begin, end):
        """MB in ten minutes, by least squares over the readings between two times; None for less than a minute."""
        t, m = (np.array(v[:min(len(self.seconds), len(self.megabytes))]) for v in (self.seconds, self.megabytes))
        inside = (t >= begin) & (t <= end)
        t, m = t[inside], m[inside]
        return None if len(t) < 3 or t[-1] - t[0] < JUDGED else float(600 * np.polyfit(t, m, 1)[0])


def new_model(data):
    import keras

    import keras_crsae as kc

    model = kc.CRsAE(FILTERS, KERNEL, iterations=20, gradient="decoder", sigma=1.0, lambda_learning="em_closed_form",
                     lambda_prior=kc.GammaPrior(strength=10.0), seed=0)
    model.adapt(np.asarray(data[:64 * WINDOW]).reshape(64, WINDOW, CHANNELS), init="energy")
    model.compile(keras.optimizers.Adam(1e-2), nonfinite="skip")
    return model


def work(folder, epochs, kill_after):
    """Train, and encode where training came to its end; the result goes to ``result.json``."""
    import warnings

    import keras

    from keras_crsae.data.streams.recording_windows import window_batches
    from keras_crsae.training.callbacks import SaveProgress

    warnings.simplefilter("ignore")
    data, memory, waited = np.load(folder / "y.npy", mmap_mode="r"), Memory(), deque(maxlen=KEPT)
    memory.start()
    model, steps = new_model(data), deque(maxlen=KEPT)

    class Steps(keras.callbacks.Callback):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            steps.append(time.perf_counter())
            if self.done == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)

    batches = window_batches(data, WINDOW, BATCH, waited=waited)
    every = min(500, max(1, len(data) // (3 * WINDOW * BATCH)))
    begun = memory.seconds[-1] if memory.seconds else 0.0
    history = model.fit(batches, epochs=epochs, verbose=0,
                        callbacks=[SaveProgress(folder / "progress.keras", every=every), Steps()]).history
    ended = memory.seconds[-1]
    trained = memory.slope(begun + (ended - begun) / 3, ended)
    streamed = 1e3 * float(np.median(np.diff(steps)[len(steps) // 2:]))
    reading = float(np.median(waited))

    # Every window in order of time once more: nothing is lost on the way in.
    check = covered = 0
    for batch in window_batches(data, WINDOW, BATCH, shuffle=False):
        part = batch.numpy()
        check, covered = zlib.crc32(part.tobytes(), check), covered + part.shape[0] * part.shape[1]
    # ... and on the way out: the code of the file in windows has the code of any piece of it in one go.
    clean = folder / "clean.npy"
    signal_in = np.lib.format.open_memmap(clean, "w+", np.float32, (1, *data.shape))
    for start in range(0, len(data), BLOCK):
        signal_in[0, start:start + BLOCK] = np.nan_to_num(data[start:start + BLOCK])
    began = time.perf_counter()
    code = np.lib.format.open_memmap(folder / "code.npy", "w+", np.float32, (1, len(data) - KERNEL + 1, FILTERS))
    mark = memory.seconds[-1]
    model.encode(signal_in, out=code, window=BLOCK)
    seconds = time.perf_counter() - began
    reach = 20 * (KERNEL - 1)  # what 20 iterations can see
    rng, worst, energy = np.random.default_rng(0), 0.0, 0.0
    for start in rng.integers(reach, len(data) - 4 * reach, 20):
        piece = signal_in[:, start - reach:start + 3 * reach]
        inner = model.encode(np.asarray(piece))[:, reach:2 * reach]
        worst = max(worst, float(np.abs(inner - code[:, start:start + reach]).max()))
        energy = max(energy, float(np.abs(inner).max()))
    result = {
        "samples": len(data), "crc32": check, "covered": covered, "epochs": epochs,
        "skipped batches": float(model.training_state.skipped_batches), "loss": history["loss"][-1],
        "megabytes in ten minutes, training": trained, "seconds of training": ended - begun,
        "megabytes at the end": memory.megabytes[-1],
        "megabytes in ten minutes, encoding": memory.slope(mark, memory.seconds[-1]),
        "milliseconds a step": streamed,
        "share of a step that reading its batch takes, were it not read ahead": 1e3 * reading / streamed,
        "encoded in seconds": seconds, "largest difference of codes": worst, "largest code": energy}
    (folder / "result.json").write_text(json.dumps(result))


def failures(result, limit):
    """What went wrong in a run, as sentences."""
    grown = {name: value for name, value in result.items() if name.startswith("megabytes in") and value is not None}
    return [*(f"{name}: {value:.2f}, more than {limit:g}" for name, value in grown.items() if value > limit),
            *(text for text, happened in (
                ("samples were lost", not result["samples kept"]),
                ("codes of windows differ from those in one go",
                 not result["largest difference of codes"] < 1e-3 * result["largest code"]),
                ("bad batches were not noticed", result["bad samples"] and not result["skipped batches"]),
            ) if happened)]


def main():
    options = common.parser(__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=120.0, help="of recording")
    options.add_argument("--epochs", type=int, default=8)
    options.add_argument("--limit", type=float, default=1.0, help="MB in ten minutes that memory may grow")
    options.add_argument("--work", nargs=2, metavar=("FOLDER", "KILL_AFTER"), help="what the script starts itself for")
    args = options.parse_args()
    if args.work:
        common.limit_threads(args.threads)
        return work(Path(args.work[0]), args.epochs, int(args.work[1]))
    samples = int((0.5 if args.short else args.minutes) * 60 * RATE) // (WINDOW * BATCH) * WINDOW * BATCH
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check, bad = write_recording(folder / "y.npy", samples)
        batches = samples // (WINDOW * BATCH)
        began = time.monotonic()
        for kill_after in (batches // 2, 0):  # killed in the first epoch, then left to its end
            made = subprocess.run([sys.executable, "-m", "benchmarks.long_run", "--threads", str(args.threads),
                                   "--epochs", str(args.epochs), "--work", name, str(kill_after)],
                                  env={**os.environ, "MALLOC_ARENA_MAX": "1"})
            if made.returncode != (-signal.SIGKILL if kill_after else 0):
                raise SystemExit(f"The training process ended with {made.returncode}.")
        result = json.loads((folder / "result.json").read_text())
    result.update({"samples kept": result.pop("crc32") == check and result.pop("covered") == samples,
                   "bad samples": bad, "seconds in all": time.monotonic() - began})
    rows = [[key, "less than a minute" if value is None else f"{value:.4g}" if isinstance(value, float) else value]
            for key, value in result.items()]
    section = common.report("long_run", args, ["what", "found"], rows, result)
    args.work = None
    common.save("long_run", args, common.machine(args.threads), [section])
    if wrong := failures(result, args.limit):
        raise SystemExit("The long run failed: " + "; ".join(wrong) + ".")
    return result


if __name__ == "__main__":
    main()
