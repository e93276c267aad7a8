"""A small sorting result, for the adapters to SpikeInterface, and ``run_sorter`` with ours registered."""

from dataclasses import dataclass, field

import numpy as np
import pytest

FS = 20000.0


@dataclass
class Result:
    """The fields of a sorting result that the adapters use."""

    spike_samples: np.ndarray
    spike_units: np.ndarray
    spike_amplitudes: np.ndarray
    templates: np.ndarray
    nbefore: int = 10
    sampling_frequency: float = FS
    noise: np.ndarray | None = None
    messages: list = field(default_factory=lambda: ["one unit dropped"])

    def save(self, folder):
        folder.mkdir()
        (folder / "saved").write_text(str(len(self.spike_samples)))


@pytest.fixture
def result():
    templates = np.zeros((3, 30, 4), np.float32)
    templates[0, 10, 2], templates[1, 10, 1], templates[2, 10, 3] = -50.0, 30.0, -20.0
    return Result(np.array([300, 100, 200, 150]), np.array([0, 1, 0, 1]),
                  np.array([1.0, 0.5, 2.0, 1.5], np.float32), templates)


@pytest.fixture
def calls(result, monkeypatch):
    """``sort`` replaced by a function that records its arguments and returns ``result``."""
    seen = []

    def sort(recording, **options):
        seen.append(options | {"recording": recording, "traces": recording.get_traces()})
        if options["seed"] == 13:
            raise ValueError("refused")
        return result

    monkeypatch.setattr("keras_crsae.applications.spikeinterface.sorter.sort", sort)
    return seen


@pytest.fixture
def run_sorter(monkeypatch):
    from spikeinterface.sorters import run_sorter, sorterlist

    from keras_crsae.applications.spikeinterface import register

    monkeypatch.setattr(sorterlist, "sorter_full_list", list(sorterlist.sorter_full_list))
    register()
    return run_sorter
