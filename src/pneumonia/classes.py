"""The two classes and their numbers."""

from typing import Literal

Label = Literal["normal", "pneumonia"]

CLASSES: tuple[Label, Label] = ("normal", "pneumonia")
"""Index 0 is the negative class, index 1 the positive one."""
