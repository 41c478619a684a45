"""Terms of the training objectives, independent of the types of the modalities."""
