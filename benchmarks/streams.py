"""Does training wait for its input, and what do two processes give over one?

The first table trains one epoch from each kind of source, in turn with the same windows held in memory: what a stream
takes longer is waiting. Batches are read ahead by other threads, so reading itself may take longer. The second trains
at one global batch in one process and in two on this machine (the loopback interface in the place of a network), each
bound to cores of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks import common
from benchmarks.long_run import BATCH, CHANNELS, WINDOW, new_model, write_recording

ROOT = Path(__file__).parent.parent
SIZE, CROPS, IMAGE = 64, 4, 256  # pixels of a crop, crops of an image, pixels of an image


def recordings(data, folder, waited):
    """{kind: dataset of batches} of one recording behind every interface that is installed.

    ``waited``: {kind: list} that receives the seconds of reading each batch.
    """
    import tensorflow as tf

    from keras_crsae.data.streams.recording_windows import window_batches
    from keras_crsae.data.streams.tfrecords import record_batches

    made = {"memory map": window_batches(data, WINDOW, BATCH, waited=waited["memory map"])}
    with tf.io.TFRecordWriter(str(folder / "y.tfrecord")) as file:
        for start in range(0, len(data), WINDOW):
            file.write(tf.io.serialize_tensor(np.asarray(data[start:start + WINDOW])).numpy())
    made["TFRecord"] = record_batches(folder / "y.tfrecord", BATCH, waited=waited["TFRecord"])
    try:
        import h5py

        stored = h5py.File(folder / "y.h5", "w").create_dataset("y", data=data, chunks=(WINDOW, CHANNELS))
        made["HDF5"] = window_batches(stored, WINDOW, BATCH, waited=waited["HDF5"])
    except ModuleNotFoundError:
        made["HDF5"] = None
    try:
        import zarr

        stored = zarr.open(str(folder / "y.zarr"), mode="w", shape=data.shape, chunks=(10 * WINDOW, CHANNELS),
                           dtype=data.dtype)
        stored[:] = data
        kind = "Zarr, ten windows a chunk, compressed"
        made[kind] = window_batches(stored, WINDOW, BATCH, waited=waited[kind])
    except ModuleNotFoundError:
        made["Zarr"] = None
    try:
        from spikeinterface.core import BinaryRecordingExtractor

        np.asarray(data).tofile(folder / "y.dat")
        recording = BinaryRecordingExtractor(folder / "y.dat", 10_000.0, num_channels=CHANNELS, dtype="float32")
        kind = "SpikeInterface, binary"
        made[kind] = window_batches(recording, WINDOW, BATCH, waited=waited[kind])
    except ModuleNotFoundError:
        made["SpikeInterface"] = None
    return made


def images(folder, count, waited):
    """A stream of crops, the same number of crops in memory, and a model of them."""
    import keras

    import keras_crsae as kc
    from keras_crsae.data.images import write_image
    from keras_crsae.data.streams.folder_crops import image_batches

    rng = np.random.default_rng(0)
    for i in range(count):
        image = np.kron(rng.random((IMAGE // 8, IMAGE // 8)), np.ones((8, 8))) + 0.1 * rng.standard_normal((IMAGE,) * 2)
        write_image(folder / f"{i:04d}.png", (255 * np.clip(image, 0, 1)).astype("uint8"))
    stream = image_batches(folder, SIZE, BATCH, crops=CROPS, low_pass=2.0, waited=waited)
    held = np.concatenate([b.numpy() for b in stream])
    model = kc.CRsAE(16, 8, rank=2, strides=2, iterations=10, gradient="decoder", shrinkage="soft", sigma=0.1,
                     lambda_learning="em_closed_form", lambda_prior=kc.GammaPrior(strength=10.0), seed=0)
    model.adapt(held[:32], init="windows")
    model.compile(keras.optimizers.Adam(1e-2))
    return model, stream, held


def waiting(arguments, folder, batches):
    """The table of sources."""
    write_recording(folder / "y.npy", batches * BATCH * WINDOW)
    data = np.load(folder / "y.npy", mmap_mode="r")
    data = np.nan_to_num(data)
    np.save(folder / "clean.npy", data)
    model = new_model(data)
    held = data.reshape(-1, WINDOW, CHANNELS)
    data = np.load(folder / "clean.npy", mmap_mode="r")
    waited = defaultdict(list)
    sources = {"in memory": held, **recordings(data, folder, waited)}
    (folder / "images").mkdir()
    image_model, stream, crops = images(folder / "images", batches * BATCH // CROPS,
                                         waited["folder of PNG files"])
    missing = [name for name, source in sources.items() if source is None]
    rows, found = [], {}
    for title, one, group in (("windows", model, {n: s for n, s in sources.items() if s is not None}),
                              ("image crops", image_model, {"crops in memory": crops, "folder of PNG files": stream})):
        functions = {name: (lambda one=one, source=source: one.fit(
            source, batch_size=BATCH if isinstance(source, np.ndarray) else None, verbose=0))
            for name, source in group.items()}
        for function in functions.values():
            function()
        times = common.alternate(functions, 3 if arguments.short else 7, 120.0)
        base = times[next(iter(group))]["minimum"]  # the least disturbed epoch: other work comes and goes
        for name, t in times.items():
            share, reading = max(0.0, 1 - base / t["minimum"]), float(np.median(waited[name] or [0.0]))
            found[name] = {**t, "share of waiting": share, "reading a batch": reading}
            rows.append([title, name, common.seconds(t["minimum"] / batches), common.seconds(reading), f"{share:.1%}"])
    rows += [["windows", name, common.NOT_INSTALLED, "", ""] for name in missing]
    headers = ["of", "source", "a step", "reading a batch", "share of waiting"]
    return common.report("streams", arguments, headers, rows, found,
                         f"epochs of {batches} steps of {BATCH} windows of {WINDOW} x {CHANNELS}, or of {BATCH} crops "
                         f"of {SIZE} x {SIZE}, {CROPS} of each image")


def worker(folder, index, cores, steps):
    """Train in one of several processes (or the only one), and print seconds a step as JSON."""
    os.sched_setaffinity(0, cores)
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ[name] = str(len(cores))
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    together = "TF_CONFIG" in os.environ
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if together else tf.distribute.get_strategy()
    import keras

    from keras_crsae.data.streams.recording_windows import window_batches

    data, at = np.load(folder / "clean.npy", mmap_mode="r"), []

    class Times(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            at.append(time.perf_counter())
            self.model.stop_training = len(at) >= steps

    with strategy.scope():
        model = new_model(data)
    model.fit(window_batches(data, WINDOW, BATCH), epochs=10**6, verbose=0, callbacks=[Times()])
    if not index:
        print(json.dumps({"step": float(np.median(np.diff(at)[len(at) // 3:])),
                          "kernel": keras.ops.convert_to_numpy(model.dictionary.kernel).ravel().tolist()}))


def run_workers(folder, cores, steps):
    """What the first of some processes printed; ``cores``: a list of cores for each process."""
    from contextlib import ExitStack
    from socket import socket

    with ExitStack() as stack:
        sockets = [stack.enter_context(socket()) for _ in cores]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    started = []
    for index, own in enumerate(cores):
        environment = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
        if len(cores) > 1:
            environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses},
                                                   "task": {"type": "worker", "index": index}})
        started.append(subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.streams", "--worker", str(folder), str(index),
             json.dumps(own), str(steps)], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE))
    said = [one.communicate(timeout=600) for one in started]
    if any(one.returncode for one in started):
        raise RuntimeError("\n".join(text[1][-1500:] for text in said))
    return json.loads(said[0][0].strip().splitlines()[-1])


def processes(arguments, folder, steps):
    """The table of one process and two."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise SystemExit("Two processes need two cores, and this machine has one.")
    cores = available[:2]
    kinds = {"one process, one core": [cores[:1]], "one process, two cores": [cores],
             "two processes, a core each": [cores[:1], cores[1:]]}
    found = {name: run_workers(folder, own, steps) for name, own in kinds.items()}
    kernels = [np.array(v.pop("kernel")) for v in found.values()]
    found["largest difference of the filters"] = float(max(np.abs(k - kernels[0]).max() for k in kernels))
    base = found["one process, one core"]["step"]
    rows = [[name, common.seconds(found[name]["step"]), f"{BATCH * WINDOW / found[name]['step'] / 1e6:.2f}",
             f"{base / found[name]['step']:.2f}"] for name in kinds]
    return common.report("streams", arguments, ["processes", "a step", "million samples a second",
                                                "times one process on one core"], rows, found,
                         f"one and two processes, {BATCH} windows a step in all; filters differ by "
                         f"{found['largest difference of the filters']:.0e} after {steps} steps")


def main():
    options = common.parser(__doc__.splitlines()[0])
    options.add_argument("--worker", nargs=4, metavar=("FOLDER", "INDEX", "CORES", "STEPS"),
                         help="what the script starts itself for")
    arguments = options.parse_args()
    if arguments.worker:
        folder, index, cores, steps = arguments.worker
        return worker(Path(folder), int(index), json.loads(cores), int(steps))
    available = os.sched_getaffinity(0)
    described = common.machine(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common.limit_threads(arguments.threads)
        sections = [waiting(arguments, folder, 16 if arguments.short else 64)]
        os.sched_setaffinity(0, available)
        sections.append(processes(arguments, folder, 30 if arguments.short else 150))
    arguments.worker = None
    common.save("streams", arguments, described, sections)


if __name__ == "__main__":
    main()
