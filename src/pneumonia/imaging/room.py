"""How far workers may run ahead of whoever takes their results in order."""

import threading


class Room:
    """Holds back each task until the one `ahead` places before it has been taken.

    Counted by a task's number, not by how many are under way: the task whose result is wanted next is never
    held back, however late its thread comes.
    """

    def __init__(self, ahead: int) -> None:
        self._limit = ahead
        self._open = False
        self._changed = threading.Condition()

    def enter(self, number: int) -> None:
        """Wait for the place of a task, counted from 0."""
        with self._changed:
            self._changed.wait_for(lambda: self.has_place(number))

    def has_place(self, number: int) -> bool:
        """Whether the task need not wait."""
        return self._open or number < self._limit

    def take(self) -> None:
        """Say that one more result has been taken."""
        with self._changed:
            self._limit += 1
            self._changed.notify_all()

    def open(self) -> None:
        """Let everybody in: no more results will be taken."""
        with self._changed:
            self._open = True
            self._changed.notify_all()
