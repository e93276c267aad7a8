"""Which of Keras' backends computes, and TensorFlow where it is that one: the only module that asks.

Layers, solvers and models speak ``keras.ops``, so a trained model codes, decodes and certifies under JAX and PyTorch,
too. Training, ``tf.data`` and ``active=True``, whose shapes follow the signal, are TensorFlow's: their modules take
``tf`` from here, and what is called of it under another backend says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_crsae.typing import Tensor

if TYPE_CHECKING:
    import tensorflow as tf

#: "tensorflow", "jax" or "torch".
BACKEND: str = keras.config.backend()
IS_TENSORFLOW = BACKEND == "tensorflow"


def require_tensorflow(what: str) -> None:
    """RuntimeError where Keras runs on another backend than TensorFlow.

    Args:
        what: what needs TensorFlow, the subject of the message.

    Example:
        >>> from keras_crsae.backend import require_tensorflow
        >>> require_tensorflow("`fit`")                                      # the backend is TensorFlow
    """
    if not IS_TENSORFLOW:
        raise RuntimeError(
            f"{what} needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow before Keras is imported. A trained model "
            "encodes, decodes, separates, denoises and is certified on JAX and PyTorch, too. Received: "
            f"KERAS_BACKEND={BACKEND}")


class _NoTensorFlow:
    """Stands for TensorFlow where Keras runs on another backend."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        require_tensorflow("Training, or a stream of batches,")


if not TYPE_CHECKING:
    if IS_TENSORFLOW:
        import tensorflow as tf
    else:
        tf = _NoTensorFlow()


def custom_gradient(function: Callable[..., tuple[Tensor, Callable[..., Any]]]) -> Callable[..., Tensor]:
    """As ``tf.custom_gradient``; on other backends the function's value, through which they differentiate themselves.

    Args:
        function: of tensors; it returns its value and the function that maps the gradient to those of its arguments.
    """
    return tf.custom_gradient(function) if IS_TENSORFLOW else lambda *given: function(*given)[0]


def without_autograph(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as AutoGraph leaves it alone: what branches by TensorFlow's own operations takes long to read."""
    return tf.autograph.experimental.do_not_convert(function) if IS_TENSORFLOW else function


def strategy_of(model: Any) -> tf.distribute.Strategy | None:
    """The model's ``tf.distribute`` strategy; other backends have none."""
    return model.distribute_strategy if IS_TENSORFLOW else None


def strategy_scope(model: Any) -> contextlib.AbstractContextManager[Any]:
    """Scope of ``strategy_of``, or one that does nothing."""
    strategy = strategy_of(model)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def is_dataset(x: Any) -> bool:
    """Whether this is a ``tf.data.Dataset``."""
    return IS_TENSORFLOW and isinstance(x, tf.data.Dataset)


@contextlib.contextmanager
def double_precision() -> Generator[None]:
    """Compute in float64 inside the block: by default JAX makes float32 of it."""
    if BACKEND != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def portable_pass(forward: Callable[..., Tensor], variables: list[keras.Variable]) -> Callable[..., np.ndarray]:
    """A function of tensors as one that returns NumPy arrays, for other backends than TensorFlow.

    JAX compiles it, once for each shape; PyTorch runs it step by step, without a gradient.

    Args:
        forward: function of named tensors that returns one, by ``keras.ops`` and ``variables`` alone.
        variables: what it reads; their present values are those of each call.
    """
    if BACKEND == "jax":
        import jax

        @jax.jit
        def compiled(values: list[Tensor], given: dict[str, Tensor]) -> Tensor:
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return ops.cast(forward(**given), "float32")

        return lambda **given: np.array(compiled([v.value for v in variables], given))

    def run(**given: Tensor) -> np.ndarray:
        with _without_gradient():
            return ops.convert_to_numpy(ops.cast(forward(**given), "float32"))

    return run


def _without_gradient() -> contextlib.AbstractContextManager[Any]:
    if BACKEND != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()
