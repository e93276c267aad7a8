"""The result of ``fit_events``, and how it is saved and loaded."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.atomic_files import atomic_update
from crsae_onnx.core.errors import FileError

from keras_crsae.applications.neural_events.held_out import HeldOut
from keras_crsae.applications.neural_events.layout import mean_of_eta
from keras_crsae.applications.neural_events.model import EventModel
from keras_crsae.applications.neural_events.parameters import EventParameters
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts
from keras_crsae.applications.spike_sorting.result_folder import check_new_folder, read_file
from keras_crsae.data.simulate_events import EVENT_FIELDS
from keras_crsae.models.crsae import CRsAE
from keras_crsae.models.serialization import load_crsae

#: Files of a saved result.
EVENTS, KERNELS, MODEL, ARRAYS, SETTINGS = "events.csv", "kernels.npy", "model.keras", "arrays.npz", "settings.json"
#: Format of ``settings.json``.
FORMAT = 1
_SCORES = ("model", "psth", "constant", "trial_gain")


@dataclass(frozen=True)
class Candidate:
    """A number and a length of kernels, with its cross-validation."""

    kernels: int
    kernel_ms: float
    held_out: HeldOut

    @property
    def log_likelihood(self) -> float:
        """Mean held-out log likelihood of a trial, in nats."""
        return float(self.held_out.model.mean())


@dataclass
class NeuralEvents:
    """Kernels and events of trials, returned by ``fit_events``."""

    events: np.ndarray  #: structured: ``trial``, ``neuron`` (-1: all), ``time_ms``, ``kernel``, ``amplitude``
    fitted: EventModel  #: the model, with baseline and trial-averaged rates
    counts: SpikeCounts  #: the spikes
    conditions: list[Any] | None = None  #: label of each trial
    support: np.ndarray | None = None  #: (trials, positions, kernels) known onsets
    candidates: list[Candidate] = field(default_factory=list)  #: cross-validation of each number and length
    held_out: HeldOut | None = None  #: that of the chosen one
    messages: list[str] = field(default_factory=list)  #: what is unusual, in sentences
    settings: dict[str, Any] = field(default_factory=dict)  #: other arguments

    @property
    def model(self) -> CRsAE:
        """The ``CRsAE``: signals are trials, or trials times neurons."""
        return self.fitted.model

    @property
    def kernels(self) -> np.ndarray:
        """(bins, kernels), or (bins, neurons, kernels) where neurons go together; the largest magnitude is 1."""
        kernel = self.fitted.kernel / np.abs(self.fitted.kernel).max(axis=(0, 1))
        return kernel if self.fitted.parameters.neurons == "together" else kernel[:, 0]

    @property
    def parameters(self) -> EventParameters:
        """The tuning constants that were used."""
        return self.fitted.parameters

    @property
    def held_out_log_likelihood(self) -> np.ndarray | None:
        """(trials,) nats of each held-out trial, see ``HeldOut``; None without cross-validation."""
        return None if self.held_out is None else self.held_out.model

    @cached_property
    def rates(self) -> np.ndarray:
        """(trials, bins, neurons) fitted rates in Hz: of the events; without refinement (``rounds=0``) of the code."""
        if self.parameters.rounds:
            mean = self.fitted.mean_of_events(self.counts, self.events, self.conditions)
        else:
            mean = self.fitted.mean_counts(self.counts, self.conditions, self.support)
        return mean * 1000 / self.counts.bin_ms

    @property
    def baseline_hz(self) -> np.ndarray:
        """(trials, bins, neurons) rates without events."""
        eta = self.fitted.offset(self.counts, self.conditions, events=True)
        return mean_of_eta(eta, self.counts.trials_per_bin) * 1000 / self.counts.bin_ms

    def find(self, counts: SpikeCounts, conditions: Any = None) -> np.ndarray:
        """Events of other trials of the same neurons, as a table.

        Args:
            counts: of ``bin_spikes``, in bins of the same width.
            conditions: label of each trial, where the baseline follows the trial-averaged rate.

        Raises:
            ValueError: bins of another width, other neurons, or trials of another length where that matters.
        """
        own = self.counts
        if counts.bin_ms != own.bin_ms or counts.counts.shape[2] != own.counts.shape[2] \
                or counts.trials_per_bin != own.trials_per_bin:
            raise ValueError(f"Expected bins of {own.bin_ms:g} ms of {own.counts.shape[2]} neurons, at most "
                             f"{own.trials_per_bin} spikes a bin. Received: bins of {counts.bin_ms:g} ms of "
                             f"{counts.counts.shape[2]} neurons, at most {counts.trials_per_bin}.")
        if self.fitted.rates is not None and counts.counts.shape[1] != own.counts.shape[1]:
            raise ValueError(f"The baseline follows trials of {own.counts.shape[1]} bins. Received: "
                             f"{counts.counts.shape[1]} bins.")
        return self.fitted.events(counts, conditions)

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write ``events.csv``, ``kernels.npy``, ``model.keras``, ``arrays.npz`` and ``settings.json``.

        Args:
            folder: new or empty, unless ``overwrite``; other files in it stay.
            overwrite: replace the files of an earlier result.

        Returns:
            The folder's Path, which ``load_events`` reads.

        Raises:
            FileError: the folder exists and holds files, or cannot be written to.
        """
        folder = check_new_folder(folder, overwrite)
        with atomic_update(folder) as temporary:
            write_events(temporary / EVENTS, self.events)
            np.save(temporary / KERNELS, self.kernels, allow_pickle=False)
            self.model.save(temporary / MODEL)
            np.savez_compressed(temporary / ARRAYS, **self._arrays())
            (temporary / SETTINGS).write_text(json.dumps(self._plain(), indent=2), encoding="utf-8")
        return folder

    def _arrays(self) -> dict[str, Any]:
        arrays = {"counts": self.counts.counts, "baseline": self.fitted.baseline,
                  "event_baseline": self.fitted.event_baseline}
        if self.support is not None:
            arrays["support"] = self.support
        if self.fitted.rates is not None:
            arrays["rates"] = np.stack(list(self.fitted.rates.values()))
        for index, one in enumerate(self.candidates):
            arrays |= {f"candidate_{index}_{name}": getattr(one.held_out, name) for name in _SCORES}
        return arrays

    def _plain(self) -> dict[str, Any]:
        counts = asdict(self.counts)
        del counts["counts"]
        return {"format": FORMAT, "counts": counts, "conditions": self.conditions,
                "rates": None if self.fitted.rates is None else list(self.fitted.rates),
                "parameters": self.parameters.to_dict(), "history": self.fitted.history,
                "iterations": self.model.encoder.iterations, "messages": self.messages, "settings": self.settings,
                "candidates": [{"kernels": one.kernels, "kernel_ms": one.kernel_ms,
                                "psth_width_ms": one.held_out.psth_width_ms} for one in self.candidates],
                "chosen": next((i for i, one in enumerate(self.candidates) if one.held_out is self.held_out), None)}

    def __repr__(self) -> str:
        kernels, trials = self.kernels.shape[-1], len(self.counts.counts)
        return (f"NeuralEvents({kernels} kernel{'s' * (kernels > 1)} of {len(self.kernels) * self.counts.bin_ms:g} ms, "
                f"{len(self.events)} events in {trials} trials)")


def write_events(path: str | os.PathLike[str], events: np.ndarray) -> None:
    """Write a table of events as CSV with a header."""
    names = events.dtype.names or ()
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([[f"{value:.9g}" if isinstance(value, float) else value for value in row]
                          for row in events.tolist()])


def load_events(folder: str | os.PathLike[str]) -> NeuralEvents:
    """The ``NeuralEvents`` that ``result.save(folder)`` or ``keras-crsae events`` wrote.

    Raises:
        FileError: no such folder, a file of it missing, damaged, or of a newer format.
    """
    folder = Path(folder)
    missing = [name for name in (EVENTS, MODEL, ARRAYS, SETTINGS) if not (folder / name).is_file()]
    if missing:
        raise FileError(f"{folder} has no {', '.join(missing)}. Expected a folder that `keras-crsae events` or "
                        "result.save wrote.")
    stored = read_file(folder / SETTINGS, lambda path: json.loads(path.read_text(encoding="utf-8")))
    version = stored.get("format") if isinstance(stored, dict) else None
    if not isinstance(version, int) or version > FORMAT:
        raise FileError(f"{folder / SETTINGS} has format {version!r}; this release reads up to {FORMAT}. Update "
                        "keras-crsae, or fit again.")
    try:
        return _from_files(folder, stored)
    except (KeyError, TypeError, ValueError, OSError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{folder} cannot be read: {error}. It is damaged, or comes from another version of "
                        "keras-crsae. Fit again.") from error


def _from_files(folder: Path, stored: dict[str, Any]) -> NeuralEvents:
    with np.load(folder / ARRAYS, allow_pickle=False) as archive:
        arrays = dict(archive)
    counts = SpikeCounts(arrays["counts"], **stored["counts"])
    rates = None if stored["rates"] is None else dict(zip(stored["rates"], arrays["rates"], strict=True))
    model = load_crsae(folder / MODEL)
    model.encoder.iterations = stored["iterations"]
    fitted = EventModel(model, arrays["baseline"], rates, EventParameters.from_dict(stored["parameters"]),
                        stored["history"], arrays["event_baseline"])
    candidates = [Candidate(one["kernels"], one["kernel_ms"],
                            HeldOut(psth_width_ms=one["psth_width_ms"],
                                    **{name: arrays[f"candidate_{index}_{name}"] for name in _SCORES}))
                  for index, one in enumerate(stored["candidates"])]
    chosen = None if stored["chosen"] is None else candidates[stored["chosen"]].held_out
    return NeuralEvents(_read_table(folder / EVENTS), fitted, counts, stored["conditions"], arrays.get("support"),
                        candidates, chosen, stored["messages"], stored["settings"])


def _read_table(path: Path) -> np.ndarray:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    events = np.zeros(len(rows), EVENT_FIELDS)
    for name in EVENT_FIELDS.names or ():
        events[name] = [float(row[name]) for row in rows]
    return events
