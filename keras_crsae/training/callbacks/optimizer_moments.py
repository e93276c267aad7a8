"""The optimiser's variables that belong to filters."""

from __future__ import annotations

from typing import Any

import keras


def filter_moments(model: Any) -> list[keras.Variable]:
    """Of the optimiser's variables those of the kernel's shape: its moments, one value for each of the filters'."""
    shape = tuple(model.dictionary.kernel.shape)
    return [v for v in model.optimizer.variables if tuple(v.shape) == shape] if model.compiled else []
