"""Codes of an exported file by a search for the active parts of a signal, in place of its graph (NumPy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np

from crsae_onnx.core.active_set import ActiveSetEncoder
from crsae_onnx.core.active_windows import ActiveSetParameters
from crsae_onnx.core.spec import INPUT, MASK, OUTPUTS, SIGMA, SPIKE_TENSORS, tensors
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.peak_rule import PeakRule
from crsae_onnx.core.validation import as_positive_int
from crsae_onnx.file_format.active_search import active_search
from crsae_onnx.runtime.onnxruntime_internals import CPU
from crsae_onnx.runtime.sessions import BatchSplitter, Engine

#: Values that decoding adds to a signal at a time.
_DECODED_VALUES = 2**20
#: What ``SparseEncoder.provider`` says where such a search runs.
NUMPY = "NumPy"


def active_engine(info: Mapping[str, Any], name: str, providers: Any, threads: int | None,
                  tolerance: float | None) -> Engine:
    """A file's search for the active parts, in place of its graph.

    Args:
        info: what the file says about itself.
        name: of the file, for errors.
        providers: onnxruntime's: None, or the CPU alone.
        threads: signals, or windows of one, at a time; None: the cores.
        tolerance: see ``ActiveRunner``.

    Raises:
        ValueError: the file's model has no such search, an invalid option.

    Example:
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> from crsae_onnx.file_format import container
        >>> from crsae_onnx.runtime.active_runner import active_engine
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> content, info = container.read(convert(model, "encoder.onnx"))
        >>> active_engine(info, "encoder.onnx", None, None, None).outputs
        ('code', 'reconstruction')
    """
    if providers not in (None, CPU) and list(providers) != [CPU]:
        raise ValueError(f"active=True is computed by NumPy on the CPU, not by onnxruntime. Received: "
                         f"providers={providers!r}. Omit providers, or use active=False.")
    if tolerance is not None and not (isinstance(tolerance, Real) and 0 < tolerance < 1):
        raise ValueError(f"`active_tolerance` must be None or a number between 0 and 1. Received: {tolerance!r}")
    threads = None if threads is None else as_positive_int(threads, "threads")
    run = ActiveRunner(info, name, tolerance)
    return Engine(run, BatchSplitter(lambda: run, run, True, threads), tuple(info["inputs"]),
                  tuple(tensors(info["outputs"])), NUMPY)


class ActiveRunner:
    """What a session of the file computes, at the optimum: a ``sessions.Runner``.

    Args:
        info: what the file says about itself.
        name: of the file, for errors.
        tolerance: no code value would move by more than this fraction of its penalty weight; None: the model's own,
            where it has ``active=True`` and a tolerance, else 1e-3.

    Raises:
        ValueError: the file's model has no such search.

    Example:
        >>> import numpy as np
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> from crsae_onnx.file_format import container
        >>> from crsae_onnx.runtime.active_runner import ActiveRunner
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> content, info = container.read(convert(model, "encoder.onnx"))
        >>> run = ActiveRunner(info, "encoder.onnx")
        >>> [array.shape for array in run(["code", "reconstruction"], {"signal": np.zeros((1, 300, 1), "float32")})]
        [(1, 256, 3), (1, 300, 1)]
    """

    def __init__(self, info: Mapping[str, Any], name: str, tolerance: float | None = None) -> None:
        found = active_search(info, name)
        chosen = found.tolerance if tolerance is None else tolerance
        parameters = ActiveSetParameters()
        if chosen is not None:
            parameters = replace(parameters, tolerance=chosen)
        self.encoder = ActiveSetEncoder(found.kernel, np.asarray(info["penalty_weight"]), info["code_prior"],
                                        info["iterations"], parameters)
        self.decoder, self.sigma = found.decoder_kernel, float(info["sigma"])
        self.whitening = SpikeReader.from_json(info["spikes"]).whitening if info.get("whitening_inside") else None
        rule = info.get("spike_rule")
        arrays: dict[str, Any] = {k: np.asarray(v) if isinstance(v, list) else v for k, v in (rule or {}).items()}
        self.rule = PeakRule(**arrays) if rule else None

    def __call__(self, names: Sequence[str], feed: Mapping[str, np.ndarray], options: object = None
                 ) -> list[np.ndarray]:
        """Some outputs of the file for one feed; ``options``, of onnxruntime's runs, have no meaning here.

        Raises:
            ValueError: an output that is more than a code, its reconstruction and its spikes.
        """
        others = sorted(set(names) - {*OUTPUTS, *SPIKE_TENSORS})
        if others:
            raise ValueError(f"active=True gives codes, reconstructions and spikes. Received: {others}, which the "
                             "file's graph computes: use active=False.")
        signal = feed[INPUT]
        if self.whitening is not None:
            signal = np.stack([self.whitening(recording, 0, len(recording)) for recording in signal])
        mask = feed.get(MASK)
        if mask is not None and mask.all():
            mask = None
        # Thresholds grow with the level: a signal in its unit, and the code back.
        scale = np.ones(1, np.float32) if SIGMA not in feed else feed[SIGMA] / np.float32(self.sigma)
        scale = scale[:, None, None]
        code = self.encoder(signal if np.all(scale == 1) else signal / scale, mask)
        if not np.all(scale == 1):
            code *= scale
        results: dict[str, np.ndarray] = {"code": code}
        if "reconstruction" in names:
            results["reconstruction"] = decode(code, self.decoder, signal.shape[1])
        if self.rule is not None and set(names) & set(SPIKE_TENSORS):
            results |= dict(zip(SPIKE_TENSORS, self.rule.find(code), strict=True))
        return [results[name] for name in names]


def decode(code: np.ndarray, kernel: np.ndarray, time: int) -> np.ndarray:
    """D z of a code that is mostly 0.

    Args:
        code: (batch, positions, filters).
        kernel: (kernel_size, channels, filters).
        time: samples of the signal.

    Returns:
        float32 (batch, time, channels).

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.runtime.active_runner import decode
        >>> code = np.zeros((1, 4, 1)); code[0, 1] = 2.0
        >>> decode(code, np.ones((2, 1, 1)), 5)[0, :, 0].tolist()
        [0.0, 2.0, 2.0, 0.0, 0.0]
    """
    size, channels, filters = kernel.shape
    signal = np.zeros((code.shape[0], time, channels), np.float32)
    entry, position = np.nonzero(code.any(axis=2))
    rows = np.asarray(kernel, np.float32).transpose(2, 0, 1).reshape(filters, -1)
    part = max(1, _DECODED_VALUES // rows.shape[1])
    for at in range(0, len(entry), part):
        where = entry[at:at + part], position[at:at + part]
        atoms = (code[where] @ rows).reshape(-1, size, channels)
        for sample in range(size):  # positions differ from each other: no sample occurs twice
            signal[where[0], where[1] + sample] += atoms[:, sample]
    return signal
