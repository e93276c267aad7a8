"""The cell: its parameters, thresholds and one iteration."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.problem import Exponential, Gaussian, Laplace
from tests.twin import dictionary_matrix, fista


def built(**options):
    cell = kc.SparseCodingCell(kc.ConvDictionary(2, 5), **options)
    cell.build((None, 20, 1))
    return cell


def test_iterations_are_those_of_the_matrix(rng):
    cell = built(code_prior="soft", lambda_init=[0.3, 0.5], sigma=0.8)
    signal = rng.standard_normal((1, 20, 1)).astype("float32")
    states = cell.get_initial_state(batch_size=1)
    for _ in range(7):
        code, states = cell(keras.ops.convert_to_tensor(signal), states)
    matrix, _ = dictionary_matrix(np.asarray(cell.dictionary.unit_kernel(), float), (20,), (1,))
    step = float(cell.step_size)
    expected = fista(matrix, signal.ravel(), np.tile([0.3, 0.5], 16) * 0.8**2 * step, step, 7, True)
    np.testing.assert_allclose(np.ravel(code), expected, atol=1e-5)


def test_threshold_is_the_penalty_weight_times_the_step():
    cell = built(lambda_init=[2.0, 3.0], sigma=0.5)
    np.testing.assert_allclose(cell.penalty_weight(), [0.5, 0.75], rtol=1e-6)
    np.testing.assert_allclose(cell.threshold(), np.array([0.5, 0.75]) * float(cell.step_size), rtol=1e-6)
    # With a noise level of the call, lambda * sigma is kept.
    np.testing.assert_allclose(cell.penalty_weight(2.0), np.array([2.0, 3.0]) * 0.5 * 2.0, rtol=1e-6)
    per_signal = cell.penalty_weight(np.array([1.0, 2.0], "float32"))
    assert per_signal.shape == (2, 1, 2)
    np.testing.assert_allclose(per_signal[1, 0], [2.0, 3.0], rtol=1e-6)


def test_the_step_size_follows_the_dictionary_or_the_user():
    cell = built()
    first = float(cell.step_size)
    assert first == pytest.approx(1 / float(cell.dictionary.largest_eigenvalue()))
    cell.dictionary.kernel.assign(np.ones((5, 1, 2)))
    cell.refresh_step_size()
    assert float(cell.step_size) < first
    fixed = built(step_size=0.125)
    fixed.refresh_step_size()
    assert float(fixed.step_size) == 0.125 and float(fixed.safe_step_size()) != 0.125


def test_signals_as_long_as_the_filters_take_the_step_size_of_a_matrix(rng):
    cell = built()
    convolution = float(cell.step_size)
    cell.one_position = True
    matrix = np.asarray(cell.dictionary.unit_kernel())[:, 0]
    assert convolution < float(cell.step_size) <= 1 / np.linalg.norm(matrix, 2)**2
    again = kc.SparseCodingCell.from_config(cell.get_config())
    assert again.one_position and not built().one_position
    encoder = kc.SparseCoding(cell, 3)
    assert encoder(rng.standard_normal((1, 5, 1))).shape == (1, 1, 2)
    with pytest.raises(ValueError, match=r"as long as its filters, \(5,\) samples.*Received: \(6,\) samples"):
        encoder(rng.standard_normal((1, 6, 1)))
    with pytest.raises(ValueError, match="plain ConvDictionary"):
        kc.SparseCodingCell(kc.layers.FreeNormDictionary(2, 5), one_position=True)


def test_one_lambda_can_be_shared():
    cell = built(lambda_init=2.0, lambda_shared=True)
    assert cell.lambda_reg.shape == (1,) and cell.penalty_weight().shape == (1,)


def test_a_config_gives_the_same_cell():
    cell = kc.SparseCodingCell(kc.ConvDictionary(2, 5), code_prior=Laplace(), lambda_init=[0.3, 0.5], sigma=0.7,
                               step_size=0.1)
    config = keras.saving.serialize_keras_object(cell)
    assert config["config"]["code_prior"] == "soft" and config["config"]["likelihood"] == "gaussian"
    again = keras.saving.deserialize_keras_object(config)
    configs = [one.get_config() for one in (again, cell)]
    for one in configs:
        one["dictionary"].pop("shared_object_id")  # tells two dictionaries of one model apart
    assert configs[0] == configs[1]
    assert isinstance(again.code_prior, Laplace) and isinstance(again.likelihood, Gaussian)
    assert isinstance(kc.SparseCodingCell(kc.ConvDictionary(2, 5)).code_prior, Exponential)


@pytest.mark.parametrize("wrong, words", [(dict(code_prior="hard"), "Expected a code prior.*'soft'.*Received: 'hard'"),
                                          (dict(likelihood="cauchy"), "Expected a likelihood.*gaussian"),
                                          (dict(step_size=0), "`step_size` must be 'auto' or a positive number")])
def test_bad_options_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        built(**wrong)
