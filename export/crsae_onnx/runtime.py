"""Run an exported encoder with NumPy and onnxruntime alone."""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np

from crsae_onnx.contract import FORMAT_VERSION, INPUT, INPUTS, MASK, METADATA_KEY, OUTPUTS, SIGMA
from crsae_onnx.windows import (
    LONGEST_PIECE,
    WINDOW,
    SignalError,
    as_finite,
    as_sigma,
    check_layout,
    encode_windows,
    reconstruct_windows,
)

#: No encoder is larger; a larger file is refused before it is read.
LARGEST_FILE = 2**30
_REQUIRED = ("rank", "channels", "filters", "kernel_size", "strides", "iterations", "sigma", "inputs", "outputs")


class ModelFileError(ValueError):
    """The file is missing, damaged, or no encoder of this package."""


class SparseEncoder:
    """An exported CRsAE encoder.

    onnxruntime's usage reports are switched off, unless the variable ORT_DISABLE_TELEMETRY is set already or
    onnxruntime was imported before.

    Args:
        path: ``.onnx`` file written by ``crsae_onnx.convert.convert``.
        providers: onnxruntime execution providers in order of preference; None: all that are installed.

    Raises:
        ModelFileError: the file cannot be read, is foreign, or of a newer format.
        ModuleNotFoundError: onnxruntime is not installed.
        ValueError: a provider that is not installed.

    Example:
        >>> encoder = SparseEncoder("encoder.onnx")
        >>> code = encoder.encode(signal)        # (batch, time, channels) -> (batch, positions, filters)
    """

    def __init__(self, path, providers=None):
        # Read when onnxruntime is imported: it would keep a database in the home folder and report from it.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime as ort
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("SparseEncoder needs onnxruntime. Install it with: pip install "
                                      "'keras-crsae[runtime]', or [runtime-cpu] without a GPU.",
                                      name="onnxruntime") from error
        self.path = Path(path)
        installed = ort.get_available_providers()
        names = [p if isinstance(p, str) else p[0] for p in providers or ()]
        if any(name not in installed for name in names):
            raise ValueError(f"`providers` must be some of those installed: {installed}. Received: {providers!r}")
        self._session = _session(ort, _checked_file(self.path), list(providers or installed))
        #: What the file says about itself: config, versions, sigma, thresholds.
        self.info = _read_info(self.path, self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY))
        self._inputs = tuple(i.name for i in self._session.get_inputs())
        self._outputs = tuple(o.name for o in self._session.get_outputs())
        if INPUT not in self._inputs or set(self._inputs) - set(INPUTS) or set(self._outputs) - set(OUTPUTS):
            raise ModelFileError(f"{self.path} has inputs {self._inputs} and outputs {self._outputs}; expected some of "
                                 f"{INPUTS} and {OUTPUTS}. Convert the model again.")

    def __repr__(self):
        info = self.info
        return (f"SparseEncoder({str(self.path)!r}: {info['filters']} filters of {tuple(info['kernel_size'])}, "
                f"{info['channels']} channels, {info['iterations']} iterations)")

    def encode(self, signal, mask=None, sigma=None, *, out=None, sparse=False, window=None, overlap=None,
               batch_size=None, progress=None):
        """Sparse code of a signal.

        Args:
            signal: (batch, *space, channels), any real dtype: an array, ``np.memmap``, HDF5 or Zarr dataset.
            mask: 0/1, broadcastable to the signal, or (batch, *space): the observed samples; the file must have
                this input.
            sigma: noise standard deviation, a number or one a batch entry; the file must have this input.
            out, sparse, window, overlap, batch_size, progress: see ``crsae_onnx.windows.encode_windows``. Signals
                of more than 2^20 samples (over the batch), and any with one of these options, are encoded in windows
                (rank 1 only); ``batch_size=None`` takes as many batch entries at a time as stay below that.

        Returns:
            float32 (batch, *positions, filters); or ``out``; or a ``SparseCode``.

        Raises:
            SignalError: the signal, mask or sigma is unfit.
            ValueError: the file lacks the output or input asked for, or an option is unfit.

        Example:
            >>> spikes = encoder.encode(np.load("recording.npy", mmap_mode="r")[None], sparse=True, progress=True)
        """
        windowed = partial(encode_windows, filters=self.info["filters"], sparse=sparse)
        return self._encode("code", windowed, signal, mask, sigma, sparse, out=out, window=window, overlap=overlap,
                            batch_size=batch_size, progress=progress)

    def reconstruct(self, signal, mask=None, sigma=None, *, out=None, window=None, overlap=None, batch_size=None,
                    progress=None):
        """Reconstruction, float32, of the signal's shape; arguments as for ``encode``."""
        return self._encode("reconstruction", reconstruct_windows, signal, mask, sigma, False, out=out, window=window,
                            overlap=overlap, batch_size=batch_size, progress=progress)

    def _encode(self, output, windowed, signal, mask, sigma, sparse, *, window, **options):
        if output not in self._outputs:
            raise ValueError(f"The file was exported without {output!r}; it gives {self._outputs}. "
                             f"Convert the model again with outputs={OUTPUTS}.")
        for name, value in ((MASK, mask), (SIGMA, sigma)):
            if value is not None and name not in self._inputs:
                raise ValueError(f"The file takes no {name!r}; its inputs are {self._inputs}. Convert the model again "
                                 f"with inputs={INPUTS}.")
        info = self.info
        if not hasattr(signal, "shape"):
            signal = np.asarray(signal)
        check_layout(signal, info["rank"], info["kernel_size"], info["channels"])
        if mask is not None:
            mask = np.asarray(mask) if not hasattr(mask, "shape") else mask
            mask = _spread_mask(mask, tuple(signal.shape))
        options["progress"] = options["progress"] or None
        asked = sparse or window is not None or any(value is not None for value in options.values())
        if info["rank"] == 1 and (asked or signal.shape[0] * signal.shape[1] > LONGEST_PIECE):
            options["window"] = WINDOW if window is None else window
            if options["batch_size"] is None:
                options["batch_size"] = max(1, LONGEST_PIECE // min(signal.shape[1], WINDOW))
            return windowed(partial(self._run, output), signal, kernel_size=info["kernel_size"],
                            strides=info["strides"], iterations=info["iterations"], mask=mask, sigma=sigma, **options)
        if asked:
            raise ValueError("Windows, out=, sparse= and progress= serve one-dimensional signals; this file encodes "
                             "images. Leave the option out.")
        given = {} if mask is None else {"mask": as_finite(mask, name="mask")}
        if sigma is not None:
            given["sigma"] = as_sigma(sigma, signal.shape[0])
        return self._run(output, as_finite(signal[...]), **given)

    def _run(self, output, piece, mask=None, sigma=None):
        """One run of the session on checked float32 arrays."""
        feed = {INPUT: piece}
        if MASK in self._inputs:
            feed[MASK] = np.ones_like(piece) if mask is None else mask
        if SIGMA in self._inputs:
            sigma = self.info["sigma"] if sigma is None else sigma
            feed[SIGMA] = np.ascontiguousarray(np.broadcast_to(np.asarray(sigma, np.float32), piece.shape[:1]))
        return self._session.run([output], feed)[0]


def _spread_mask(mask, shape):
    """A view of ``mask`` with the signal's shape; without the channel axis it holds for every channel."""
    if tuple(mask.shape) == shape:
        return mask
    try:
        array = np.asarray(mask)
        return np.broadcast_to(array[..., None] if array.ndim == len(shape) - 1 else array, shape)
    except ValueError as error:
        raise SignalError(f"`mask` must be broadcastable to the signal's shape {shape}. "
                          f"Received: shape {tuple(mask.shape)}") from error


def _checked_file(path):
    """The path, if a look at the file's size and first bytes does not already rule it out."""
    if not path.is_file():
        raise ModelFileError(f"No file at {path}. Expected an .onnx file written by crsae_onnx.convert.")
    try:
        size = os.path.getsize(path)
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    if size > LARGEST_FILE:
        raise ModelFileError(f"{path} has {size:,} bytes; no encoder of this package is larger than "
                             f"{LARGEST_FILE:,}. Expected an .onnx file written by crsae_onnx.convert.")
    if first != b"\x08":  # an ONNX file starts with its IR version, protobuf field 1
        raise ModelFileError(f"{path} is not an ONNX file. Expected one written by crsae_onnx.convert.")
    return path


def _session(ort, path, providers):
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised; the log would repeat it
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime raises a family of its own, with no common public base
        raise ModelFileError(f"{path} is damaged, or not an ONNX file that this onnxruntime ({ort.__version__}) can "
                             f"load: {error}. Copy or convert it again.") from error


def _read_info(path, stored):
    if stored is None:
        raise ModelFileError(f"{path} is an ONNX file, but not an encoder of this package: its metadata has no "
                             f"{METADATA_KEY!r}. Convert a CRsAE with crsae_onnx.convert.")
    try:
        info = json.loads(stored)
        version = int(info["format_version"])
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"{path}: the metadata {METADATA_KEY!r} is damaged ({error}). Convert the model "
                             "again.") from error
    if version > FORMAT_VERSION:
        raise ModelFileError(f"{path} has format version {version}; this release reads up to {FORMAT_VERSION}. "
                             "Update keras-crsae.")
    missing = [name for name in _REQUIRED if name not in info]
    if missing:
        raise ModelFileError(f"{path}: the metadata lacks {missing}. Convert the model again.")
    return info
