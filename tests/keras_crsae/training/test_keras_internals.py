"""The private hook of Keras that is overridden still exists and still has its form."""

import inspect

import keras

from keras_crsae.training.keras_internals import PrebuiltModel


def test_the_hook_that_is_switched_off_is_one_that_keras_calls():
    hook = inspect.signature(keras.Model._maybe_symbolic_build)
    assert inspect.signature(PrebuiltModel._maybe_symbolic_build).parameters.keys() == hook.parameters.keys()
    for method in (keras.Model.fit, keras.Model.evaluate, keras.Model.train_on_batch):
        assert "self._maybe_symbolic_build(" in inspect.getsource(inspect.unwrap(method)), method


def test_an_unbuilt_model_is_left_to_keras(monkeypatch):
    calls = []
    monkeypatch.setattr(keras.Model, "_maybe_symbolic_build", lambda self, **given: calls.append(given))
    model = PrebuiltModel()
    model._maybe_symbolic_build(iterator="batches")
    model.built = True
    model._maybe_symbolic_build(iterator="batches")
    assert calls == [{"iterator": "batches", "data_batch": None}]
