"""Files of the zoo are found without Keras, and names that are none are refused with those that are."""

import pytest
from crsae_onnx.core.errors import FileError

from keras_crsae.data import zoo_files


def test_each_name_has_a_folder_with_its_files():
    for name in zoo_files.names():
        assert zoo_files.path_of(name).parent == zoo_files.folder() / name
        assert zoo_files.metadata(name)["task"]


def test_other_names_are_refused():
    with pytest.raises(FileError, match="There is no zoo model 'nothing'"):
        zoo_files.path_of("nothing")
