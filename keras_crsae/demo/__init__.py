"""The whole thread in five minutes, which ``keras-crsae demo`` runs: learn, export, run in onnxruntime, score, draw."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.demo.photograph import learn_image_filters
    from keras_crsae.demo.recording import learn_templates
    from keras_crsae.demo.run import run_demo
    from keras_crsae.demo.scoring import detect_events, match_events

__all__ = ["detect_events", "learn_image_filters", "learn_templates", "match_events", "run_demo"]
__getattr__, __dir__ = lazy_names(__name__, {
    **{name: "keras_crsae.demo.scoring" for name in ("detect_events", "match_events")},
    "learn_image_filters": "keras_crsae.demo.photograph", "learn_templates": "keras_crsae.demo.recording",
    "run_demo": "keras_crsae.demo.run",
})
