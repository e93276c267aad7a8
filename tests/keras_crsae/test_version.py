"""The package has the version of its metadata, read when somebody asks for it."""

from crsae_onnx.core.version import package_version

import keras_crsae as kc


def test_the_version_is_that_of_the_metadata():
    assert kc.__version__ == package_version() and isinstance(kc.__version__, str)
