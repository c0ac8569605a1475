"""Whether a checkout is what its own records say: one module a subject, none of them imported by a stage."""
