"""Keras callbacks for ``fit``: save and go on, centre and revive filters, draw what a model learns."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.applications.denoising.draw_progress import DrawProgress
    from keras_crsae.training.callbacks import RecentreFilters, ReviveFilters, SaveProgress

__all__ = ["DrawProgress", "RecentreFilters", "ReviveFilters", "SaveProgress"]
__getattr__, __dir__ = lazy_names(__name__, {
    "DrawProgress": "keras_crsae.applications.denoising.draw_progress",
    **{name: "keras_crsae.training.callbacks" for name in ("RecentreFilters", "ReviveFilters", "SaveProgress")},
})
