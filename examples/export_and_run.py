"""Train a small model, export it, and encode in onnxruntime. Needs the extras export and runtime-cpu.

    python examples/export_and_run.py

The part after the export needs nothing but numpy and onnxruntime, on any machine.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.validate import validate

import keras_crsae as kc
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates

keras.utils.set_random_seed(0)
truth = spike_templates(kernel_size=45, filters=3)
data = simulate_spikes(truth, windows=32, samples=1000, events_per_window=3, seed=0)

model = kc.CRsAE(filters=3, kernel_size=45, iterations=40, sigma="estimate", gradient="decoder")
model.set_dictionary(perturb_filters(truth, error=0.4, seed=1))
model.compile(keras.optimizers.Adam(1e-2))
model.fit(data.signal, epochs=3, batch_size=8)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "encoder.onnx"
    convert(model, path)
    worst = max(row["difference"] for row in validate(model, path, shapes=[(1, 501, 1), (3, 1024, 1)]))
    print(f"{path.stat().st_size / 1024:.0f} KiB; largest relative difference to Keras {worst:.1e}")

    encoder = SparseEncoder(path)
    signal = np.random.default_rng(1).standard_normal((1, 5000, 1)).astype("float32")   # (batch, time, channels)
    signal[0, 1000:1045] += 15 * truth[..., 1]
    code = encoder.encode(signal)                                                       # (1, 4956, 3)
    _, position, unit = (int(i[0]) for i in np.nonzero(code == code.max()))
    print(f"strongest code: filter {unit} at sample {position}, amplitude {code.max():.1f} (true: filter 1 at 1000)")
