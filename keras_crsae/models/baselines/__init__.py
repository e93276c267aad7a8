"""What the CRsAE paper compares with: LCSC, whose weights are all free, and TLAE, which takes one step.

Both are ``CRsAE`` models with other layers: the same ``compile``, ``fit``, ``encode``, ``denoise`` and export. LCSC:
learned convolutional sparse coding (Sreter and Giryes, arXiv 1711.00328); TLAE: a tied one-layer autoencoder.
"""

import keras
from keras import ops

from keras_crsae.constraints import filter_norms
from keras_crsae.layers import FreeNormDictionary, SparseCoding, SparseCodingCell
from keras_crsae.models.crsae import CRsAE
from keras_crsae.models.denoiser import ShiftAveraging
from keras_crsae.operators.lipschitz import largest_eigenvalue


class _Baseline(ShiftAveraging, CRsAE):
    """What both share: free filters, and a first threshold that fits their norms."""

    DEFAULT_CODE_PRIOR = "soft"
    _rescuable = False

    def adapt(self, data, filters=None, mask=None):
        """As ``CRsAE.adapt``; the first threshold is scaled to the first filters' norms."""
        super().adapt(data, filters=filters, mask=mask)
        self.lambda_reg.assign(self._first_scale() * self.lambda_reg.value)

    def set_dictionary(self, filters):
        """Set the filters, (*kernel_size, channels, filters), in the norms that the model begins with."""
        super().set_dictionary(filters)
        self._scale_filters()

    def _build_layers(self, first_lambda, sigma, input_shape):
        options = dict(self._dictionary_options(input_shape[-1]), ball=self._BALL)
        code_shape = (None,) * (self.rank + 1) + (self.filters,)

        def free(name):
            layer = FreeNormDictionary(**options, name=name)
            layer.build(code_shape)
            return layer

        self.dictionary = free("dictionary")
        unit = self.dictionary.kernel.value / filter_norms(self.dictionary.kernel.value)
        self.dictionary.kernel.assign(unit)
        cell = SparseCodingCell(self.dictionary, lambda_init=first_lambda, sigma=sigma, name="cell",
                                dtype=self.dtype_policy, **self._cell_options)
        self.decoder = self.dictionary
        if not self.tied:
            self.decoder = free("decoder")
            self.decoder.kernel.assign(unit)
        self.encoder = self._make_encoder(cell, free)
        self.encoder.refresh_in_training = False
        self.encoder.build(input_shape)
        self._scale_filters()


@keras.saving.register_keras_serializable(package="keras_crsae")
class LCSC(_Baseline):
    """Learned convolutional sparse coding: three free kernels and free thresholds, all by the reconstruction.

    The code is ``z <- shrink(z + W^T (y - D z), b)``, ``iterations`` times from zero, without momentum; the output is
    ``d z``. W (``analysis``), D (``dictionary``) and d (``decoder``) learn apart, and so does b: ``lambda_reg`` times
    sigma^2 is the threshold itself. It begins as ISTA does: W = D / L, b = lambda sigma^2 / L.

    Args:
        filters, kernel_size, strides, rank, iterations: see ``CRsAE``.
        lambda_learning: "backprop", or None (fixed thresholds).
        training_shifts: shifts averaged in a training step (images); None: the plain loss.
        **options: of ``CRsAE``: shrinkage, sigma, lambda_init, lambda_shared, kernel_initializer, seed.

    Raises:
        ValueError: an option that LCSC does not have.

    Example:
        >>> model = LCSC(64, 8, strides=4, rank=2, iterations=15, training_shifts=4)
        >>> model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
    """

    _BALL = False

    def __init__(self, filters, kernel_size, strides=1, rank=1, iterations=15, shrinkage=None,
                 lambda_learning="backprop", training_shifts=None, low_pass=0.0, **options):
        if lambda_learning not in ("backprop", None):
            raise ValueError("LCSC learns its thresholds by the reconstruction: `lambda_learning` is 'backprop' or "
                             f"None (fixed). Received: {lambda_learning!r}")
        fixed = {"tied": False, "step_size": 1.0, "gradient": "unrolled", "active": False, "remat": False,
                 "tolerance": None, "sigma_learning": False, "solver": "ista"}
        _refuse("LCSC", options, fixed)
        super().__init__(filters, kernel_size, strides=strides, rank=rank, iterations=iterations,
                         shrinkage=shrinkage, lambda_learning=lambda_learning, **{**options, **fixed})
        self._set_averaging(training_shifts, low_pass)

    def _make_encoder(self, cell, free):
        self.analysis = free("analysis")
        return SparseCoding(cell, analysis=self.analysis, name="encoder", dtype=self.dtype_policy,
                            **self._coding_options)

    def _first_scale(self):
        return 1.0 / largest_eigenvalue(self.dictionary.unit_kernel(), self.dictionary.strides)

    def _scale_filters(self):
        self.analysis.kernel.assign(self._first_scale() * self.dictionary.kernel.value)

    @property
    def dictionary_variables(self):
        return [self.analysis.kernel, self.dictionary.kernel, self.decoder.kernel]


@keras.saving.register_keras_serializable(package="keras_crsae")
class TLAE(_Baseline):
    """Tied one-layer autoencoder: ``z = shrink(D^T y, b)``, output ``D z``.

    One step, no 1 / L; filters inside the unit ball, b = lambda_reg sigma^2. The paper's code trains it on
    ``||D^T y - z||^2``, which a dictionary of zeros minimises; here, as for the others, the reconstruction is the loss.
    It begins with filters of norm 1 / sqrt(L), whose ``D D^T`` is nearest to the identity.

    Args:
        filters, kernel_size, strides, rank: see ``CRsAE``.
        lambda_learning: None (fixed thresholds, as in the paper) or "backprop".
        training_shifts: shifts averaged in a training step (images); None: the plain loss.
        **options: of ``CRsAE``: shrinkage, sigma, lambda_init, lambda_shared, kernel_initializer, seed.

    Raises:
        ValueError: an option that TLAE does not have.

    Example:
        >>> model = TLAE(64, 8, strides=4, rank=2, training_shifts=4)
    """

    _BALL = True

    def __init__(self, filters, kernel_size, strides=1, rank=1, shrinkage=None, lambda_learning=None,
                 training_shifts=None, low_pass=0.0, **options):
        if lambda_learning not in ("backprop", None):
            raise ValueError("TLAE's thresholds are fixed, or learned by the reconstruction: `lambda_learning` is "
                             f"None or 'backprop'. Received: {lambda_learning!r}")
        fixed = {"tied": True, "step_size": 1.0, "iterations": 1, "gradient": "unrolled", "active": False,
                 "remat": False, "tolerance": None, "sigma_learning": False}
        _refuse("TLAE", options, fixed)
        super().__init__(filters, kernel_size, strides=strides, rank=rank, shrinkage=shrinkage,
                         lambda_learning=lambda_learning, **{**options, **fixed})
        self._set_averaging(training_shifts, low_pass)

    def _make_encoder(self, cell, free):
        return SparseCoding(cell, name="encoder", dtype=self.dtype_policy, **self._coding_options)

    def _first_scale(self):
        # The filters have been scaled already: their largest eigenvalue is 1, and their norm tells by how much.
        return ops.mean(filter_norms(self.dictionary.kernel.value))

    def _scale_filters(self):
        eigenvalue = largest_eigenvalue(self.dictionary.unit_kernel(), self.dictionary.strides)
        self.dictionary.kernel.assign(self.dictionary.kernel.value / ops.sqrt(eigenvalue))


def _refuse(name, options, fixed):
    """A ValueError where an option is given another value than the baseline's own."""
    for key, value in fixed.items():
        if key in options and options[key] != value:
            raise ValueError(f"{name} has no choice of `{key}`: it is {value!r}. Received: {options[key]!r}")
