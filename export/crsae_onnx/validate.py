"""Keras against onnxruntime: names, shapes, then values."""

import numpy as np

from crsae_onnx.core.spec import MASK, OUTPUTS, SIGMA, TOLERANCES
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.peak_rule import SpikeRule
from crsae_onnx.file_format import container
from crsae_onnx.runtime.sparse_encoder import SparseEncoder


class ValidationError(ValueError):
    """The exported file does not compute what the model computes, or the check proves nothing."""


class NameMismatch(ValidationError):
    """The file was made from another kind of model: rank, sizes or shrinkage differ."""


class ShapeMismatch(ValidationError):
    """An output has another shape than the model's."""


class ValueMismatch(ValidationError):
    """Values differ by more than the tolerance.

    Attributes:
        difference: the largest, relative to the reference's largest absolute value.
    """

    def __init__(self, message, difference):
        super().__init__(message)
        self.difference = difference


class Report(list):
    """One dict a comparison: output, shape (of the signal), given (further inputs), difference, nonzero.

    Prints as a table; ``difference`` is the largest of all.
    """

    @property
    def difference(self):
        return max(row["difference"] for row in self)

    def __str__(self):
        lines = [f"{'output':15} {'signal':20} {'with':12} {'difference':>10} {'non-zero':>9}"]
        lines += [f"{row['output']:15} {str(row['shape']):20} {' '.join(row['given']) or '-':12} "
                  f"{row['difference']:10.1e} {row['nonzero']:9.1%}" for row in self]
        return "\n".join(lines)


def validate(model, path, shapes=None, tolerance=None, seed=0, record=False):
    """Compare a model with its exported file on random signals: noise, and filters placed at random.

    Args:
        model: ``keras_crsae.CRsAE``.
        path: its ``.onnx`` file.
        shapes: signal shapes (batch, *space, channels); None: several batch sizes and lengths, some the shortest
            possible, most of them dividing neither by the stride nor by the block.
        tolerance: largest difference relative to the largest absolute value of the reference; None: that of the
            file's precision in ``crsae_onnx.core.spec.TOLERANCES``.
        seed: of the signals.
        record: write the measured difference into the file, where ``crsae-onnx info`` shows it.

    Returns:
        A ``Report``, a list of dicts that prints as a table.

    Raises:
        NameMismatch: the file belongs to a model of other sizes.
        ShapeMismatch, ValueMismatch: an output differs.
        ValidationError: the reference code is all zero or has no zero: comparing it would prove nothing.
        ModelFileError: the file cannot be read.

    Example:
        >>> report = validate(model, "encoder.onnx")
        >>> report.difference < 1e-4
        True
    """
    encoder, rng = SparseEncoder(path), np.random.default_rng(seed)
    _compare_names(model, encoder.info)
    tolerance = TOLERANCES[encoder.info["precision"]] if tolerance is None else tolerance
    reference = _reference(model, encoder.info)
    rows = Report()
    whitening = _whitening(encoder.info)
    plain = [name for name in encoder.info["outputs"] if name in OUTPUTS]
    for shape in shapes or _shapes(encoder.info):
        if "denoised" in encoder.info["outputs"]:
            rows.append(_compare_denoised(model, encoder, shape, rng, tolerance))
        if "spikes" in encoder.info["outputs"]:
            rows.append(_compare_spikes(reference, encoder, whitening, shape, rng, tolerance))
        if not plain:
            continue
        signal = _signal(reference, shape, rng) if whitening is None else _recording(whitening, reference, shape, rng)
        for given in _givens(encoder.info, reference, signal, rng):
            expected = {"code": reference.encode(_whitened(whitening, signal), **given)}
            share = np.count_nonzero(expected["code"]) / expected["code"].size
            if share in (0.0, 1.0):
                raise ValidationError(
                    f"The reference code is all {'zero' if share == 0 else 'non-zero'} for shape {tuple(shape)}: "
                    "comparing it proves nothing. "
                    + ("Lower lambda or validate on longer signals." if share == 0
                       else "Raise lambda or run more iterations."))
            # What model(signal) is, without encoding twice.
            seen = tuple(slice(0, n) for n in shape[1:-1])
            expected["reconstruction"] = reference.decode(expected["code"])[(slice(None), *seen)]
            for name in plain:
                got = encoder.encode(signal, **given) if name == "code" else encoder.reconstruct(signal, **given)
                rows.append({"output": name, "shape": tuple(shape), "given": sorted(given), "nonzero": share,
                             "difference": _difference(name, shape, expected[name], got, tolerance)})
    if record:
        _record(path, rows, tolerance, encoder)
    return rows


def _record(path, rows, tolerance, encoder):
    import keras
    import onnxruntime

    container.rewrite(path, {**encoder.info, "parity": {
        "difference": rows.difference, "tolerance": tolerance, "comparisons": len(rows),
        "shapes": sorted({row["shape"] for row in rows}), "provider": encoder.provider, "keras": keras.__version__,
        "onnxruntime": onnxruntime.__version__}})


def _whitening(info):
    """The ``Whitening`` inside a file's graph, or None."""
    return SpikeReader.from_json(info["spikes"]).whitening if info.get("whitening_inside") else None


def _whitened(whitening, signal):
    if whitening is None:
        return signal
    return np.stack([whitening(recording, 0, len(recording)) for recording in signal])


def _recording(whitening, model, shape, rng, most=None):
    """White noise about the offset, so loud that it passes the threshold when whitened; one sample is missing."""
    most = np.max(np.asarray(model.lambda_reg)) * float(model.sigma) ** 2 if most is None else most
    noise = rng.standard_normal(shape)
    noise *= 1.5 * most / np.std(_whitened(whitening, noise + whitening.offset))
    made = (noise + whitening.offset).astype(np.float32)
    made[0, shape[1] // 2, 0] = np.nan if shape[1] > 2 else made[0, 0, 0]
    return np.nan_to_num(made, nan=float(whitening.offset[0]))


def _compare_spikes(model, encoder, whitening, shape, rng, tolerance):
    """A row of the report. A maximum so near its threshold that rounding decides may be a spike or not."""
    rule = SpikeRule(**{name: np.asarray(value) for name, value in encoder.info["spike_rule"].items()})
    if whitening is None:
        positions = (shape[0], shape[1] - encoder.info["kernel_size"][0] + 1, encoder.info["filters"])
        code = (rng.random(positions) < 0.01) * rng.uniform(1.2, 3, positions) * rule.threshold
        signal = (model.decode(code.astype(np.float32)) + float(model.sigma) * rng.standard_normal(shape))
    else:
        signal = _recording(whitening, model, shape, rng, rule.threshold.max())
    index, unit, height = encoder.spikes(signal.astype(np.float32))
    code = model.encode(_whitened(whitening, signal.astype(np.float32)))
    margin = max(10 * tolerance, 1e-3)
    likely, sure = ({(*at, u): h for at, u, h in zip(*(v.tolist() for v in
                     rule._replace(threshold=rule.threshold * f).find(code)), strict=True) for at in [tuple(at)]}
                    for f in (1 - margin, 1 + margin))
    got = {(*at, u): h for at, u, h in zip(index.tolist(), unit.tolist(), height.tolist(), strict=True)}
    if not set(sure) <= set(got) <= set(likely):
        raise ValueMismatch(f"spikes of a signal {tuple(shape)}: {len(set(sure) - set(got))} missing, "
                            f"{len(set(got) - set(likely))} too many of {len(sure)}. If the model was trained since, "
                            "convert it again.", 1.0)
    expected = np.array([[likely[spike] for spike in got] or [1.0]])
    difference = _difference("spikes", shape, expected, np.array([list(got.values()) or [1.0]]), tolerance)
    return {"output": "spikes", "shape": tuple(shape), "given": [], "nonzero": len(got) / code.size,
            "difference": difference}


def _compare_denoised(model, encoder, shape, rng, tolerance):
    """A row of the report: noisy images against ``applications.denoising.pipeline``."""
    from keras_crsae.applications.denoising.pipeline import denoise

    clean = 0.5 + 0.3 * np.sin(np.arange(np.prod(shape[1:])).reshape(shape[1:]) / 7)
    level = np.linspace(0.05, 0.12, shape[0]).astype(np.float32)
    noisy = (clean + level[:, None, None, None] * rng.standard_normal(shape)).astype(np.float32)
    expected = np.stack([denoise(image, model, sigma=float(s)) for image, s in zip(noisy, level, strict=True)])
    return {"output": "denoised", "shape": tuple(shape), "given": [SIGMA], "nonzero": 1.0,
            "difference": _difference("denoised", shape, expected, encoder.denoise(noisy, level), tolerance)}


def _compare_names(model, info):
    dictionary = model.dictionary
    facts = {"rank": dictionary.rank, "channels": dictionary.channels, "filters": dictionary.filters,
             "kernel_size": list(dictionary.kernel_size), "strides": list(dictionary.strides),
             "iterations": model.encoder.iterations, "shrinkage": model.encoder.cell.shrinkage}
    for name, value in facts.items():
        if info.get(name) != value:
            raise NameMismatch(f"The model has {name}={value}, the file {name}={info.get(name)}: it was not converted "
                               "from this model. Convert the model again.")


def _reference(model, info):
    """The model, or a copy that computes as the file does: in float32, densely, with the file's tolerance."""
    wanted = {"tolerance": info.get("tolerance"), "active": False}
    if all(getattr(model.encoder, name) == value for name, value in wanted.items()) \
            and model.compute_dtype == "float32":
        return model
    more = {"dtype": "float32"}
    if wanted["tolerance"] is not None:
        more["unroll"] = False
    copy = type(model).from_config({**model.get_config(), **wanted, **more})
    copy.build((None,) * (model.rank + 1) + (model.dictionary.channels,))
    copy.set_weights(model.get_weights())
    return copy


def _shapes(info):
    sizes = zip(info["kernel_size"], info["strides"], info.get("block", info["strides"]), strict=True)
    period = [(k, s * b) for k, s, b in sizes]
    return [(batch, *(k + (p * 5 if whole else 0) + extra + axis for axis, (k, p) in enumerate(period)),
             info["channels"])
            for batch, whole, extra in ((1, False, 40), (2, True, 0), (3, True, 37), (1, True, 101))]


def _signal(model, shape, rng):
    """Noise and filters: loud enough for a code, quiet enough for zeros in it."""
    kernel = np.asarray(model.dictionary.kernel, np.float32)
    # FISTA scales with signal and threshold together: so many of them give the same share of zeros for any lambda.
    threshold = float(np.max(np.asarray(model.lambda_reg))) * float(model.sigma) ** 2
    positions = model.dictionary.code_space(shape[1:-1])
    code_shape = (shape[0], *positions, kernel.shape[-1])
    code = (rng.random(code_shape) < 0.02) * rng.uniform(3, 9, code_shape) * threshold
    made = model.decode(code)[(slice(None), *(slice(0, n) for n in shape[1:-1]))]
    return (made + 1.5 * threshold * rng.standard_normal(shape)).astype(np.float32)


def _givens(info, model, signal, rng):
    """Without and with each optional input."""
    made = {MASK: lambda: (rng.random(signal.shape) < 0.8).astype(np.float32),
            SIGMA: lambda: (float(model.sigma) * rng.uniform(0.7, 1.4, signal.shape[0])).astype(np.float32)}
    names = [name for name in made if name in info["inputs"]]
    return [{}] + ([{name: made[name]() for name in names}] if names else [])


def _difference(name, shape, expected, got, tolerance):
    if got.shape != expected.shape:
        raise ShapeMismatch(f"{name} for a signal {tuple(shape)}: Keras gives {expected.shape}, the file {got.shape}. "
                            "Convert the model again.")
    difference = float(np.max(np.abs(got - expected)) / np.max(np.abs(expected)))
    if not difference <= tolerance:
        raise ValueMismatch(f"{name} for a signal {tuple(shape)}: largest relative difference {difference:.2e}, "
                            f"tolerated {tolerance:.0e}. If the model was trained since, convert it again.", difference)
    return difference
