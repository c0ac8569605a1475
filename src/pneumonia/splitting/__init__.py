"""Who is in training, validation and test; mean and standard deviation of the training split."""
