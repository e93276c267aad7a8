"""Progress is saved and gone on from; what cannot be written or read is named before training."""

import os
import pathlib

import keras
import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

import keras_crsae as kc
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates
from keras_crsae.training.callbacks import SaveProgress

TEMPLATES = spike_templates(15, 3)


@pytest.fixture(scope="module")
def signal():
    return simulate_spikes(TEMPLATES, windows=22, samples=120, events_per_window=2, seed=4).signal


def fresh(**options):
    model = kc.CRsAE(3, 15, **{"iterations": 4, "gradient": "decoder", "seed": 0, **options})
    model.set_dictionary(perturb_filters(TEMPLATES, 0.45, seed=5))
    model.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)  # tracing takes longer than so few steps
    return model


def state(model):
    return [keras.ops.convert_to_numpy(v) for v in
            [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]]


def test_finished_training_started_again_does_nothing_more(signal, tmp_path):
    callbacks = [SaveProgress(tmp_path / "m.keras")]
    first, second = fresh(), fresh()
    first.fit(signal, epochs=2, batch_size=8, verbose=0, callbacks=callbacks)
    assert second.fit(signal, epochs=2, batch_size=8, verbose=0, callbacks=callbacks).epoch == []
    for a, b in zip(state(first), state(second), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [f.name for f in tmp_path.iterdir()] == ["m.keras"]
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "m.keras").dictionary.kernel,
                                  first.dictionary.kernel)


class Counted(SaveProgress):
    """Notes the position at each save."""

    saved = ()

    def save(self):
        self.saved += (self.model.training_state.position(),)
        super().save()


@pytest.mark.parametrize("every, positions", [(None, [(1, 0)]), (2, [(0, 2), (0, 4), (1, 0)]), (9, [(1, 0)])])
def test_it_saves_every_so_many_batches_and_at_the_epochs_end(signal, tmp_path, every, positions):
    saver = Counted(tmp_path / "m.keras", every=every)
    fresh().fit(signal, batch_size=4, verbose=0, callbacks=[saver])  # 6 batches; the last is left to the epoch's end
    assert list(saver.saved) == positions


def test_nothing_is_restored_where_there_is_no_file(tmp_path):
    assert SaveProgress(tmp_path / "m.keras").restore(fresh()) is None


def test_what_cannot_be_written_or_gone_on_from_is_said_before_training(signal, tmp_path):
    with pytest.raises(FileError, match="No folder"):
        fresh().fit(signal, verbose=0, callbacks=[SaveProgress(tmp_path / "none" / "m.keras")])
    with pytest.raises(FileError, match="must end in .keras"):
        fresh().fit(signal, verbose=0, callbacks=[SaveProgress(tmp_path / "m.h5")])
    (tmp_path / "text.keras").write_text("hello")
    with pytest.raises(FileError, match="does not fit this model"):
        fresh().fit(signal, verbose=0, callbacks=[SaveProgress(tmp_path / "text.keras")])
    other = kc.CRsAE(2, 15, iterations=4)
    other.build((None, None, 1))
    other.save(tmp_path / "other.keras")
    with pytest.raises(FileError, match="does not fit this model"):
        fresh().fit(signal, verbose=0, callbacks=[SaveProgress(tmp_path / "other.keras")])
    with pytest.raises(ValueError, match="every"):
        SaveProgress(tmp_path / "m.keras", every=0)


def test_a_read_only_folder_is_said_before_training(signal, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):  # root may write anywhere but in the kernel's own folders
        folder = pathlib.Path("/sys")
    if not folder.is_dir():
        pytest.skip("no folder here that this user may not write to")
    with pytest.raises(FileError, match="cannot be written to"):
        fresh().fit(signal, verbose=0, callbacks=[SaveProgress(folder / "m.keras")])
