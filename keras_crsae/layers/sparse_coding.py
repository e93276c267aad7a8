"""The encoder: drives the cell for a fixed number of iterations, as a loop or unrolled."""

import keras
from keras import ops

GRADIENTS = ("unrolled", "truncated", "decoder")


@keras.saving.register_keras_serializable(package="keras_crsae")
class SparseCoding(keras.layers.Layer):
    """Sparse code of a signal by ``iterations`` FISTA steps.

    Args:
        cell: ``SparseCodingCell``.
        iterations: FISTA iterations.
        unroll: True: a Python loop; False: one graph loop (smaller graph, less to compile).
        return_sequences: give every iterate, (batch, iterations, *positions, filters).
        gradient: "unrolled" (through every iteration), "truncated" (through the last ``gradient_steps``),
            "decoder" (the code is held constant).
        gradient_steps: iterations that "truncated" differentiates.

    Input shape: (batch, *space, channels). Output shape: (batch, *positions, filters), positions =
    ceil((space - kernel_size) / strides) + 1; where the stride divides unevenly the signal is padded on the
    right and the padded samples are left out of the residual.
    """

    def __init__(self, cell, iterations=100, unroll=False, return_sequences=False, gradient="unrolled",
                 gradient_steps=10, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("iterations", iterations), ("gradient_steps", gradient_steps)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive int. Received: {name}={value!r}")
        if gradient not in GRADIENTS:
            raise ValueError(f"`gradient` must be one of {GRADIENTS}. Received: {gradient!r}")
        self.supports_masking = True  # `mask` marks observed samples; none is passed on
        self.cell, self.iterations, self.unroll = cell, iterations, unroll
        self.return_sequences, self.gradient, self.gradient_steps = return_sequences, gradient, gradient_steps

    def build(self, input_shape):
        dictionary = self.cell.dictionary
        if len(input_shape) != dictionary.rank + 2 or input_shape[-1] != dictionary.channels:
            space = "time" if dictionary.rank == 1 else "height, width"
            raise ValueError(f"Expected a signal of shape (batch, {space}, {dictionary.channels} channels). "
                             f"Received: input_shape={tuple(input_shape)}. Add or move axes to match.")
        for n, k in zip(input_shape[1:-1], dictionary.kernel_size, strict=True):
            if n is not None and n < k:
                raise ValueError(f"The signal is shorter than the kernel: {tuple(input_shape[1:-1])} samples against "
                                 f"kernel_size={dictionary.kernel_size}. Use longer signals or a smaller kernel_size.")
        if not self.cell.built:
            self.cell.build(input_shape)

    def _pad(self, signal, mask):
        """Pad on the right to a whole number of strides; the padding is masked from the residual."""
        dictionary = self.cell.dictionary
        if all(s == 1 for s in dictionary.strides):
            return signal, mask
        space = ops.shape(signal)[1:-1]
        missing = [(s - (n - k) % s) % s for n, k, s in
                   zip(space, dictionary.kernel_size, dictionary.strides, strict=True)]
        if all(isinstance(m, int) and m == 0 for m in missing):
            return signal, mask
        widths = [(0, 0), *((0, m) for m in missing), (0, 0)]
        if mask is None:
            mask = ops.ones_like(signal)
        return ops.pad(signal, widths), ops.pad(mask, widths)

    def call(self, signal, mask=None, sigma=None, training=False):
        """Code of ``signal``; ``mask`` (0/1, broadcastable to it) marks observed samples, ``sigma`` overrides."""
        if mask is not None:
            mask = ops.broadcast_to(ops.cast(mask, signal.dtype), ops.shape(signal))
        signal, mask = self._pad(signal, mask)
        kernel, threshold = self.cell.dictionary.unit_kernel(), self.cell.threshold(sigma)
        held = {"unrolled": 0, "decoder": self.iterations,
                "truncated": max(0, self.iterations - self.gradient_steps)}[self.gradient]
        states = self.cell.get_initial_state(signal=signal)
        sequence = []
        if held:
            states = self._run(signal, states, mask, ops.stop_gradient(kernel), ops.stop_gradient(threshold),
                               held, sequence)
            states = [ops.stop_gradient(s) for s in states]
        if self.iterations > held:
            states = self._run(signal, states, mask, kernel, threshold, self.iterations - held, sequence)
        return ops.stack(sequence, axis=1) if self.return_sequences else states[0]

    def _run(self, signal, states, mask, kernel, threshold, count, sequence):
        if self.unroll or self.return_sequences:
            for _ in range(count):
                code, states = self.cell(signal, states, observed=mask, kernel=kernel, threshold=threshold)
                sequence.append(code)
            return states

        def body(*states):
            return tuple(self.cell(signal, list(states), observed=mask, kernel=kernel, threshold=threshold)[1])

        return list(ops.while_loop(lambda *_: True, body, tuple(states), maximum_iterations=count))

    def compute_mask(self, *args, **kwargs):
        return None

    def compute_output_shape(self, input_shape):
        dictionary = self.cell.dictionary
        shape = (*dictionary.code_space(input_shape[1:-1]), dictionary.filters)
        return (input_shape[0], self.iterations, *shape) if self.return_sequences else (input_shape[0], *shape)

    def get_config(self):
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell),
                "iterations": self.iterations, "unroll": self.unroll,
                "return_sequences": self.return_sequences, "gradient": self.gradient,
                "gradient_steps": self.gradient_steps}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["cell"] = keras.saving.deserialize_keras_object(config["cell"])
        return cls(**config)
