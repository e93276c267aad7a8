"""The one private hook of Keras that this package overrides."""

from __future__ import annotations

from typing import Any

import keras


class PrebuiltModel(keras.Model):
    """``keras.Model`` that is built before ``fit`` and ``evaluate`` look at data.

    Under ``tf.distribute`` Keras 3.15 averages the first batch over the replicas, only to learn the shape that an
    unbuilt model would need. That fails for tuples on several machines and for parts of different sizes, also where
    the model is built and the answer is thrown away; there is no public switch. ``CRsAE.fit`` builds model and
    optimisers itself. ``tests/keras_crsae/training/test_keras_internals.py`` notices when Keras renames the hook.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if not self.built:
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)  # pyright: ignore
