"""The page stands by itself: table and figures in one file."""

import numpy as np
import pytest

from keras_crsae.applications.certification import certify, write_report


@pytest.mark.parametrize("labelled", [True, False])
def test_the_page_holds_table_and_figures(labelled, model, signals, tmp_path):
    pytest.importorskip("matplotlib")
    labels = np.zeros(12, int) if labelled else None
    write_report(certify(model, signals, labels), tmp_path / "report.html", title="Bumps < 3")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Bumps &lt; 3" in page and page.count("data:image/png;base64") == 2 and "at 0.05" in page
