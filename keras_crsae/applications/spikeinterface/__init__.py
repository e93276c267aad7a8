"""CRsAE as a sorter of SpikeInterface, and results in SpikeInterface's classes."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.applications.spikeinterface.convert import as_sorting, as_templates
    from keras_crsae.applications.spikeinterface.registry import register

__all__ = ["as_sorting", "as_templates", "register"]
_FROM = "keras_crsae.applications.spikeinterface"
__getattr__, __dir__ = lazy_names(__name__, {"as_sorting": f"{_FROM}.convert", "as_templates": f"{_FROM}.convert",
                                             "register": f"{_FROM}.registry"})
