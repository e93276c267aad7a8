"""Figures of filters, codes and images. Each function returns a ``matplotlib.figure.Figure``.

Figures are made without pyplot: nothing is shown, no backend is chosen, nothing has to be closed. Save with
``figure.savefig("name.png")``; in a notebook the figure displays itself.
"""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.plots.codes import plot_code
    from keras_crsae.plots.curves import plot_curves, plot_lambda
    from keras_crsae.plots.filters import align_filters, plot_filters, plot_templates
    from keras_crsae.plots.images import plot_denoising
    from keras_crsae.plots.maps import plot_maps

__all__ = ["align_filters", "plot_code", "plot_curves", "plot_denoising", "plot_filters", "plot_lambda",
           "plot_maps", "plot_templates"]
__getattr__, __dir__ = lazy_names(__name__, {
    **{name: "keras_crsae.plots.filters" for name in ("align_filters", "plot_filters", "plot_templates")},
    **{name: "keras_crsae.plots.curves" for name in ("plot_curves", "plot_lambda")},
    "plot_code": "keras_crsae.plots.codes", "plot_denoising": "keras_crsae.plots.images",
    "plot_maps": "keras_crsae.plots.maps",
})
