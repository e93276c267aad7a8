"""Register the sorter ``"crsae"`` with SpikeInterface."""

from __future__ import annotations

from keras_crsae.applications.spikeinterface import sorter_internals
from keras_crsae.applications.spikeinterface.sorter import CrsaeSorter


def register() -> type[CrsaeSorter]:
    """Make ``spikeinterface.sorters.run_sorter("crsae", recording, folder=...)`` work in this process.

    A process that SpikeInterface starts itself (``run_sorter_jobs`` with another engine than "loop", containers) has
    its own table of sorters; call ``register`` there. Calling it again changes nothing.

    Returns:
        The sorter class.

    Example:
        >>> from keras_crsae.applications.spikeinterface import register
        >>> from spikeinterface.sorters import get_default_sorter_params
        >>> sorter = register()  # then: run_sorter("crsae", recording, folder="sorted")
        >>> get_default_sorter_params("crsae")["seed"]
        0
    """
    sorter_internals.add_sorter(CrsaeSorter)
    return CrsaeSorter
