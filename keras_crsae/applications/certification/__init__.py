"""Certificates of classifiers on sparse codes: radii within which no change of a signal changes its class."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.applications.certification.attack_search import AttackResult, attack
    from keras_crsae.applications.certification.pipeline import certify
    from keras_crsae.applications.certification.report import CertificationReport
    from keras_crsae.applications.certification.report_page import write_report

__all__ = ["AttackResult", "CertificationReport", "attack", "certify", "write_report"]
_FROM = "keras_crsae.applications.certification"
__getattr__, __dir__ = lazy_names(__name__, {
    "certify": f"{_FROM}.pipeline", "CertificationReport": f"{_FROM}.report", "write_report": f"{_FROM}.report_page",
    **{name: f"{_FROM}.attack_search" for name in ("AttackResult", "attack")},
})
