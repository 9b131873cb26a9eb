"""Ctrl-C and SIGTERM: a command ends soon and cleanly, also in the middle of a long computation."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 3.0  # seconds for a computation to end, and again for what is half-written to be removed


class Stop:
    """Turns both signals into KeyboardInterrupt, never into an OSError: those are what a damaged file raises."""

    def __init__(self) -> None:
        self.number: int = signal.SIGINT  # of the last signal
        self._heard, self._over = threading.Event(), threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While this lasts. Other threads than the main one hear no signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        handlers = {number: signal.signal(number, self._raise) for number in SIGNALS}
        wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        try:
            yield
        except Exception as error:
            if self._heard.is_set():  # an import that is interrupted raises what it likes
                raise KeyboardInterrupt from error
            raise
        finally:
            self._over.set()
            signal.set_wakeup_fd(wakeup)
            sys.unraisablehook = hook
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.close(writing)

    def _raise(self, number: int, _: object) -> None:
        self.number = number
        if not self._heard.is_set():  # a second one must not disturb the cleaning up
            self._heard.set()
            raise KeyboardInterrupt

    def _unraisable(self, lost: Any) -> None:
        """Where the interpreter drops the exception, as while it collects garbage, the signal comes again."""
        if lost.exc_type is KeyboardInterrupt:
            self._heard.clear()
            threading.Timer(0.05, os.kill, (os.getpid(), self.number)).start()
        else:
            sys.__unraisablehook__(lost)

    def _watch(self, reading: int) -> None:
        """Ends the process where a computation keeps the interpreter from hearing the signal.

        Whoever takes the signals over, as training does, ends by itself.
        """
        while read := os.read(reading, 1):
            if read[0] not in SIGNALS:
                continue
            self.number = read[0]
            if signal.getsignal(self.number) == self._raise:
                # asked twice: the main thread may have come first to hold the interpreter
                heard = self._heard.wait(GRACE) or self._heard.is_set()
                if not (heard and self._over.wait(GRACE)):
                    print("\ninr-jax: stopped", file=sys.stderr, flush=True)
                    os._exit(128 + self.number)
        os.close(reading)
