"""How many passes run at a time."""

from keras_crsae.models import workers


def test_workers_are_as_many_as_tensorflow_may_use(monkeypatch):
    monkeypatch.delenv("TF_NUM_INTEROP_THREADS", raising=False)
    assert workers.available_workers(cpus=3) == 3
    for limit, expected in (("1", 1), ("2", 2), ("8", 3), ("0", 3)):
        monkeypatch.setenv("TF_NUM_INTEROP_THREADS", limit)
        assert workers.available_workers(cpus=3) == expected
    assert workers.available_workers(cpus=64) == 4
    assert workers.available_workers(cpus=64, on_cpu=False) == 1
