"""Figures of runs and sweeps: pure functions from frames to matplotlib figures, drawn without pyplot's global state."""

from flowerbench.report.plots.calibration import reliability
from flowerbench.report.plots.classes import per_class
from flowerbench.report.plots.cost import accuracy_by_seconds
from flowerbench.report.plots.learning import curves
from flowerbench.report.plots.matrices import confusion_matrix, heat_map
from flowerbench.report.plots.photos import mistakes, worst_photos, wrong_photos
from flowerbench.report.plots.style import svg
from flowerbench.report.plots.sweep import settings

__all__ = [
    "accuracy_by_seconds",
    "confusion_matrix",
    "curves",
    "heat_map",
    "mistakes",
    "per_class",
    "reliability",
    "settings",
    "svg",
    "worst_photos",
    "wrong_photos",
]
