"""The result of a sorting, and how it is saved and loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.spikes.detector import SpikeReader, Spikes

from keras_crsae.applications.spike_sorting.motion import ProbeMotion
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters
from keras_crsae.applications.spike_sorting.persistence import SavedSorting, read_sorting, write_sorting
from keras_crsae.applications.spike_sorting.result_folder import SETTINGS
from keras_crsae.applications.spikeinterface.convert import as_sorting
from keras_crsae.models.crsae import CRsAE

#: Fields of a result that ``settings.json`` holds.
_SETTINGS = ("settings", "parameters", "messages", "history", "nbefore", "sampling_frequency", "recording_samples",
             "channel_locations", "noise", "segments", "motion")


@dataclass
class SpikeSortingResult:
    """Units and spikes of a recording, returned by ``spike_sorting.sort``."""

    spike_samples: np.ndarray  #: int64, samples of the extremum of largest magnitude on the unit's best channel
    spike_units: np.ndarray  #: int64, rows of ``templates``
    spike_amplitudes: np.ndarray  #: float32, that extremum in the recording's unit; negative for troughs
    templates: np.ndarray  #: float32 (units, time, channels), in the recording's unit
    nbefore: int  #: samples of a template before its extremum
    sampling_frequency: float  #: Hz
    model: CRsAE  #: of whitened signals
    reader: SpikeReader  #: finds the spikes of a recording with ``model.encode`` or an exported encoder
    settings: dict[str, Any]  #: the arguments of ``sort`` as resolved
    parameters: SortingParameters = DEFAULTS  #: the tuning constants that were used
    messages: list[str] = field(default_factory=list)  #: what was dropped, missing or unusual, in sentences
    history: dict[str, list[float]] = field(default_factory=dict)  #: training curves, as Keras' History.history
    channel_locations: np.ndarray | None = None  #: (channels, 2), micrometres
    recording_samples: int = 0  #: length of the recording sorted
    noise: np.ndarray | None = None  #: (channels,), robust noise standard deviation in the recording's unit
    segments: list[tuple[int, int]] | None = None  #: (start, stop) of each in the joined recording; None: one segment
    motion: ProbeMotion | None = None  #: that was taken out of the recording before sorting

    @property
    def num_units(self) -> int:
        """Number of units."""
        return len(self.templates)

    @property
    def sorting(self) -> Any:
        """SpikeInterface ``NumpySorting``, with the units' properties (extra: ``spikes``)."""
        return as_sorting(self)

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the result as a folder, which ``spike_sorting.load_result`` reads; see ``persistence.write_sorting``.

        Args:
            folder: new or empty, unless ``overwrite``; other files in it stay.
            overwrite: replace the files of an earlier result.

        Returns:
            The folder's Path.

        Raises:
            FileError: the folder exists and holds files, or cannot be written to.
        """
        spikes = Spikes(self.spike_samples, self.spike_units, self.spike_amplitudes)
        return write_sorting(folder, SavedSorting(spikes, self.templates, self.model, self.reader, self._plain()),
                             overwrite)

    def _plain(self) -> dict[str, Any]:
        """The fields ``_SETTINGS`` as plain JSON."""
        arrays = {name: None if value is None else np.asarray(value, float).tolist()
                  for name, value in (("channel_locations", self.channel_locations), ("noise", self.noise))}
        return {"settings": self.settings, "parameters": self.parameters.to_dict(), "messages": list(self.messages),
                "history": self.history, "nbefore": int(self.nbefore),
                "sampling_frequency": float(self.sampling_frequency),
                "recording_samples": int(self.recording_samples), "segments": self.segments,
                "motion": None if self.motion is None else self.motion.to_plain(), **arrays}

    def __repr__(self) -> str:
        rate = len(self.spike_samples) / max(self.recording_samples / self.sampling_frequency, 1e-9)
        return f"SpikeSortingResult({self.num_units} units, {len(self.spike_samples)} spikes, {rate:.1f} a second)"


def load_result(folder: str | os.PathLike[str]) -> SpikeSortingResult:
    """The ``SpikeSortingResult`` that ``result.save(folder)`` or ``keras-crsae sort`` wrote.

    Raises:
        FileError: no such folder, a file of it missing, damaged, or of a newer format.
    """
    saved = read_sorting(folder)
    path, stored = Path(folder) / SETTINGS, saved.settings
    missing = [name for name in _SETTINGS if name not in stored]
    if missing:
        raise FileError(f"{path} has no {', '.join(missing)}: it is damaged, or comes from another version of "
                        "keras-crsae. Sort again.")
    fields = {name: stored[name] for name in _SETTINGS}
    try:
        fields["parameters"] = SortingParameters.from_dict(stored["parameters"])
    except ValueError as error:
        raise FileError(f"{path} cannot be read: {error}") from error
    for name, dtype in (("channel_locations", np.float64), ("noise", np.float32)):
        fields[name] = None if fields[name] is None else np.array(fields[name], dtype)
    if fields["segments"] is not None:
        fields["segments"] = [(int(start), int(stop)) for start, stop in fields["segments"]]
    if fields["motion"] is not None:
        fields["motion"] = ProbeMotion.from_plain(fields["motion"])
    return SpikeSortingResult(*saved.spikes, templates=saved.templates, model=saved.model, reader=saved.reader,
                              **fields)
