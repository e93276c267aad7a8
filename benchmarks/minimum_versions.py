"""Does the package work with the lowest versions that pyproject.toml allows of what it needs?

Makes an environment with exactly those (TensorFlow's wheel is large: some minutes), then fits, saves, loads, converts
and runs a model in it, in Keras, in onnxruntime and on the command line.

    python -m benchmarks.minimum_versions
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: What the smoke test works with; the other extras bring libraries of their own, with pins of their own.
EXTRAS = ("train", "export", "runtime-cpu", "images", "plots")
SMOKE = """
import sys, warnings
import numpy as np
import keras
import keras_crsae as kc
from importlib.metadata import version
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from keras_crsae.callbacks import SaveProgress
from keras_crsae.cli import main
from keras_crsae.data.images import write_image
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.data.streams.recording_windows import window_batches
from keras_crsae.plots import plot_templates

for pin in sys.argv[1:]:
    name, _, wanted = pin.partition("==")
    found = version(name)
    assert found.split(".")[:len(wanted.split("."))] == wanted.split("."), f"{name} {found}, not {wanted}"
    print(f"{name} {found}")
truth = spike_templates(15, 2)
signal = simulate_spikes(truth, windows=8, samples=300, events_per_window=3, seed=0).signal.astype("float32")
model = kc.CRsAE(2, 15, iterations=20, sigma="estimate", sigma_learning=True, gradient="truncated", seed=0)
model.adapt(signal, init="energy")
model.compile(keras.optimizers.Adam(1e-2))
losses = model.fit(signal, epochs=3, batch_size=4, verbose=0, callbacks=[SaveProgress("p.keras", every=1)]).history
assert losses["loss"][-1] < losses["loss"][0], losses
model.fit(window_batches(signal.reshape(-1, 1), 300, 4), epochs=1, verbose=0)
model.save("m.keras")
again = keras.saving.load_model("m.keras")
code = model.encode(signal)
assert np.count_nonzero(code) and np.array_equal(code, again.encode(signal))
convert(model, "e.onnx")
encoder = SparseEncoder("e.onnx")
assert np.abs(encoder.encode(signal) - code).max() < 1e-3 * np.abs(code).max()
plot_templates(truth, np.asarray(model.dictionary.kernel)).savefig("t.png")
np.save("y.npy", signal.reshape(-1, 1))
write_image("i.png", (255 * np.random.default_rng(0).random((40, 40))).astype("uint8"))
for command in ("train y.npy --output c.keras --filters 2 --kernel-size 15 --epochs 1",
                "export c.keras c.onnx --validate", "encode c.keras y.npy z.npz", "info c.onnx",
                "denoise i.png clean.png --sigma 25"):
    assert main(command.split()) == 0, command
print("works")
"""


def requirements(project, extras=EXTRAS):
    """Requirements of the package and of some extras, those on the package itself left out."""
    optional = project["optional-dependencies"]
    return [*project["dependencies"],
            *(r for extra in extras for r in optional[extra] if not r.startswith(project["name"]))]


def lowest(requirement):
    """"name==version" of the lowest version that a requirement allows.

    Example:
        >>> lowest("tensorflow>=2.21,<2.22")
        'tensorflow==2.21'
    """
    found = re.match(r"([\w.-]+)(?:\[.*?\])?\s*(?:>=|==)\s*([\w.]+)", requirement)
    if found is None:
        raise ValueError(f"The requirement {requirement!r} has no lowest version. Write it as name>=version.")
    return "==".join(found.groups())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="of the environment, kept; none: a temporary one")
    args = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = list(dict.fromkeys(lowest(r) for r in requirements(project)))
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name) / "env"
        venv.create(folder, with_pip=True)
        python = folder.absolute() / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
        subprocess.run([*pip, *pins], check=True)
        subprocess.run([*pip, "--no-deps", str(ROOT)], check=True)
        outside = ("PYTHONPATH", "TF_CONFIG")
        made = subprocess.run([str(python), "-c", SMOKE, *pins], cwd=name, text=True, capture_output=True,
                              env={**{k: v for k, v in os.environ.items() if k not in outside},
                                   "TF_CPP_MIN_LOG_LEVEL": "3"})
    if made.returncode:
        raise SystemExit(f"{' '.join(pins)}\n{made.stdout}{made.stderr[-3000:]}\nThese do not work together: raise a "
                         "bound in pyproject.toml.")
    print(made.stdout)
    return made.stdout


if __name__ == "__main__":
    main()
