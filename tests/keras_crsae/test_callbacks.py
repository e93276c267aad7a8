"""The public names of the callbacks are Keras callbacks."""

import keras
import pytest

import keras_crsae as kc


@pytest.mark.parametrize("name", kc.callbacks.__all__)
def test_every_public_name_is_a_keras_callback(name):
    assert issubclass(getattr(kc.callbacks, name), keras.callbacks.Callback)


def test_names_are_listed():
    assert sorted(kc.callbacks.__all__) == ["DrawProgress", "RecentreFilters", "ReviveFilters", "SaveProgress"]
    assert set(kc.callbacks.__all__) <= set(dir(kc.callbacks))
