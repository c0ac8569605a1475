"""Metrics, intervals, thresholds and curves: numpy and scikit-learn only."""
