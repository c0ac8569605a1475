"""Synthetic chest radiographs, computed from thicknesses and stored the ways real ones are."""
