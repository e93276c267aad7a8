"""Keras callbacks for ``fit``: save and go on, centre and revive filters, draw what a model learns."""

from keras_crsae._lazy import lazy_names

__all__ = ["DrawProgress", "RecentreFilters", "ReviveFilters", "SaveProgress"] # noqa: F822 - lazy
__getattr__, __dir__ = lazy_names(__name__, {
    "DrawProgress": "keras_crsae.applications.denoising.draw_progress",
    **{name: "keras_crsae.training.callbacks" for name in ("RecentreFilters", "ReviveFilters", "SaveProgress")},
})
