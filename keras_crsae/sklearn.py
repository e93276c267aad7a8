"""scikit-learn's door: ``SparseCoder``, an estimator that learns filters and turns signals into sparse codes."""

from __future__ import annotations

import math
from typing import Any

# Before Keras, which takes seconds to import.
from crsae_onnx.core.optional import missing_package

try:
    from scipy import sparse
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data
except ModuleNotFoundError as _error:
    raise missing_package(_error, "keras_crsae.sklearn", "sklearn") from _error

import keras
import numpy as np
from crsae_onnx.core.validation import as_int, as_positive, as_positive_int

from keras_crsae.models import CRsAE
from keras_crsae.problem import lambda_max
from keras_crsae.typing import LambdaLearning, Sizes

__all__ = ["SparseCoder"]
OUTPUTS = ("dense", "sparse", "array")
_SEED_BOUND = 2 ** 31 - 1
_HIDDEN_SHARE = 0.1  # of the samples, in ``score``
_SPARSE_BLOCK = 2 ** 24  # values of dense codes at a time, on their way to a sparse array


class SparseCoder(TransformerMixin, BaseEstimator):
    """Learns a convolutional dictionary from the rows of X; ``transform`` gives their sparse codes.

    An estimator of scikit-learn around ``CRsAE``, for pipelines and searches. It minimises
    1/2 ||x - D z||^2 + sum_c w_c ||z_c||_1 over the code z of each row x, and learns D. The fitted model is ``model_``.

    Args:
        filters: number of filters.
        kernel_size: their length, or (height, width), which makes the rows images. None: as long as a row, a dictionary
            without shifts, as in ``sklearn.decomposition.DictionaryLearning``.
        strides: distance of the positions at which a filter may start.
        signal_shape: shape of one row where X is 2-D: (time, channels), (height, width) or (height, width, channels).
            None: one channel of n_features samples.
        penalty_ratio: weight of the l1 norm as a share of the smallest one at which every code of the training data is
            zero under the first filters; between 0 and 1, without a unit. Taken where ``lambda_init`` is None.
        lambda_init: None, or CRsAE's option: a number, one a filter, or "donoho". With sigma 1 it is the weight itself,
            in the unit of X.
        lambda_learning: None holds lambda; "em_closed_form", "em": learned with the filters, see ``CRsAE``.
        sigma: noise standard deviation in the unit of X, or "estimate"; the weight of the l1 norm is lambda sigma^2.
        code_prior: "nonnegative_soft" (codes >= 0) or "soft" (both signs), or an object.
        iterations: FISTA iterations of the encoder.
        init: first filters: "energy" (strong windows of X), "windows", "dct", or an array
            (*kernel_size, channels, filters).
        epochs: passes over X in ``fit``; 0: the first filters stay.
        batch_size: rows a step.
        learning_rate: of Adam on the filters; in ``fit`` it falls to zero along a cosine.
        output: what ``transform`` returns: "dense", an array (n_samples, positions * filters); "sparse", the same as a
            SciPy CSR array; "array", (n_samples, *positions, filters).
        model_options: None, or a dict of further options of ``CRsAE``, such as {"tolerance": 1e-3}.
        random_state: int, ``numpy.random.RandomState`` or None.
        verbose: as in ``keras.Model.fit``.

    Attributes:
        model_: the fitted ``CRsAE``, for everything else: saving, ONNX export, other lengths.
        dictionary_: filters (*kernel_size, channels, filters), of unit norm.
        lambda_reg_: rates of the code's prior, (filters,).
        code_shape_: (*positions, filters) of a row's code.
        history_: losses of each epoch of ``fit``, as Keras' ``History.history``.
        n_features_in_, feature_names_in_: as scikit-learn has them.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> from keras_crsae.sklearn import SparseCoder
        >>> x, y = load_digits(return_X_y=True)                       # (1797, 64), images of 8 x 8
        >>> coder = SparseCoder(filters=16, kernel_size=(5, 5), signal_shape=(8, 8), iterations=20, epochs=2,
        ...                     random_state=0)
        >>> pipeline = make_pipeline(coder, LogisticRegression(max_iter=300)).fit(x[:400], y[:400])
        >>> bool(pipeline.score(x[400:600], y[400:600]) > 0.85)
        True
    """

    def __init__(self, filters: int = 16, kernel_size: Sizes | None = None, *, strides: Sizes = 1,
                 signal_shape: tuple[int, ...] | None = None, penalty_ratio: float = 0.1, lambda_init: Any = None,
                 lambda_learning: LambdaLearning = None, sigma: float | str = 1.0, code_prior: Any = "nonnegative_soft",
                 iterations: int = 50, init: Any = "energy", epochs: int = 10, batch_size: int = 32,
                 learning_rate: float = 1e-2, output: str = "dense", model_options: dict[str, Any] | None = None,
                 random_state: Any = None, verbose: int = 0) -> None:
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.signal_shape = signal_shape
        self.penalty_ratio = penalty_ratio
        self.lambda_init = lambda_init
        self.lambda_learning: LambdaLearning = lambda_learning
        self.sigma = sigma
        self.code_prior = code_prior
        self.iterations = iterations
        self.init = init
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.output = output
        self.model_options = model_options
        self.random_state = random_state
        self.verbose = verbose

    # Learning

    def fit(self, X: Any, y: Any = None) -> SparseCoder:
        """Learn filters, and lambda where asked for, from the rows of X.

        Args:
            X: (n_samples, n_features), each row a signal of one channel or flattened as ``signal_shape`` says;
                (n_samples, time, channels); images (n_samples, height, width) or (n_samples, height, width, channels).
            y: without meaning here.

        Returns:
            The estimator.

        Raises:
            ValueError: an option out of range, or rows that do not fit it.
        """
        self._check_options()
        signal = self._as_signal(X, reset=True)
        steps = max(1, self.epochs * -(-len(signal) // self.batch_size))
        self._start(signal, keras.optimizers.schedules.CosineDecay(self.learning_rate, steps))
        self.history_: dict[str, list[float]] = {}
        if self.epochs:
            self.history_ = self._train(signal, self.epochs)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> SparseCoder:
        """One pass over more rows, at the constant ``learning_rate``; the first call takes first filters from them.

        Args:
            X: rows of the same shape at every call, see ``fit``.
            y: without meaning here.

        Returns:
            The estimator.
        """
        self._check_options()
        first = not hasattr(self, "model_")
        signal = self._as_signal(X, reset=first)
        if first:
            self._start(signal, self.learning_rate)
        self._train(signal, 1)
        return self

    def _start(self, signal: np.ndarray, learning_rate: Any) -> None:
        """Make ``model_``: its first filters and lambda from the data, and its optimiser."""
        seed = int(check_random_state(self.random_state).randint(_SEED_BOUND))
        space = signal.shape[1:-1]
        model = CRsAE(self.filters, space if self.kernel_size is None else self.kernel_size, strides=self.strides,
                      rank=len(space), iterations=self.iterations, sigma=self.sigma,
                      lambda_init="donoho" if self.lambda_init is None else self.lambda_init,
                      lambda_learning=self.lambda_learning, code_prior=self.code_prior, seed=seed,
                      **{"gradient": "decoder", **(self.model_options or {})})
        if isinstance(self.init, str):
            model.adapt(signal, init=self.init)
        else:
            model.set_dictionary(self.init)
            model.adapt(signal)
        if self.lambda_init is None:
            _set_lambda(model, _relative_lambda(model, signal, self.penalty_ratio))
        model.compile(keras.optimizers.Adam(learning_rate))
        self.model_ = model
        self.code_shape_ = (*model.dictionary.code_space(space), model.filters)

    def _train(self, signal: np.ndarray, epochs: int) -> dict[str, list[float]]:
        return self.model_.fit(signal, epochs=epochs, batch_size=self.batch_size, verbose=self.verbose).history

    # Coding

    def transform(self, X: Any) -> Any:
        """Sparse codes of the rows of X.

        Args:
            X: rows of the shape that ``fit`` saw.

        Returns:
            As ``output`` says, float32; columns run over the filters of the first position, then of the next
            (``get_feature_names_out``).
        """
        if self.output not in OUTPUTS:
            raise ValueError(f"`output` must be one of {OUTPUTS}. Received: output={self.output!r}")
        check_is_fitted(self)
        signal = self._as_signal(X, reset=False)
        if self.output == "array":
            return self.model_.encode(signal)
        if self.output == "dense":
            return self.model_.encode(signal).reshape(len(signal), -1)
        rows = max(1, _SPARSE_BLOCK // math.prod(self.code_shape_))
        parts = (self.model_.encode(signal[i:i + rows]) for i in range(0, len(signal), rows))
        return sparse.vstack([sparse.csr_array(part.reshape(len(part), -1)) for part in parts], format="csr")

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Rows from their codes: D z, in the shape that ``fit`` saw.

        Args:
            X: codes as ``transform`` returns them, whatever ``output`` says.

        Returns:
            (n_samples, n_features) or (n_samples, *shape of a row), float32.
        """
        check_is_fitted(self)
        code = X.toarray() if sparse.issparse(X) else check_array(X, dtype=np.float32, allow_nd=True)
        columns = math.prod(self.code_shape_)
        if code.shape[1:] not in ((columns,), self.code_shape_):
            raise ValueError(f"Codes must have shape (n_samples, {columns}) or (n_samples, "
                             f"{', '.join(map(str, self.code_shape_))}). Received: shape {code.shape}")
        return self._as_rows(self.model_.decode(code.reshape(-1, *self.code_shape_)))

    def score(self, X: Any, y: Any = None) -> float:
        """How well hidden samples are filled in: 1 is perfect, 0 as good as zeros.

        A tenth of the samples of X, the same at every call, is hidden from the encoder, and the reconstruction compared
        there: 1 - sum (x - D z)^2 / sum x^2. Unlike the error of what was seen, it does not always grow as the penalty
        falls, so that a search may choose lambda by it, as it may the number and the length of filters.

        Args:
            X: rows of the shape that ``fit`` saw.
            y: without meaning here.

        Returns:
            The score; higher is better.
        """
        check_is_fitted(self)
        signal = self._as_signal(X, reset=False)
        hidden = np.random.default_rng(0).random(signal.shape) < _HIDDEN_SHARE
        if not hidden.any():
            hidden.flat[0] = True
        error = (signal - self.model_.reconstruct(signal, mask=~hidden))[hidden]
        energy = float(np.square(signal[hidden], dtype=np.float64).sum())
        return 1.0 - float(np.square(error, dtype=np.float64).sum()) / energy if energy else 0.0

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of ``transform``: filter, and the sample of the row at which it starts.

        Args:
            input_features: without meaning here.

        Returns:
            Array of str objects, such as "filter2_at14", for images "filter2_at3_14".
        """
        check_is_fitted(self)
        *positions, filters = self.code_shape_
        steps = self.model_.dictionary.strides
        starts = ["_".join(str(i * s) for i, s in zip(where, steps, strict=True)) for where in np.ndindex(*positions)]
        return np.array([f"filter{c}_at{start}" for start in starts for c in range(filters)], dtype=object)

    # What was learned

    @property
    def dictionary_(self) -> np.ndarray:
        """Filters (*kernel_size, channels, filters), of unit norm."""
        check_is_fitted(self)
        return keras.ops.convert_to_numpy(self.model_.dictionary.kernel)

    @property
    def lambda_reg_(self) -> np.ndarray:
        """Rates of the code's prior, (filters,)."""
        check_is_fitted(self)
        return keras.ops.convert_to_numpy(self.model_.lambda_reg)

    # Pieces

    def _check_options(self) -> None:
        """What ``CRsAE`` does not check by itself, before anything is computed."""
        as_positive_int(self.batch_size, "batch_size")
        as_positive(self.learning_rate, "learning_rate")
        as_int(self.epochs, "epochs", minimum=0)

    def _as_signal(self, X: Any, reset: bool) -> np.ndarray:
        """X as (batch, *space, channels), float32, after its checks."""
        X = validate_data(self, X, reset=reset, dtype=np.float32, allow_nd=True)
        if reset:
            self._row_shape = X.shape[1:]
        elif X.shape[1:] != self._row_shape:
            raise ValueError(f"Rows must have the shape that `fit` saw, {self._row_shape}; for other lengths use "
                             f"`model_.encode`. Received: shape {X.shape}")
        shape = self._row_shape if self.signal_shape is None else tuple(self.signal_shape)
        if math.prod(shape) != math.prod(self._row_shape) or X.ndim > 2 and shape != self._row_shape:
            raise ValueError(f"A row does not have `signal_shape`={self.signal_shape}. Received: X of shape {X.shape}")
        rank = _rank(self.kernel_size, shape)
        if len(shape) not in (rank, rank + 1):
            wanted = "(time,) or (time, channels)" if rank == 1 else "(height, width) or (height, width, channels)"
            raise ValueError(f"With kernel_size={self.kernel_size!r} a row must have shape {wanted}. Received: rows of "
                             f"shape {shape}. Give flattened rows their shape with `signal_shape`.")
        X = X.reshape(len(X), *shape)
        return X if len(shape) == rank + 1 else X[..., None]

    def _as_rows(self, signal: np.ndarray) -> np.ndarray:
        """A decoded signal as rows of X; it may be longer, where the strides do not divide it."""
        shape = self._row_shape if self.signal_shape is None else tuple(self.signal_shape)
        space = shape[:_rank(self.kernel_size, shape)]
        cropped = signal[(slice(None), *(slice(0, n) for n in space))]
        return np.ascontiguousarray(cropped).reshape(len(signal), *self._row_shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _rank(kernel_size: Any, row_shape: tuple[int, ...]) -> int:
    """1 or 2, as a tuple ``kernel_size`` says; else images are rows of three axes."""
    if kernel_size is not None and np.ndim(kernel_size):
        return len(kernel_size)
    return 2 if len(row_shape) == 3 else 1


def _relative_lambda(model: CRsAE, signal: np.ndarray, ratio: float) -> float:
    """Lambda at ``ratio`` of the smallest penalty weight with all-zero codes."""
    if not 0 < ratio < 1:
        raise ValueError("`penalty_ratio` must lie between 0 and 1, where every code is zero. "
                         f"Received: penalty_ratio={ratio!r}")
    peak = lambda_max(signal, model.dictionary.kernel, model.dictionary.strides, model.code_prior, model.likelihood)
    if not peak > 0:
        raise ValueError("No row correlates with a filter, so that there is nothing to code: is X all zeros? "
                         f"Received: shape {signal.shape}, values from {signal.min():.4g} to {signal.max():.4g}")
    return ratio * peak / model.likelihood.dispersion(float(model.sigma))


def _set_lambda(model: CRsAE, value: float) -> None:
    """Lambda, and the mean of its prior where that follows the first lambda."""
    model.lambda_reg.assign(np.full(model.lambda_reg.shape, value, np.float32))
    if model.lambda_prior.mean is None:
        model.training_state.prior_mean.assign(model.lambda_reg.value)
