"""CRsAE as a sorter and as a matching engine of SpikeInterface; results in its classes, for Phy, NWB and curation."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.applications.spikeinterface.analyzer import as_analyzer, write_phy
    from keras_crsae.applications.spikeinterface.convert import as_sorting, as_templates
    from keras_crsae.applications.spikeinterface.curation import apply_curation, propose_curation, write_curation
    from keras_crsae.applications.spikeinterface.matching_engine import register_matching
    from keras_crsae.applications.spikeinterface.nwb import write_nwb
    from keras_crsae.applications.spikeinterface.registry import register

__all__ = ["apply_curation", "as_analyzer", "as_sorting", "as_templates", "propose_curation", "register",
           "register_matching", "write_curation", "write_nwb", "write_phy"]
_FROM = "keras_crsae.applications.spikeinterface"
__getattr__, __dir__ = lazy_names(__name__, {
    "apply_curation": f"{_FROM}.curation", "as_analyzer": f"{_FROM}.analyzer", "as_sorting": f"{_FROM}.convert",
    "as_templates": f"{_FROM}.convert", "propose_curation": f"{_FROM}.curation", "register": f"{_FROM}.registry",
    "register_matching": f"{_FROM}.matching_engine", "write_curation": f"{_FROM}.curation",
    "write_nwb": f"{_FROM}.nwb", "write_phy": f"{_FROM}.analyzer"})
