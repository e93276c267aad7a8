"""What the baselines share: filters whose norms are free, and a first threshold that fits these norms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.core.spec_parts import DenoiserSpec

from keras_crsae.constraints import filter_norms
from keras_crsae.layers import ConvDictionary, FreeNormDictionary, SparseCoding, SparseCodingCell
from keras_crsae.models.crsae import CRsAE
from keras_crsae.models.cycle_spinning import CycleSpinning, as_low_pass, as_training_shifts
from keras_crsae.typing import Tensor

#: Name -> a built dictionary of that name.
MakeDictionary = Callable[[str], ConvDictionary]


class Baseline(CRsAE):
    """``CRsAE`` of free filters. A subclass says which encoder it has and how the first filters are scaled.

    Args:
        training_shifts: shifts averaged in a training step (images); None: the plain loss.
        low_pass: for ``applications.denoising``, see ``Denoiser``.
        **options: of ``CRsAE``.
    """

    DEFAULT_CODE_PRIOR = "soft"
    takes_counts = takes_kernel_rank = takes_dense_filters = False
    converges_at_inverse_norm = False
    #: Whether filters are kept inside the unit ball.
    inside_unit_ball = False

    def __init__(self, *given: Any, training_shifts: int | None = None, low_pass: float = 0.0, **options: Any) -> None:
        super().__init__(*given, **options)
        self.training_shifts = as_training_shifts(training_shifts, self._options["strides"])
        self.low_pass = as_low_pass(low_pass)
        if self.rank == 2 and self.training_shifts is not None:
            self._trainer.forward = CycleSpinning(self, self.training_shifts)

    def make_encoder(self, cell: SparseCodingCell, make_dictionary: MakeDictionary) -> SparseCoding:
        """The encoder, with further dictionaries where it needs them."""
        raise NotImplementedError

    def first_scale(self) -> Tensor:
        """What Donoho's lambda is multiplied by, so that it fits the first filters' norms."""
        raise NotImplementedError

    def scale_filters(self) -> None:
        """Give first filters of unit norm the norms that the model begins with."""
        raise NotImplementedError

    def adapt(self, data: Any, init: str | None = None, mask: Any = None) -> None:
        """As ``CRsAE.adapt``; the first threshold is scaled to the first filters' norms."""
        super().adapt(data, init=init, mask=mask)
        self.lambda_reg.assign(self.first_scale() * self.lambda_reg.value)

    def set_dictionary(self, filters: Any) -> None:
        """Set the filters, (*kernel_size, channels, filters), in the norms that the model begins with."""
        super().set_dictionary(filters)
        self.scale_filters()

    def _build_layers(self, first_lambda: Any, sigma: float, input_shape: tuple[int | None, ...]) -> None:
        options = dict(self._dictionary_options(input_shape[-1]), unit_ball=self.inside_unit_ball)
        code_shape = (None,) * (self.rank + 1) + (self.filters,)

        def make_dictionary(name: str) -> ConvDictionary:
            layer = FreeNormDictionary(**options, name=name)
            layer.build(code_shape)
            return layer

        self.dictionary = make_dictionary("dictionary")
        unit = self.dictionary.kernel.value / filter_norms(self.dictionary.kernel.value)
        self.dictionary.kernel.assign(unit)
        cell = SparseCodingCell(self.dictionary, lambda_init=first_lambda, sigma=sigma, name="cell",
                                dtype=self.dtype_policy, **self._cell_options)
        self.decoder = self.dictionary
        if not self.tied:
            self.decoder = make_dictionary("decoder")
            self.decoder.kernel.assign(unit)
        self.encoder = self.make_encoder(cell, make_dictionary)
        self.encoder.refresh_in_training = False
        self.encoder.build(input_shape)
        self.scale_filters()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "training_shifts": self.training_shifts, "low_pass": self.low_pass}

    def export_spec(self) -> EncoderSpec:
        """As ``CRsAE.export_spec``, with how images are prepared."""
        return replace(super().export_spec(), denoiser=DenoiserSpec(self.low_pass))


def refuse_options(name: str, options: dict[str, Any], fixed: dict[str, Any]) -> None:
    """A ValueError where an option is given another value than the one that the baseline ``name`` fixes."""
    for key, value in fixed.items():
        if key in options and options[key] != value:
            raise ValueError(f"{name} has no choice of `{key}`: it is {value!r}. Received: {options[key]!r}")
