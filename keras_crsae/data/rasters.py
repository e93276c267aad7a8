"""Spikes of trials from files: arrays (``.npy``, ``.npz``, ``.mat``) and tables of spike times (``.csv``)."""

from __future__ import annotations

import csv
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.errors import FileError, one_line

from keras_crsae.data.arrays import check_finite, read_array
from keras_crsae.data.paths import existing_file

#: Columns of time of a table, and the unit of each.
TIME_COLUMNS = {"time_ms": "ms", "time_s": "s", "time": None}
_KINDS = "a .npy, .npz or .mat array of trials, or a .csv table of spike times"


def read_raster(path: str | PathLike[str], key: str | None = None, trials: int | None = None) -> tuple[Any, str | None]:
    """(spikes, unit of their times) of a file, as ``neural_events.bin_spikes`` takes them.

    Args:
        path: ``.npy``, ``.npz`` or ``.mat`` with an array (trials, time) or (trials, time, neurons); or ``.csv`` with a
            header: columns ``trial``, ``time_ms`` or ``time_s`` (or ``time``), and perhaps ``neuron``; trials and
            neurons counted from 0, a line for each spike.
        key: name of the array in a file that holds several.
        trials: number of trials of a table, which does not say how many are silent; None: up to the last with a spike.

    Returns:
        An array and None, or a list over trials of spike times (of lists over neurons) and "ms", "s" or, for a column
        ``time``, None.

    Raises:
        FileError: missing or damaged file, no such array or column, no spike.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import read_raster
        >>> np.save("raster.npy", np.eye(3, 100, dtype="uint8"))
        >>> read_raster("raster.npy")[0].shape
        (3, 100)
    """
    path = existing_file(path, _KINDS)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _read_table(path, trials)
    if suffix == ".mat":
        return _read_mat(path, key), None
    if suffix not in (".npy", ".npz"):
        raise FileError(f"{path}: cannot read files of type {path.suffix!r}. Expected {_KINDS}.")
    array = read_array(path, key)
    check_finite(array, path)
    return array, None


def read_labels(path: str | PathLike[str], name: str) -> list[Any]:
    """The values of one array of a ``.npz`` or ``.mat`` file as a flat list, for example the condition of each trial.

    Raises:
        FileError: no such array.
    """
    path = existing_file(path, "a .npz or .mat file")
    if path.suffix.lower() == ".mat":
        return np.ravel(_read_mat(path, name)).tolist()
    return np.ravel(read_array(path, name)).tolist()


def read_times(path: str | PathLike[str], trials: int, columns: tuple[str, ...] = ("trial",)) -> list[list[float]]:
    """Times in ms of a table with the columns ``trial`` and ``time_ms`` or ``time_s``, a list for each trial.

    Raises:
        FileError: a column is missing, or a trial out of range.
    """
    path = existing_file(path, "a .csv table of times")
    rows, unit = _rows(path, columns)
    factor = 1000.0 if unit == "s" else 1.0
    out: list[list[float]] = [[] for _ in range(trials)]
    for trial, _, time in rows:
        if not 0 <= trial < trials:
            raise FileError(f"{path} names trial {trial}. Expected trials from 0 to {trials - 1}.")
        out[trial].append(time * factor)
    return out


def _read_mat(path: Path, key: str | None) -> np.ndarray:
    try:
        from scipy.io import loadmat

        held = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    except NotImplementedError as error:  # version 7.3 is HDF5
        raise FileError(f"{path} is a MATLAB file of version 7.3. Save it with `save(..., '-v7')`, or as .npy."
                        ) from error
    except Exception as error:  # damaged files raise from struct, zlib and more
        raise FileError(f"{path} cannot be read as a MATLAB file: {one_line(error)}") from error
    arrays = {name: value for name, value in held.items()
              if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.size}
    if key is None:
        rasters = [name for name, value in arrays.items() if value.ndim in (2, 3) and min(value.shape[:2]) > 1]
        if len(rasters) != 1:
            raise FileError(f"{path} holds the arrays {_shapes(arrays)}. Say which one: --key NAME.")
        key = rasters[0]
    if key not in arrays:
        raise FileError(f"{path} has no array of numbers {key!r}. It holds: {_shapes(arrays)}.")
    return arrays[key]


def _shapes(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {value.shape}" for name, value in arrays.items()) or "none"


def _read_table(path: Path, trials: int | None) -> tuple[Any, str | None]:
    rows, unit = _rows(path, ("trial",))
    if not rows:
        raise FileError(f"{path} holds no spike.")
    count = 1 + max(trial for trial, _, _ in rows)
    if trials is not None:
        if trials < count:
            raise FileError(f"{path} names trial {count - 1}, so that there are at least {count} trials. Received: "
                            f"trials={trials}")
        count = trials
    neurons = 1 + max(neuron for _, neuron, _ in rows)
    if any(trial < 0 or neuron < 0 for trial, neuron, _ in rows):
        raise FileError(f"{path} names negative trials or neurons. Count them from 0.")
    times: list[list[list[float]]] = [[[] for _ in range(neurons)] for _ in range(count)]
    for trial, neuron, time in rows:
        times[trial][neuron].append(time)
    return (times if neurons > 1 else [trial[0] for trial in times]), unit


def _rows(path: Path, needed: tuple[str, ...]) -> tuple[list[tuple[int, int, float]], str | None]:
    """([(trial, neuron, time)], unit) of a table."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        names = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = names
        time = next((name for name in TIME_COLUMNS if name in names), None)
        missing = [name for name in needed if name not in names]
        if time is None or missing:
            raise FileError(f"{path} has the columns {', '.join(names) or 'none'}. Expected a header with "
                            "trial, time_ms (or time_s), and neuron where there are several.")
        rows = []
        for line, row in enumerate(reader, start=2):
            try:
                trial, neuron = float(row["trial"]), float(row.get("neuron") or 0)
                if trial != int(trial) or neuron != int(neuron):
                    raise ValueError
                rows.append((int(trial), int(neuron), float(row[time])))
            except (TypeError, ValueError):
                raise FileError(f"{path}, line {line}: expected numbers, trials and neurons whole. Received: "
                                f"{list(row.values())}") from None
    return rows, TIME_COLUMNS[time]
