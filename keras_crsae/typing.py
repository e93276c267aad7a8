"""Types of arguments and results that several modules name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

#: A tensor of the Keras backend, or an array: Keras and TensorFlow ship no type information of their own.
Tensor: TypeAlias = Any
#: One positive int for every axis, or one an axis.
Sizes: TypeAlias = int | Sequence[int]
#: Spatial sizes as the layers keep them: one int an axis.
Shape: TypeAlias = tuple[int, ...]

#: Code positions an axis that are folded into channels, see ``operators.polyphase``.
BlockSize: TypeAlias = int | Literal["auto"]

#: How far the gradient goes back through the encoder, see ``SparseCoding``.
Gradient: TypeAlias = Literal["unrolled", "truncated", "decoder", "implicit"]
#: What shares one baseline, see ``SparseCoding``.
BaselineScope: TypeAlias = Literal["channel", "shared", "signal"]
#: How lambda learns, see ``CRsAE``.
LambdaLearning: TypeAlias = Literal["em", "em_closed_form", "em_through_code", "backprop", "bias"] | None
