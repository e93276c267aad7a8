"""The sorter ``"crsae"`` as a class of SpikeInterface; ``registry.register`` makes it available."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.validation import as_positive_int
from crsae_onnx.core.version import package_version
from spikeinterface.core import fix_job_kwargs, load
from threadpoolctl import threadpool_limits

from keras_crsae.applications.spike_sorting.inspection import NoSpikesError
from keras_crsae.applications.spike_sorting.motion import check_motion
from keras_crsae.applications.spike_sorting.noise import band_pass
from keras_crsae.applications.spike_sorting.parameters import SortingParameters
from keras_crsae.applications.spike_sorting.pipeline import sort
from keras_crsae.applications.spike_sorting.recording_view import channel_locations
from keras_crsae.applications.spikeinterface.convert import as_sorting, empty_sorting
from keras_crsae.applications.spikeinterface.sorter_internals import InMemoryRecordings, save_quietly

#: Name of the sorter in SpikeInterface.
SORTER_NAME = "crsae"
#: Packages that sorting needs besides SpikeInterface.
_REQUIRED = ("keras", "tensorflow", "scipy", "sklearn")


class CrsaeSorter(InMemoryRecordings):
    """``spike_sorting.sort`` behind SpikeInterface's folder of parameters, log and result.

    ``sorter_output`` receives ``result`` (``spike_sorting.load_result`` reads it: model, templates, messages) and
    ``sorting`` (which SpikeInterface loads). A recording without spikes, or without noise, gives an empty sorting and
    a warning, no ``result``. The messages stand in ``spikeinterface_log.json``, too.
    """

    sorter_name = SORTER_NAME
    sorter_description = ("Convolutional dictionary learning by a constrained recurrent sparse autoencoder: templates "
                          "are learned as filters, spikes are found in their sparse code.")
    installation_mesg = "pip install 'keras-crsae[spikes,train]'"
    requires_locations = False
    gpu_capability = "nvidia-optional"
    compatible_with_parallel = {"loky": False, "multiprocessing": False, "threading": False}
    handle_multi_segment = True

    _default_params = {"units": None, "freq_min": None, "freq_max": None, "common_reference": False, "motion": None,
                       "seed": 0, "parameters": None, "job_kwargs": {}}
    _params_description = {
        "units": "Largest number of units, or None: chosen from the recording",
        "freq_min": "Lower edge of the band-pass filter in Hz, for raw recordings 300; None: no filter",
        "freq_max": "Upper edge in Hz, for raw recordings 6000; at most half the sampling frequency",
        "common_reference": "Subtract the median over channels",
        "motion": "Take the motion of the probe out first: \"estimate\", or a preset of correct_motion; \"follow\": "
                  "templates change with the spikes; None: no",
        "seed": "Seed of the initialisation and of the training",
        "parameters": "Tuning constants that differ from their defaults, {name: value} of SortingParameters, or None",
        "job_kwargs": "SpikeInterface's; n_jobs: threads of matching and algebra, by default its global number",
    }

    @classmethod
    def is_installed(cls) -> bool:
        return all(importlib.util.find_spec(name) for name in _REQUIRED)

    @classmethod
    def get_sorter_version(cls) -> str:
        return package_version()

    @classmethod
    def _check_params(cls, recording: Any, output_folder: Path, params: dict[str, Any]) -> dict[str, Any]:
        low, high = params["freq_min"], params["freq_max"]
        if (low is None) != (high is None):
            raise ValueError("freq_min and freq_max are given together, or neither for no filter. "
                             f"Received: freq_min={low!r}, freq_max={high!r}")
        if low is not None:
            try:
                band_pass((low, high), recording.get_sampling_frequency())
            except ValueError as error:
                raise ValueError(f"freq_min and freq_max: {error}") from error
        check_motion(params["motion"], channel_locations(recording))
        # SpikeInterface stores the returned values as JSON, and they are what runs: plain Python types.
        parameters = SortingParameters.from_dict(params["parameters"] or {}).to_dict()
        try:
            fix_job_kwargs(params["job_kwargs"])
        except AssertionError as error:
            raise ValueError(f"job_kwargs: {error}") from error
        return {**params, "units": None if params["units"] is None else as_positive_int(params["units"], "units"),
                "freq_min": None if low is None else float(low), "freq_max": None if high is None else float(high),
                "common_reference": bool(params["common_reference"]), "seed": int(params["seed"]),
                "parameters": parameters, "job_kwargs": dict(params["job_kwargs"] or {})}

    @classmethod
    def _check_apply_filter_in_params(cls, params: dict[str, Any]) -> bool:
        return params["freq_min"] is not None

    @classmethod
    def _setup_recording(cls, recording: Any, sorter_output_folder: Path, params: dict[str, Any], verbose: bool
                         ) -> None:
        """Nothing to prepare: the recording is read where it is stored."""

    @classmethod
    def _run_from_folder(cls, sorter_output_folder: Path, params: dict[str, Any], verbose: bool) -> None:
        recording = cls.load_recording_from_folder(sorter_output_folder.parent)
        band = None if params["freq_min"] is None else (params["freq_min"], params["freq_max"])
        if verbose and band is None and not recording.is_filtered():
            print(f"{SORTER_NAME}: the recording is not marked as filtered, and no filter is applied. For a raw "
                  "recording pass freq_min=300, freq_max=6000.")
        try:
            with threadpool_limits(fix_job_kwargs(params["job_kwargs"])["n_jobs"]):
                result = sort(recording, units=params["units"], band=band, seed=params["seed"],
                              common_reference=params["common_reference"], motion=params["motion"],
                              parameters=SortingParameters.from_dict(params["parameters"]),
                              progress=bool(verbose))
        except NoSpikesError as error:
            # One group of many may be silent; ``run_sorter_by_property`` gives the others only if none fails.
            warnings.warn(f"{SORTER_NAME}: no units, an empty sorting. {error}", stacklevel=2)
            messages, sorting = [str(error)], empty_sorting(recording)
        else:
            result.save(sorter_output_folder / "result")
            messages, sorting = result.messages, as_sorting(result, recording)
        save_quietly(sorting, sorter_output_folder / "sorting")
        # SpikeInterface copies its lines into spikeinterface_log.json.
        (sorter_output_folder / f"{SORTER_NAME}.log").write_text("\n".join(messages), encoding="utf-8")
        if verbose:
            print("\n".join(messages))

    @classmethod
    def _get_result_from_folder(cls, sorter_output_folder: Path) -> Any:
        folder = Path(sorter_output_folder) / "sorting"
        sorting = load(folder)
        if not sorting.get_num_units():  # SpikeInterface's JSON loses the type of no ids, and joins groups by type
            sorting.set_property("main_channel_id", np.load(folder / "properties" / "main_channel_id.npy"))
        return sorting
