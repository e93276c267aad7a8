"""The optimiser's variables that belong to filters."""

from __future__ import annotations

from typing import Any

import keras


def filter_moments(model: Any, spatial: bool = False) -> list[keras.Variable]:
    """Of the optimiser's variables the moments of filters: those of the shape of a variable that makes up filters.

    Args:
        model: CRsAE.
        spatial: only those that run over the kernel's positions: of rank-one filters the courses', not the maps'.
    """
    if not model.compiled:
        return []
    dictionary = model.dictionary
    wanted = [dictionary.spatial_variable] if spatial else dictionary.filter_variables
    shapes = {tuple(v.shape) for v in wanted}
    chosen = {id(v) for v in wanted}
    others = {v.name for v in dictionary.filter_variables if id(v) not in chosen}  # they may be of the same shape
    return [v for v in model.optimizer.variables if tuple(v.shape) in shapes and not any(n in v.path for n in others)]
