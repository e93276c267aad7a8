"""Registration with SpikeInterface."""

import json

import pytest

pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")

from keras_crsae.applications.spikeinterface import register  # noqa: E402


def test_registering_twice_is_registering_once(run_sorter):
    from spikeinterface.sorters import sorterlist

    assert register() is register()
    assert sorterlist.sorter_full_list.count(register()) == 1 and "crsae" in sorterlist.installed_sorters()
    defaults = sorterlist.get_default_sorter_params("crsae")
    assert json.loads(json.dumps(defaults)) == defaults
    assert set(sorterlist.get_sorter_params_description("crsae")) == set(defaults)
