"""A limit on the time that a store may cost, whatever it is waiting for."""

from collections.abc import Callable
from threading import Thread


def bounded(call: Callable[[], None], seconds: float) -> None:
    """Run `call`, but wait for it no longer than `seconds`.

    MLflow's own limits are a request's, or a byte's, not a run's; other stores and their libraries have none.
    What is not done in time is left alone and ends with the process.

    Raises:
        TimeoutError: it is not done.
        Exception: what the call raised.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  raised again below
            raised.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if thread.is_alive():
        raise TimeoutError(f"no answer in {max(0, round(seconds))} seconds")
    if raised:
        raise raised[0]
