"""Wave files, memory-mapped (SciPy)."""

from __future__ import annotations

import warnings
from os import PathLike

import numpy as np
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.optional import import_optional

from keras_crsae.data.paths import existing_file

#: Types of samples that are read: those around zero, in containers that can be mapped.
_DTYPES = ("int16", "int32", "float32", "float64")


def read_wav(path: str | PathLike[str]) -> tuple[int, np.ndarray]:
    """A ``.wav`` file as (sampling frequency in Hz, array (samples,) or (samples, channels)), memory-mapped.

    Integers keep the values of the file; they are not scaled to [-1, 1].

    Raises:
        FileError: missing, damaged or cut off, compressed, or of 8 or 24 bits.
        ModuleNotFoundError: SciPy is missing (extra ``train``).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data.wav import read_wav
        >>> from scipy.io import wavfile
        >>> wavfile.write("y.wav", 30000, np.zeros((60000, 4), "int16"))
        >>> rate, recording = read_wav("y.wav")
        >>> rate, recording.shape
        (30000, (60000, 4))
    """
    path = existing_file(path, "a .wav file")
    wavfile = import_optional("scipy.io.wavfile", str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that hold no samples
            rate, array = wavfile.read(path, mmap=True)
    except Exception as error:  # damaged headers raise from struct, mmap, NumPy and more
        raise FileError(f"{path} cannot be read as .wav: {one_line(error)}. Expected an undamaged file of "
                        f"{', '.join(_DTYPES)}, of 16 or 32 bits (or 64 as floats).") from error
    if array.dtype.name not in _DTYPES:
        raise FileError(f"{path} holds samples of type {array.dtype}. Expected {', '.join(_DTYPES)}: save it with 16 "
                        "or 32 bits.")
    if array.ndim not in (1, 2) or array.size == 0 or rate < 1:
        raise FileError(f"{path} holds samples of shape {array.shape} at {rate} Hz. Expected (samples,) or (samples, "
                        "channels).")
    return rate, array
