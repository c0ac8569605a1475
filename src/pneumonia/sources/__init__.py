"""Where images come from: one module a source, all yield the same record."""
