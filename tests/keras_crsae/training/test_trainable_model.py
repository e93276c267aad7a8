"""What training reads of a model."""

import keras_crsae as kc
from keras_crsae.training.trainable_model import TrainableModel


def test_a_model_has_all_that_training_reads():
    model = kc.CRsAE(2, 9, likelihood="poisson")
    model.build((None, None, 1))
    model.compile()
    names = {*TrainableModel.__annotations__, *(name for name in vars(TrainableModel) if not name.startswith("_"))}
    assert len(names) > 20 and not [name for name in names if not hasattr(model, name)]
