"""Studies: grids of training runs (data set x model x setting x seed) and the page that compares their models."""

from polymodal.studies.grid import Cell, Study, plan
from polymodal.studies.presets import PRESETS
from polymodal.studies.study_comparison import Comparison, compare

__all__ = ["PRESETS", "Cell", "Comparison", "Study", "compare", "plan"]
