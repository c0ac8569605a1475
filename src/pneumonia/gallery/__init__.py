"""The failures, shown: selection, Grad-CAM, sheets and the report."""
