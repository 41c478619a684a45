"""Tables of modalities as tensors, and their conversion from data frames."""
