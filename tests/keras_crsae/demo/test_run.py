"""The whole demo."""

import pytest

from keras_crsae.demo import run_demo


@pytest.mark.slow
def test_the_demo_denoises_sorts_and_draws(tmp_path, capsys):
    rows = run_demo(tmp_path / "out", seed=0)
    values = {name.strip(): (before, after) for _, name, before, after in rows}
    before, after = values["PSNR (dB), noise of 25 gray levels"]
    assert after > before + 7 and after > values["for comparison: total variation"][1]
    assert after > values["the same, filters before learning"][1] + 0.5
    assert values["template error, mean of three"][1] < 0.1
    assert values["spike precision at 0.5 ms"][1] > 0.95 and values["spike recall at 0.5 ms"][1] > 0.95
    for name in ("image_filters", "image_filters_before", "denoised", "spike_templates", "spike_code"):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 10_000
    assert capsys.readouterr().out.count("measure") == 1
