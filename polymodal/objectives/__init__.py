"""The mathematics of the objectives. It knows no modality."""
