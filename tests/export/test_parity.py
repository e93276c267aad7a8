"""Keras against onnxruntime over every triple of options, and for every model of the zoo."""

import hashlib
import itertools

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.core.spec import TOLERANCES
from crsae_onnx.validate import validate

import keras_crsae as kc
from keras_crsae import zoo
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.models import CDLNet

FACTORS = {"rank": (1, 2), "shrinkage": ("nonnegative_soft", "soft"), "strides": (1, 2), "channels": (1, 3),
           "block_size": (1, 4), "tolerance": (None, 1e-2), "precision": ("float32", "float16")}
#: Eight of the 128 combinations in which every pair of values of two factors meets (an orthogonal array, L8).
L8 = [(0, 0, 0, 0, 0, 0, 0), (0, 0, 0, 1, 1, 1, 1), (0, 1, 1, 0, 0, 1, 1), (0, 1, 1, 1, 1, 0, 0),
      (1, 0, 1, 0, 1, 0, 1), (1, 0, 1, 1, 0, 1, 0), (1, 1, 0, 0, 1, 1, 0), (1, 1, 0, 1, 0, 0, 1)]
#: The other level of each factor. Both together let every triple of values of three factors meet (strength 3).
FOLDED = [tuple(1 - level for level in row) for row in L8]


def compare(tmp_path, levels):
    chosen = {name: values[level] for (name, values), level in zip(FACTORS.items(), levels, strict=True)}
    channels, precision = chosen.pop("channels"), chosen.pop("precision")
    model = kc.CRsAE(filters=3, kernel_size=5, iterations=30, lambda_init=0.7, seed=sum(levels), **chosen)
    model.build((None,) * (model.rank + 1) + (channels,))
    path = convert(model, tmp_path / f"{''.join(map(str, levels))}.onnx", precision=precision)
    shapes = [(2, 37, channels), (1, 64, channels)] if model.rank == 1 else [(2, 13, 18, channels)]
    report = validate(model, path, shapes=shapes)
    assert report.difference <= (1e-5 if precision == "float32" else TOLERANCES[precision])
    return report


@pytest.mark.parametrize("levels", L8, ids=lambda v: "".join(map(str, v)))
def test_pairs_of_options(levels, tmp_path):
    compare(tmp_path, levels)


@pytest.mark.slow
@pytest.mark.parametrize("levels", FOLDED, ids=lambda v: "".join(map(str, v)))
def test_triples_of_options(levels, tmp_path):
    compare(tmp_path, levels)


@pytest.mark.parametrize("rows, size", [(L8, 2), ([*L8, *FOLDED], 3)], ids=["pairs", "triples"])
def test_the_arrays_cover_every_pair_and_every_triple(rows, size):
    for chosen in itertools.combinations(range(len(FACTORS)), size):
        assert {tuple(row[i] for i in chosen) for row in rows} == set(itertools.product((0, 1), repeat=size))


def random_shapes(info, count, seed=0):
    """Shapes of signals, some barely larger than a filter; sides have nothing in common with strides or blocks."""
    rng = np.random.default_rng(seed)
    least, most = (0, 90) if info["rank"] == 2 else (2000, 4000)  # little noise passes a sorter's threshold
    return [(int(rng.integers(1, 3)), *(int(k + rng.integers(least, most)) for k in info["kernel_size"]),
             info["channels"]) for _ in range(count)]


def compare_forms(written, looped, shapes):
    """The graph written out and that with a Loop compute the same."""
    rng = np.random.default_rng(1)
    for shape in shapes:
        signal = looped.info["sigma"] * 3 * rng.standard_normal(shape)
        for output in ("code", "reconstruction"):
            expected, made = (encoder.run([output], signal)[output] for encoder in (looped, written))
            assert np.abs(made - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", zoo.names())
def test_a_zoo_model_equals_its_file_at_thirty_shapes(name, tmp_path, count=30):
    model, path = zoo.load_model_from_zoo(name), zoo.path_of(name, zoo.ENCODER)
    shapes = random_shapes(SparseEncoder(path).info, count)
    report = validate(model, path, shapes=shapes)
    assert len(report) >= 2 * count and report.difference <= 1e-5
    if not isinstance(model, CDLNet):  # whose iterations share nothing: its file has no Loop
        compare_forms(*(SparseEncoder(convert(model, tmp_path / f"{loop}.onnx", loop=loop)) for loop in (False, True)),
                      shapes)
    half = convert(model, tmp_path / "half.onnx", precision="float16")
    assert validate(model, half, shapes=shapes[:5]).difference <= TOLERANCES["float16"] / 2


@pytest.mark.parametrize("name", zoo.names())
def test_a_zoo_file_says_what_it_is_and_belongs_to_its_model(name):
    path, facts = zoo.path_of(name, zoo.ENCODER), zoo.metadata(name)
    info = SparseEncoder(path).info
    assert info["name"] == name and info["training"] == facts["training_command"] and info["data"] == facts["data"]
    assert info["weights_sha256"] == zoo.load_model_from_zoo(name).export_spec().weights_sha256()
    assert info["parity"]["difference"] <= 1e-5 and info["preprocessing"]
    assert info["pixel_range"] == [0, 1] if info["rank"] == 2 else info["sampling_frequency"] > 0
    content = path.read_bytes()
    assert hashlib.sha256(content[:content.rindex(b"crsae_sha256") - 4]).hexdigest().encode() in content


def card_example(name):
    """The first Python block of a model's card."""
    text = zoo.path_of(name, zoo.CARD).read_text()
    return text.split("```python\n")[1].split("```")[0]


@pytest.mark.parametrize("name", [n for n in zoo.names() if zoo.metadata(n)["task"].startswith("denoise")])
def test_the_example_on_a_denoisers_card_runs(name):
    channels = zoo.load_model_from_zoo(name).dictionary.channels
    rng = np.random.default_rng(0)
    clean = np.tile(np.linspace(0.2, 0.8, 48, dtype=np.float32)[:, None, None], (1, 48, channels))
    levels = zoo.metadata(name)["sigma_in_grey_levels"]
    sigma = (levels[0] if len(levels) == 1 else 25) / 255
    assert f"sigma={255 * sigma:g} / 255" in card_example(name)
    noisy = np.float32(clean + sigma * rng.standard_normal(clean.shape))
    given = {"noisy": noisy[..., 0] if channels == 1 else noisy}
    exec(compile(card_example(name), f"{name}/README.md", "exec"), given)  # noqa: S102  the repository's own text
    made = given["clean"].reshape(clean.shape)
    assert np.mean((made - clean) ** 2) < 0.2 * np.mean((noisy - clean) ** 2)


def test_the_example_on_the_sorters_card_runs():
    filters = spike_templates(45, 3)
    made = simulate_spikes(filters, windows=1, samples=30_000, events_per_window=15, amplitude=(120.0, 12.0),
                           sigma=10.0, seed=5)
    given = {"recording": np.round(made.signal[0]).astype("int16")}
    exec(compile(card_example("spikes-single-channel"), "README.md", "exec"), given)  # noqa: S102
    start, unit = np.nonzero(made.code[0])
    true = np.sort(start + np.abs(filters[:, 0]).argmax(axis=0)[unit])
    found = np.sort(given["spikes"].peak_sample)
    assert len(found) == pytest.approx(len(true), abs=2)
    assert np.abs(true[:, None] - found).min(axis=1).max() <= 15 and given["spikes"].unit_id.max() == 2
