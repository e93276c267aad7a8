"""The dtype policies of layers: half precision loses small codes and thresholds."""

from __future__ import annotations

from typing import Any

import keras


def layer_policy(dtype: Any) -> Any:
    """Dtype policy of a layer: the one given, or Keras' global one; "mixed_float16" becomes "float32".

    float16 ends at 6e-8: squares of codes, filters' norms and 1 / L would vanish or overflow. So these layers compute
    in float32 among others of "mixed_float16", which cast what comes in; Keras' normalisation layers do so too.
    "mixed_bfloat16" has the range of float32 and stays.

    Args:
        dtype: name, policy or its config; None: ``keras.config.dtype_policy()``.

    Raises:
        ValueError: variables of half precision.

    Example:
        >>> from keras_crsae.layers.precision import layer_policy
        >>> layer_policy("mixed_float16").name, layer_policy("mixed_bfloat16").name
        ('float32', 'mixed_bfloat16')
    """
    policy = keras.config.dtype_policy() if dtype is None else keras.dtype_policies.get(dtype)
    if policy.variable_dtype not in ("float32", "float64"):
        raise ValueError("Filters, lambda and step size are kept in float32 or float64: use the dtype policy "
                         f"'float32', 'float64', 'mixed_bfloat16' or 'mixed_float16'. Received: dtype={policy.name!r}")
    return keras.dtype_policies.get("float32") if policy.compute_dtype == "float16" else policy
