"""Tasks wait for their place, and the one that is wanted next never does."""

from concurrent.futures import ThreadPoolExecutor

from pneumonia.imaging.room import Room


def test_the_first_tasks_have_a_place_and_the_next_get_one_when_a_result_is_taken() -> None:
    room = Room(2)
    assert [room.has_place(number) for number in range(4)] == [True, True, False, False]
    room.take()
    assert [room.has_place(number) for number in range(4)] == [True, True, True, False]
    room.open()
    assert room.has_place(100)


def test_a_task_that_comes_late_has_its_place_whatever_the_others_did() -> None:
    room = Room(2)
    with ThreadPoolExecutor(1) as other:
        room.enter(1)
        waiting = other.submit(room.enter, 2)
        room.enter(0)
        assert not waiting.done()
        room.take()
        waiting.result(timeout=30)
