"""What the encoding reads of a model: every model has it."""

import pytest

import keras_crsae as kc
from keras_crsae.models.encoding_model import EncodingModel

NAMES = sorted({*EncodingModel.__annotations__, *(n for n in vars(EncodingModel) if not n.startswith("_"))})


@pytest.mark.parametrize("name", ["CRsAE", "Denoiser", "CDLNet"])
def test_a_model_has_every_name(name):
    model = getattr(kc.models, name)(2, 5)
    model.build((None,) * (model.rank + 1) + (1,))
    assert len(NAMES) > 10 and not [name for name in NAMES if not hasattr(model, name)]
