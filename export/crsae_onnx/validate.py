"""A model against its exported file: names, shapes, then values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.count_prediction import linear_of, mean_of
from crsae_onnx.core.counts import as_size
from crsae_onnx.core.measurement_spec import MeasurementSpec
from crsae_onnx.core.reference_denoiser import denoise_by_reference
from crsae_onnx.core.spec import (
    COUNT_OUTPUTS,
    LOGITS,
    MASK,
    OUTPUTS,
    SIGMA,
    TOLERANCES,
    TRIALS,
    EncoderSpec,
    Exportable,
    Reference,
)
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.peak_rule import PeakRule
from crsae_onnx.core.spikes.whitening import Whitening
from crsae_onnx.file_format import container
from crsae_onnx.runtime.sparse_encoder import SparseEncoder

Array = NDArray[np.floating]


class ValidationError(ValueError):
    """The exported file does not compute what the model computes, or the check proves nothing."""


class NameMismatch(ValidationError):
    """The file belongs to another kind of model: rank, sizes or code prior differ."""


class ShapeMismatch(ValidationError):
    """An output has another shape than the model's."""


class ValueMismatch(ValidationError):
    """Values differ by more than the tolerance.

    Attributes:
        difference: the largest, relative to the reference's largest absolute value.
    """

    def __init__(self, message: str, difference: float) -> None:
        super().__init__(message)
        self.difference = difference


class Report(list[dict[str, Any]]):
    """One dict a comparison: output, shape (of the signal), given (further inputs), difference, nonzero.

    Prints as a table; ``difference`` is the largest of all.
    """

    @property
    def difference(self) -> float:
        return max(row["difference"] for row in self)

    def __str__(self) -> str:
        lines = [f"{'output':15} {'signal':20} {'with':12} {'difference':>10} {'non-zero':>9}"]
        lines += [f"{row['output']:15} {str(row['shape']):20} {' '.join(row['given']) or '-':12} "
                  f"{row['difference']:10.1e} {row['nonzero']:9.1%}" for row in self]
        return "\n".join(lines)


def validate(model: Exportable, path: str | os.PathLike[str], shapes: Sequence[Sequence[int]] | None = None,
             tolerance: float | None = None, seed: int = 0, record: bool = False) -> Report:
    """Compare a model with its exported file on random signals: noise, and filters placed at random.

    Args:
        model: ``keras_crsae.CRsAE``, or any object with ``export_spec()`` and ``export_reference()``.
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
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> from crsae_onnx.validate import validate
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> report = validate(model, convert(model, "encoder.onnx"))
        >>> report.difference < 1e-4
        True
    """
    encoder, spec = SparseEncoder(path), model.export_spec()
    encoder.level.active = False  # the signals' level is chosen for the code
    _compare_names(spec, encoder.info)
    tolerance = TOLERANCES[encoder.info["precision"]] if tolerance is None else tolerance
    comparison = _Comparison(spec, model.export_reference(encoder.info["tolerance"]), encoder, tolerance, seed)
    shapes = shapes or ([(batch, *spec.head.space, spec.channels) for batch in (1, 3)] if spec.head is not None else
                        _default_shapes(encoder.info, spec.measurement))
    report = Report(row for shape in shapes for row in comparison.rows(tuple(shape)))
    if record:
        _record(path, report, tolerance, encoder, spec)
    return report


def _record(path: str | os.PathLike[str], report: Report, tolerance: float, encoder: SparseEncoder,
            spec: EncoderSpec) -> None:
    import onnxruntime

    container.rewrite(path, {**encoder.info, "parity": {
        "difference": report.difference, "tolerance": tolerance, "comparisons": len(report),
        "shapes": sorted({row["shape"] for row in report}), "provider": encoder.provider, **spec.versions,
        "onnxruntime": onnxruntime.__version__}})


def _compare_names(spec: EncoderSpec, info: dict[str, Any]) -> None:
    facts = {"rank": spec.rank, "channels": spec.channels, "filters": spec.filters,
             "kernel_size": list(spec.kernel_size), "strides": list(spec.strides), "iterations": spec.iterations,
             "code_prior": spec.code_prior, "likelihood": spec.likelihood}
    for name, value in facts.items():
        if info.get(name) != value:
            raise NameMismatch(f"The model has {name}={value}, the file {name}={info.get(name)}: it was not converted "
                               "from this model. Convert the model again.")


def _default_shapes(info: dict[str, Any], measurement: MeasurementSpec | None = None) -> list[tuple[int, ...]]:
    if measurement is not None and measurement.matrix is not None:
        channels = 1 if measurement.flat else info["channels"]
        return [(batch, *measurement.data_space(()), channels) for batch in (1, 3)]
    if measurement is not None:
        signals = _default_shapes(info)
        return [(shape[0], *measurement.data_space(shape[1:-1]), shape[-1]) for shape in signals]
    period = [(k, s * b) for k, s, b in zip(info["kernel_size"], info["strides"], info["block"], strict=True)]
    return [(batch, *(k + (p * 5 if whole else 0) + extra + axis for axis, (k, p) in enumerate(period)),
             info["channels"])
            for batch, whole, extra in ((1, False, 40), (2, True, 0), (3, True, 37), (1, True, 101))]


class _Comparison:
    """A file against its reference, on random signals of one stream of random numbers."""

    def __init__(self, spec: EncoderSpec, reference: Reference, encoder: SparseEncoder, tolerance: float,
                 seed: int) -> None:
        self.spec, self.reference, self.encoder, self.tolerance = spec, reference, encoder, tolerance
        self.rng = np.random.default_rng(seed)
        self.outputs = [name for name in encoder.info["outputs"] if name in (*OUTPUTS, *COUNT_OUTPUTS, LOGITS)]
        inside = encoder.info.get("whitening_inside")
        self.whitening: Whitening | None = SpikeReader.from_json(encoder.info["spikes"]).whitening if inside else None

    def rows(self, shape: tuple[int, ...]) -> Iterator[dict[str, Any]]:
        """Rows of the report for signals of one shape."""
        if "denoised" in self.encoder.info["outputs"]:
            yield self._denoised(shape)
        if "spikes" in self.encoder.info["outputs"]:
            yield self._spikes(shape)
        if self.spec.size_name is not None:
            yield from self._counted(shape)
        elif self.outputs:
            yield from self._encoded(shape)

    def _encoded(self, shape: tuple[int, ...]) -> Iterator[dict[str, Any]]:
        """Code and reconstruction, without and with the optional inputs."""
        if self.spec.measurement is not None:
            yield from self._measured(self.spec.measurement, shape)
            return
        signal = self._signal(shape) if self.whitening is None else self._recording(self.whitening, shape)
        for inputs in self._inputs(signal):
            code = self.reference.encode(_whiten(self.whitening, signal), **inputs)
            nonzero = _share_of_nonzeros(code, shape)
            for name in self.outputs:
                if name == LOGITS:
                    expected = self._logits(code)
                    received = self.encoder.run([LOGITS], signal, inputs.get(MASK), inputs.get(SIGMA))[LOGITS]
                elif name == "code":
                    expected, received = code, self.encoder.encode(signal, inputs.get(MASK), inputs.get(SIGMA))
                else:
                    expected = self._decode(code, shape)
                    received = self.encoder.reconstruct(signal, inputs.get(MASK), inputs.get(SIGMA))
                yield self._row(name, shape, sorted(inputs), nonzero, expected, received)

    def _measured(self, measurement: MeasurementSpec, shape: tuple[int, ...]) -> Iterator[dict[str, Any]]:
        """As ``_encoded`` of data of this shape, by one matrix after another where there is a choice."""
        space = measurement.signal_space(shape[1:-1])
        whole = (shape[0], *space, self.spec.channels)
        numbers = [None] if measurement.count is None else sorted({0, measurement.count - 1})
        for number in numbers:
            data = measurement.forward(self._signal(whole), number).astype(np.float32)
            choice = {} if number is None else {"operator": number}
            for inputs in self._inputs(data):
                code = self.reference.encode(data, **inputs, **choice)
                nonzero = _share_of_nonzeros(code, shape)
                received = self.encoder.run(self.outputs, data, inputs.get(MASK), inputs.get(SIGMA), **choice)
                for name in self.outputs:
                    expected = code if name == "code" else self._decode(code, whole)
                    yield self._row(name, shape, sorted([*inputs, *choice]), nonzero, expected, received[name])

    def _counted(self, shape: tuple[int, ...]) -> Iterator[dict[str, Any]]:
        """Code, eta and mean of random counts, without and with the optional inputs."""
        spec = self.spec
        for inputs in self._count_inputs(shape):
            mask = inputs.get(MASK)
            counts, code = self._counts(shape, inputs)
            nonzero = _share_of_nonzeros(code, shape)
            eta = linear_of(spec, code, shape[1:-1])
            expected = {"code": code, "eta": eta, "mean": mean_of(str(spec.likelihood), eta)}
            received = self.encoder.run(self.outputs, counts, mask, **{k: v for k, v in inputs.items() if k != MASK})
            for name in self.outputs:
                yield self._row(name, shape, sorted(inputs), nonzero, expected[name], received[name])

    def _count_inputs(self, shape: tuple[int, ...]) -> list[dict[str, Array]]:
        """The optional inputs: without, and with all that the file has but a baseline, which a model takes none of."""
        inside, name = self.encoder.info["inputs"], str(self.spec.size_name)
        given: dict[str, Array] = {}
        if MASK in inside:
            given[MASK] = (self.rng.random(shape) < 0.8).astype(np.float32)
        if name in inside:
            largest = float(np.max(self.spec.size))
            given[name] = np.ceil(largest * self.rng.uniform(0.5, 3.0, shape[:1])) if name == TRIALS else \
                largest * self.rng.uniform(0.5, 2.0, shape[:1])
        return [{}] + ([given] if given else [])

    def _counts(self, shape: tuple[int, ...], inputs: dict[str, Array]) -> tuple[Array, Array]:
        """(counts, the model's code): events so strong that codes of some of them are not zero."""
        spec, counts, code = self.spec, np.zeros(shape), np.zeros(1)
        size = as_size(inputs.get(str(spec.size_name), spec.size), shape, str(spec.size_name),
                       per_signal=str(spec.size_name) in inputs)
        events = self._random_code(shape, 0.05, 1, 2)
        for strength in (1.0, 2.0, 4.0, 8.0):
            eta = np.minimum(linear_of(spec, strength * events, shape[1:-1], spec.kernel), 8.0)
            mean, sizes = mean_of(str(spec.likelihood), eta), np.broadcast_to(size, shape)
            counts = self.rng.poisson(sizes * mean) if spec.size_name != TRIALS else \
                self.rng.binomial(sizes.astype(int), mean)
            code = self.reference.encode(counts.astype(np.float32), **inputs)
            if code.any():
                break
        return counts.astype(np.float32), code

    def _spikes(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Spikes. A maximum so near its threshold that rounding decides may be a spike or not."""
        stored = self.encoder.info["spike_rule"]
        arrays = {name: np.asarray(stored[name]) for name in ("min_peak", "gain", "peak_offset")}
        rule = PeakRule(min_distance=stored["min_distance"], exclusion=stored["exclusion"], **arrays)
        if self.whitening is None:
            code = self._random_code(shape, 0.01, 1.2, 3) * rule.min_peak
            signal = self._decode(code, shape) + self.spec.sigma * self.rng.standard_normal(shape)
        else:
            signal = self._recording(self.whitening, shape, rule.min_peak.max())
        index, unit, amplitude = self.encoder.spikes(signal.astype(np.float32))
        code = self.reference.encode(_whiten(self.whitening, signal.astype(np.float32)))
        margin = max(10 * self.tolerance, 1e-3)
        likely, certain = (_by_place(*rule._replace(min_peak=rule.min_peak * factor).find(code))
                           for factor in (1 - margin, 1 + margin))
        received = _by_place(index, unit, amplitude)
        if not set(certain) <= set(received) <= set(likely):
            raise ValueMismatch(f"spikes of a signal {shape}: {len(set(certain) - set(received))} missing, "
                                f"{len(set(received) - set(likely))} too many of {len(certain)}. If the model was "
                                "trained since, convert it again.", 1.0)
        expected = np.array([[likely[spike] for spike in received] or [1.0]])
        return self._row("spikes", shape, [], len(received) / code.size, expected,
                         np.array([list(received.values()) or [1.0]]))

    def _denoised(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Noisy images of different noise levels."""
        clean = 0.5 + 0.3 * np.sin(np.arange(np.prod(shape[1:])).reshape(shape[1:]) / 7)
        level = np.linspace(0.05, 0.12, shape[0]).astype(np.float32)
        noisy = (clean + level[:, None, None, None] * self.rng.standard_normal(shape)).astype(np.float32)
        expected = np.concatenate([
            denoise_by_reference(self.reference, self.spec, image[None], float(sigma))
            for image, sigma in zip(noisy, level, strict=True)])
        return self._row("denoised", shape, [SIGMA], 1.0, expected, self.encoder.denoise(noisy, level))

    def _row(self, name: str, shape: tuple[int, ...], given: list[str], nonzero: float, expected: Array,
             received: Array) -> dict[str, Any]:
        return {"output": name, "shape": shape, "given": given, "nonzero": nonzero,
                "difference": relative_difference(name, shape, expected, received, self.tolerance)}

    def _logits(self, code: Array) -> Array:
        """W z + b of a classifier's head."""
        head: Any = self.spec.head
        return code.reshape(len(code), -1) @ head.weights + head.bias

    def _decode(self, code: Array, shape: tuple[int, ...]) -> Array:
        """Reconstruction of the signal's extent: samples that the stride padded are cut off."""
        extent = (slice(None), *(slice(0, n) for n in shape[1:-1]))
        return self.reference.decode(code.astype(np.float32))[extent]

    def _random_code(self, shape: tuple[int, ...], density: float, low: float, high: float) -> Array:
        positions = (-(-(n - k) // s) + 1 for n, k, s in
                     zip(shape[1:-1], self.spec.kernel_size, self.spec.strides, strict=True))
        code_shape = (shape[0], *positions, self.spec.filters)
        return (self.rng.random(code_shape) < density) * self.rng.uniform(low, high, code_shape)

    def _signal(self, shape: tuple[int, ...]) -> Array:
        """Noise and filters: loud enough for a code, quiet enough for zeros in it."""
        # The encoder scales with signal and penalty together: multiples of it give the same share of zeros for any.
        weight = float(self.spec.penalty_weight.max())
        signal = self._decode(self._random_code(shape, 0.02, 3, 9) * weight, shape)
        return (signal + 1.5 * weight * self.rng.standard_normal(shape)).astype(np.float32)

    def _recording(self, whitening: Whitening, shape: tuple[int, ...], level: float | None = None) -> Array:
        """White noise about the offset, 1.5 ``level`` when whitened; None: the penalty weight. A sample is missing, and
        a stretch of constant value where the recording is long enough."""
        level = float(self.spec.penalty_weight.max()) if level is None else level
        noise = self.rng.standard_normal(shape)
        noise *= 1.5 * level / np.std(_whiten(whitening, noise + whitening.offset))
        recording = (noise + whitening.offset).astype(np.float32)
        if shape[1] > 2:
            recording[0, shape[1] // 2, 0] = whitening.offset[0]
        blank = whitening.blank_samples + 2
        if whitening.blank_samples and shape[1] > 4 * blank:
            recording[0, blank:2 * blank, -1] = whitening.offset[-1] + 100 * level
        return recording

    def _inputs(self, signal: Array) -> list[dict[str, Array]]:
        """The optional inputs: without, and with all that the file has."""
        random: dict[str, Callable[[], Array]] = {
            MASK: lambda: (self.rng.random(signal.shape) < 0.8).astype(np.float32),
            SIGMA: lambda: (self.spec.sigma * self.rng.uniform(0.7, 1.4, signal.shape[0])).astype(np.float32)}
        names = [name for name in random if name in self.encoder.info["inputs"]]
        return [{}] + ([{name: random[name]() for name in names}] if names else [])


def _whiten(whitening: Whitening | None, signal: Array) -> Array:
    if whitening is None:
        return signal
    return np.stack([whitening(recording, 0, len(recording)) for recording in signal])


def _by_place(index: NDArray, unit: NDArray, amplitude: Array) -> dict[tuple[int, ...], float]:
    """{(batch entry, sample, unit): amplitude}."""
    return {(*at, u): a for at, u, a in zip(index.tolist(), unit.tolist(), amplitude.tolist(), strict=True)}


def _share_of_nonzeros(code: Array, shape: tuple[int, ...]) -> float:
    nonzero = np.count_nonzero(code) / code.size
    if nonzero in (0.0, 1.0):
        raise ValidationError(
            f"The reference code is all {'zero' if nonzero == 0 else 'non-zero'} for shape {shape}: comparing it "
            "proves nothing. " + ("Lower lambda or validate on longer signals." if nonzero == 0
                                  else "Raise lambda or run more iterations."))
    return nonzero


def relative_difference(name: str, shape: Sequence[int], expected: Array, received: Array, tolerance: float) -> float:
    """Largest difference over the largest absolute value expected; a ValidationError where it exceeds ``tolerance``."""
    if received.shape != expected.shape:
        raise ShapeMismatch(f"{name} for a signal {tuple(shape)}: the model gives {expected.shape}, the file "
                            f"{received.shape}. Convert the model again.")
    difference = float(np.max(np.abs(received - expected)) / np.max(np.abs(expected)))
    if not difference <= tolerance:
        raise ValueMismatch(f"{name} for a signal {tuple(shape)}: largest relative difference {difference:.2e}, "
                            f"tolerated {tolerance:.0e}. If the model was trained since, convert it again.", difference)
    return difference
