"""Curves of denoisers over training time: run once, read afterwards."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks import denoising_curves as curves
from keras_crsae import zoo

MADE = {"parameters": 7, "cpu_minutes": 1.25,
        "curve": [{"step": 100 * i, "minutes": 0.5 * i, "psnr": 20.0 + i} for i in range(1, 7)]}


def test_what_was_run_is_read_from_its_file(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(curves, "fit", never)
    one, other = curves.Configuration(), curves.Configuration(iterations=5)
    values = [*asdict(one).values(), 2.0]
    (tmp_path / ("-".join(f"{value:g}" for value in values) + ".json")).write_text(json.dumps(MADE))
    assert curves.run(one, 2.0, tmp_path) == MADE
    assert curves.run(other, 2.0, tmp_path, train=False) is None
    for configuration, minutes in ((other, 2.0), (one, 3.0)):
        with pytest.raises(AssertionError, match="trained again"):
            curves.run(configuration, minutes, tmp_path)


def test_a_row_shows_thirds_of_the_time():
    assert curves.row("name", MADE) == ("name", 7, 600, "22.00", "24.00", "26.00", "1.2")
    assert len(curves.row("name", MADE)) == len(curves.HEADERS)


def test_configurations_differ():
    assert len(set(curves.CONFIGURATIONS.values())) == len(curves.CONFIGURATIONS)


@pytest.mark.skipif(curves.WARM not in zoo.names(), reason=f"models/ holds no {curves.WARM}")
def test_the_warm_start_begins_with_the_filters_of_em():
    options = asdict(curves.CONFIGURATIONS["144 filters, from EM's"])
    del options["warm"]
    model = curves.warm(options)
    learned = np.asarray(zoo.load_model_from_zoo(curves.WARM).dictionary.unit_kernel())
    for layer in (model.dictionary, model.decoder):
        np.testing.assert_allclose(np.asarray(layer.kernel), learned, atol=1e-6)
    assert not model.tied and float(model.training_state.adapted) == 1.0 and model.lambda_learning == "backprop"
