"""Run an exported encoder with NumPy and onnxruntime alone."""

import json
from pathlib import Path

import numpy as np

from crsae_onnx.contract import FORMAT_VERSION, INPUT, METADATA_KEY, SPACE_AXES


class ModelFileError(ValueError):
    """The file is missing, damaged, or no encoder of this package."""


class SparseEncoder:
    """An exported CRsAE encoder.

    Args:
        path: ``.onnx`` file written by ``crsae_onnx.convert.convert``.
        providers: onnxruntime execution providers in order of preference; None: all that are installed.

    Raises:
        ModelFileError: the file cannot be read, is foreign, or of a newer format.

    Example:
        >>> encoder = SparseEncoder("encoder.onnx")
        >>> code = encoder.encode(signal)        # (batch, time, channels) -> (batch, positions, filters)
    """

    def __init__(self, path, providers=None):
        import onnxruntime as ort

        path = Path(path)
        if not path.is_file():
            raise ModelFileError(f"No file at {path}. Expected an .onnx file written by crsae_onnx.convert.")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=providers or ort.get_available_providers())
        except Exception as error:  # onnxruntime raises a family of its own, with no common public base
            raise ModelFileError(f"{path} is not an ONNX file that onnxruntime can load: {error}") from error
        stored = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if stored is None:
            raise ModelFileError(f"{path} is an ONNX file, but not an encoder of this package: "
                                 f"its metadata has no {METADATA_KEY!r}.")
        #: What the file says about itself: config, versions, sigma, thresholds.
        self.info = json.loads(stored)
        if self.info["format_version"] > FORMAT_VERSION:
            raise ModelFileError(f"{path} has format version {self.info['format_version']}; this release reads up to "
                                 f"{FORMAT_VERSION}. Update keras-crsae.")
        self._outputs = [o.name for o in self._session.get_outputs()]

    def _run(self, output, signal):
        if output not in self._outputs:
            raise ValueError(f"The file was exported without {output!r}; it gives {self._outputs}.")
        return self._session.run([output], {INPUT: self._check(signal)})[0]

    def _check(self, signal):
        array = np.asarray(signal)
        rank, channels = self.info["rank"], self.info["channels"]
        layout = f"(batch, {', '.join(SPACE_AXES[rank])}, {channels} channels)"
        if array.dtype.kind not in "fiub":
            raise ValueError(f"Expected real numbers {layout}. Received: dtype {array.dtype}.")
        if array.ndim != rank + 2 or array.shape[-1] != channels or array.shape[0] == 0:
            raise ValueError(f"Expected shape {layout}. Received: shape {array.shape}.")
        if any(n < k for n, k in zip(array.shape[1:-1], self.info["kernel_size"], strict=True)):
            raise ValueError(f"The signal is shorter than the kernel: shape {array.shape} against kernel size "
                             f"{self.info['kernel_size']}.")
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise ValueError("The signal holds NaN or infinite values (as float32). Remove or fill them.")
        return array

    def encode(self, signal):
        """Sparse code, float32 (batch, *positions, filters), of a signal (batch, *space, channels)."""
        return self._run("code", signal)

    def reconstruct(self, signal):
        """Reconstruction, float32, of the signal's shape."""
        return self._run("reconstruction", signal)
