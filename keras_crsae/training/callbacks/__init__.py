"""Callbacks for training a CRsAE."""

from keras_crsae.training.callbacks.recentre_filters import RecentreFilters
from keras_crsae.training.callbacks.revive_filters import ReviveFilters
from keras_crsae.training.callbacks.save_progress import SaveProgress

__all__ = ["RecentreFilters", "ReviveFilters", "SaveProgress"]
