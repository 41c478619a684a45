"""Studies: grids of training runs (data set x model x setting x seed) and the page that compares their models."""

from polymodal.studies.compare import Comparison, compare
from polymodal.studies.grid import Cell, Study, plan
from polymodal.studies.presets import PRESETS

__all__ = ["PRESETS", "Cell", "Comparison", "Study", "compare", "plan"]
