"""Augmentation, batches, objective and loop."""
