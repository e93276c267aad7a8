"""The sorter ``"crsae"`` as SpikeInterface runs sorters. Import it through ``spikeinterface.register``."""

import importlib.util
import shutil
import tempfile
import warnings
from pathlib import Path

from crsae_onnx.core.version import package_version
from spikeinterface.core import BaseRecording, load
from spikeinterface.sorters import BaseSorter

from keras_crsae.applications.spikeinterface.convert import SORTER_NAME, as_sorting

#: What the work needs beside SpikeInterface.
_NEEDED = ("keras", "tensorflow", "scipy", "sklearn")


def _save(extractor, folder, **options):
    """Save what lives in memory; that it cannot also be written as a recipe is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The extractor is not serializable to file")
        return extractor.save(folder=folder, **options)


def _tell(step, share):
    print(f"{SORTER_NAME}: {step}, {share:.0%}", flush=True)


class CrsaeSorter(BaseSorter):
    """``spike_sorting.sort`` behind SpikeInterface's folder of parameters, log and result.

    ``sorter_output`` receives ``result`` (``spike_files.load_result`` reads it: model, templates, messages) and
    ``sorting`` (what SpikeInterface loads).
    """

    sorter_name = SORTER_NAME
    sorter_description = ("Convolutional dictionary learning by a constrained recurrent sparse autoencoder: templates "
                          "are learned as filters, spikes read off their sparse code.")
    installation_mesg = "pip install 'keras-crsae[spikes,train]'"
    requires_locations = False
    gpu_capability = "nvidia-optional"
    compatible_with_parallel = {"loky": False, "multiprocessing": False, "threading": False}

    _default_params = {"units": None, "freq_min": None, "freq_max": None, "common_reference": False, "seed": 0}
    _params_description = {
        "units": "Number of units, or None: chosen from the recording",
        "freq_min": "Lower edge of the band-pass filter in Hz, for raw recordings 300; None: no filter",
        "freq_max": "Upper edge in Hz, for raw recordings 6000; held below half the sampling frequency",
        "common_reference": "Subtract the median over channels",
        "seed": "Seed of the initialisation and of the training",
    }

    @classmethod
    def is_installed(cls):
        return all(importlib.util.find_spec(name) for name in _NEEDED)

    @classmethod
    def get_sorter_version(cls):
        return package_version()

    @classmethod
    def initialize_folder(cls, recording, output_folder, verbose, remove_existing_folder):
        """As SpikeInterface's, but a recording that cannot be written down is saved into the folder first."""
        target = Path(output_folder or f"{cls.sorter_name}_output").absolute()
        refused = not isinstance(recording, BaseRecording) or recording.get_num_segments() > 1 or (
            target.is_dir() and not remove_existing_folder)
        if refused or any(recording.check_serializability(how) for how in ("json", "pickle")):
            return super().initialize_folder(recording, output_folder, verbose, remove_existing_folder)
        # The folder must not exist yet: the recording waits beside it.
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent,
                                         ignore_cleanup_errors=True) as waiting:
            saved = _save(recording, Path(waiting) / "recording", verbose=verbose, progress_bar=verbose)
            folder = super().initialize_folder(saved, target, verbose, remove_existing_folder)
            del saved  # closes the files, which Windows would not move
            shutil.move(Path(waiting) / "recording", folder / "recording")
        load(folder / "recording").dump(folder / "spikeinterface_recording.json", relative_to=folder)
        return folder

    @classmethod
    def _check_params(cls, recording, output_folder, params):
        low, high = params["freq_min"], params["freq_max"]
        if (low is None) != (high is None):
            raise ValueError("freq_min and freq_max are given together, or neither for no filter. "
                             f"Received: freq_min={low!r}, freq_max={high!r}")
        limit = 0.45 * recording.get_sampling_frequency()
        # What is written down is what runs, in JSON's own types.
        return {**params, "units": None if params["units"] is None else int(params["units"]),
                "freq_min": None if low is None else float(low),
                "freq_max": None if high is None else min(float(high), limit),
                "common_reference": bool(params["common_reference"]), "seed": int(params["seed"])}

    @classmethod
    def _check_apply_filter_in_params(cls, params):
        return params["freq_min"] is not None

    @classmethod
    def _setup_recording(cls, recording, sorter_output_folder, params, verbose):
        """Nothing to prepare: the recording is read from where it lies."""

    @classmethod
    def _run_from_folder(cls, sorter_output_folder, params, verbose):
        from keras_crsae.applications.spike_sorting import pipeline as spike_sorting

        recording = cls.load_recording_from_folder(sorter_output_folder.parent)
        band = None if params["freq_min"] is None else (params["freq_min"], params["freq_max"])
        if verbose and band is None and not recording.is_filtered():
            print(f"{SORTER_NAME}: the recording is not marked as filtered and no filter was asked for. If it is a "
                  "raw one, pass freq_min=300, freq_max=6000.")
        result = spike_sorting.sort(recording, units=params["units"], band=band, seed=params["seed"],
                                    common_reference=params["common_reference"], progress=_tell if verbose else None)
        result.save(sorter_output_folder / "result")
        _save(as_sorting(result), sorter_output_folder / "sorting")
        if verbose:
            print("\n".join(result.messages))

    @classmethod
    def _get_result_from_folder(cls, sorter_output_folder):
        return load(Path(sorter_output_folder) / "sorting")
