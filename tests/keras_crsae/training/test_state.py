"""The training state is saved by the names of its variables."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.training.state import WATCHED, TrainingState


def built(rates=2):
    state = TrainingState(rates)
    state.build((None,))
    return state


def test_every_variable_has_its_first_value_and_none_is_trained():
    state = built()
    assert state.trainable_variables == [] and len(state.weights) == 10
    np.testing.assert_array_equal(state.prior_mean, [1, 1])
    np.testing.assert_array_equal(state.order_seed, -1)
    assert state.position() == (0, 0)
    assert TrainingState.from_config(state.get_config()).rates == 2


def test_values_are_stored_by_name():
    state, store = built(), {}
    for i, variable in enumerate(state.weights):
        variable.assign(np.full(variable.shape, i + 0.5))
    state.save_own_variables(store)
    assert set(store) == {v.name for v in state.weights} and "skipped_batches" in store
    other = built()
    other.load_own_variables(dict(reversed(store.items())))  # whatever the order in the file
    other.failed_stage.assign(state.failed_stage)  # of the run that saved: it is not loaded, see below
    for a, b in zip(state.weights, other.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


@pytest.mark.parametrize("change", [lambda s: s.pop("adapted"), lambda s: s.update(more=np.zeros(()))])
def test_another_set_of_names_is_refused(change):
    state, store = built(), {}
    state.save_own_variables(store)
    change(store)
    with pytest.raises(ValueError, match="training state .* Expected"):
        built().load_own_variables(store)


def test_a_model_keeps_its_parameters_apart_from_the_state_of_training(tmp_path):
    model = kc.CRsAE(3, 9, seed=0)
    model.build((None, None, 1))
    model.training_state.progress.assign([4, 7])
    state = {id(v) for v in model.training_state.weights}
    assert {v.name for v in model.weights if id(v) not in state} == {"kernel", "lambda_reg", "sigma", "step_size"}
    model.save(tmp_path / "m.keras")
    assert keras.saving.load_model(tmp_path / "m.keras").training_state.position() == (4, 7)


def test_a_failure_is_not_loaded():
    state, store, other = built(), {}, built()
    state.failed_stage.assign(2.0)
    state.save_own_variables(store)
    other.failed_stage.assign(WATCHED)
    other.load_own_variables(store)
    assert float(other.failed_stage) == WATCHED
