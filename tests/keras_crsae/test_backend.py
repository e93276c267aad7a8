"""Models that TensorFlow made compute the same under JAX and PyTorch, without TensorFlow; training is refused there.

An interpreter that holds JAX (PyTorch) and no TensorFlow may be named by KERAS_CRSAE_PYTHON_JAX (.._TORCH).
"""

import importlib.util
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import sparse

import keras_crsae as kc
from keras_crsae import backend, zoo
from keras_crsae.data.simulate import spike_templates
from keras_crsae.problem import Matrix

#: TensorFlow, where it is installed, cannot be imported in the other interpreter.
WITHOUT_TENSORFLOW = """
import importlib.util, sys
if importlib.util.find_spec("tensorflow"):
    sys.modules["tensorflow"] = None
"""


def results(folder):
    """What each saved model of a folder gives, by file and method; stands by itself, as another interpreter runs it."""
    from pathlib import Path

    import keras
    import numpy as np

    import keras_crsae  # noqa: F401  # registers the classes
    from keras_crsae.applications.denoising import denoise
    from keras_crsae.models import CDLNet

    found = {}
    for path in sorted(Path(folder).glob("*.keras")):
        model, signal = keras.saving.load_model(path), np.load(path.with_suffix(".npy"))
        code = model.encode(signal)
        found[f"{path.stem} encode"], found[f"{path.stem} decode"] = code, model.decode(code)
        found[f"{path.stem} separate"] = model.separate(signal)
        same_code = np.load(path.with_suffix(".code.npy"))
        if not isinstance(model, CDLNet):  # it minimises no objective
            for name, values in model.convergence(signal, same_code)._asdict().items():
                found[f"{path.stem} {name}"] = values
        if model.rank == 2:
            level = {"noise": "poisson", "peak": 2.0} if path.stem == "denoise-poisson" else {"sigma": 0.1}
            found[f"{path.stem} denoise"] = denoise(signal[0].squeeze(), model=model, shifts=4, **level)
        if path.stem == "signals":
            found["signals call"] = keras.ops.convert_to_numpy(model(signal))  # JAX takes long to run it uncompiled
            mask = (np.arange(signal.size).reshape(signal.shape) % 7 > 0).astype("float32")
            found["signals masked"] = model.encode(signal, mask=mask, sigma=0.5)
            found["signals windows"] = model.encode(signal, window=100)
            found["signals predict"] = model.predict(signal, verbose=0)
    return found


#: Runs after ``results`` in the other interpreter.
IN_ANOTHER = """
folder, backend = sys.argv[1:]
import keras, numpy as np
assert keras.config.backend() == backend
np.savez(f"{folder}/{backend}.npz", **results(folder))
model, signal = keras.saving.load_model(f"{folder}/signals.keras"), np.load(f"{folder}/signals.npy")
model.compile("adam")
def active():
    model.encoder.active = True
    model.encode(signal)
for call in (lambda: model.fit(signal), lambda: model.evaluate(signal), lambda: model.train_on_batch(signal), active):
    try:
        call()
    except RuntimeError as error:
        assert "needs Keras on TensorFlow" in str(error) and f"KERAS_BACKEND={backend}" in str(error), error
    else:
        raise AssertionError("not refused")
assert sys.modules.get("tensorflow") is None
"""


def zoo_models():
    """Names to try: one of each architecture; all where another interpreter is named, by whoever wants to know."""
    if any(name.startswith("KERAS_CRSAE_PYTHON_") for name in os.environ):
        return zoo.names()
    kinds = {}
    for name in zoo.names():
        config = json.loads(zoo.path_of(name, zoo.CONFIG).read_text())
        kinds.setdefault(repr([config["filters"], config["kernel_size"], config["strides"]]), name)
    return list(kinds.values())


def zoo_signal(model, name, rng):
    """A small recording, an image, or an image of counts, float32."""
    if model.rank == 1:
        return 3 * rng.standard_normal((1, 600, 1), dtype=np.float32)
    shape = (1, 19, 24, model.dictionary.channels)
    return rng.poisson(2.0, shape).astype(np.float32) if name == "denoise-poisson" else rng.random(shape, np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of small models and of the zoo's, with data, and what TensorFlow makes of them."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("models")
    one, templates = {"iterations": 12, "sigma": 1.0, "lambda_init": 0.5, "seed": 0}, spike_templates(15, 2)
    phi = sparse.random(60, 120, 0.1, random_state=0, format="csr")
    counts = rng.poisson(0.8, (2, 130, 1)).astype("float32")
    cases = {"signals": (kc.CRsAE(2, 15, **one), rng.standard_normal((2, 301, 1))),
             "dense": (kc.CRsAE(3, 15, dense_filters=1, **one), rng.standard_normal((1, 130, 2))),
             "rank_one": (kc.CRsAE(2, 15, kernel_rank=1, shrinkage="soft", **one), rng.standard_normal((1, 130, 5))),
             "counts": (kc.CRsAE(2, 15, likelihood="poisson", iterations=12, lambda_init=0.5, seed=0), counts),
             "measured": (kc.CRsAE(2, 15, measurement=Matrix(phi), **one), rng.standard_normal((2, 60, 1))),
             "images": (kc.Denoiser(8, 5, strides=2, **{**one, "lambda_init": 0.1, "sigma": 0.1}),
                        rng.random((1, 24, 31, 1)))}
    for name, (model, signal) in cases.items():
        signal = signal.astype("float32")
        model.build((None,) * (model.rank + 1) + (signal.shape[-1],))
        if model.filters == 2 and signal.shape[-1] == 1:
            model.set_dictionary(templates)
        model.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", signal)
        np.save(folder / f"{name}.code.npy", model.encode(signal))
    for name in zoo_models():
        model = zoo.load_model_from_zoo(name)
        signal = zoo_signal(model, name, rng)
        shutil.copy(zoo.path_of(name, zoo.MODEL), folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", signal)
        np.save(folder / f"{name}.code.npy", model.encode(signal))
    return folder, results(folder)


@pytest.fixture(scope="module", params=["jax", "torch"])
def interpreter(request):
    """(backend, Python that holds it), or skip."""
    other = os.environ.get(f"KERAS_CRSAE_PYTHON_{request.param.upper()}")
    if other is None and importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed: pip install '.[{request.param}]'")
    return request.param, other or sys.executable


@pytest.mark.slow
def test_saved_models_give_the_same_on_another_backend(interpreter, saved):  # in this order: no work for a skip
    name, python = interpreter
    folder, expected = saved
    root = Path(kc.__file__).parents[1]
    code = WITHOUT_TENSORFLOW + inspect.getsource(results) + IN_ANOTHER
    environment = {**os.environ, "KERAS_BACKEND": name,
                   "PYTHONPATH": os.pathsep.join([str(root), str(root / "export")])}
    done = subprocess.run([python, "-c", code, str(folder), name], env=environment, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / f"{name}.npz") as found:
        assert set(found.files) == set(expected)
        for key, right in expected.items():
            # A gap is a small difference of two objectives.
            scale = expected[f"{key.split()[0]} objective"].max() if key.endswith(" gap") else max(np.abs(right).max(),
                                                                                                  1.0)
            # Beside dense filters without a penalty the bound is that of a fit in float32, exact to its rounding.
            near = 1e-4 if key in ("dense gap", "dense remaining") else 1e-5
            np.testing.assert_allclose(found[key], right, rtol=0, atol=near * scale, err_msg=key)


def test_a_name_of_the_stand_in_says_what_is_needed(monkeypatch):
    monkeypatch.setattr(backend, "IS_TENSORFLOW", False)
    monkeypatch.setattr(backend, "BACKEND", "jax")
    with pytest.raises(RuntimeError, match="needs Keras on TensorFlow.*Received: KERAS_BACKEND=jax"):
        backend._NoTensorFlow().function()


def test_a_portable_pass_reads_the_present_values_of_variables():
    variable = keras.Variable(2.0)
    run = backend.portable_pass(lambda x: variable * x, [variable])
    assert run(x=np.float32(3.0)) == 6.0
    variable.assign(4.0)
    assert run(x=np.float32(3.0)) == 12.0
