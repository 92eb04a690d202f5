"""Names that processes answer requests to: asking one, and serving one with a handler.

A server's threads *take* requests one at a time: a take carries the answer to the last one and waits
for the next, so that a request costs its server one call of the daemon. What goes over there is the
engine ``serving`` of the catalogue, like every other engine's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from ._closing import Closing
from ._codes import ErrorCode
from ._errors import DaemonRestarted, DaemonUnavailable, RingfenceError, SessionKilled

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ._core import Client as NativeClient
    from ._core import Method
    from ._types import Timeout

    Handler = Callable[["Request"], bytes | bytearray | memoryview]

log = logging.getLogger("ringfence")

FOR_EVER = 2**64 - 1
"""The time that is left to a request without a deadline, as the daemon says it."""

MOST_THREADS = 16
"""Takes of one client that wait: half of what a lane has room for."""

_PATIENCE_S = (0.05, 2.0)
"""Between two tries to serve a name again: the first time, and the longest."""

TEXT_BYTES = 200
"""What of an exception's text reaches the caller."""


def is_lost(error: RingfenceError) -> bool:
    """Is the daemon, or the session with it, gone in which a name was served? A handle of an earlier
    one is unknown to the next."""
    gone = isinstance(error, (DaemonRestarted, DaemonUnavailable, SessionKilled))
    return gone or error.code == ErrorCode.NOT_SERVED


class Answer(NamedTuple):
    """What a take says of the request before."""

    answers: int
    status: int
    payload: bytes | bytearray | memoryview


NOTHING = Answer(0, 0, b"")


def failed(request: int, error: BaseException) -> Answer:
    """The answer of a handler that raised."""
    text = f"{type(error).__name__}: {error}".encode()[:TEXT_BYTES]
    return Answer(request, ErrorCode.HANDLER_FAILED, text.decode(errors="ignore").encode())


def answered(request: int, value: object) -> Answer:
    """The answer of a handler that returned."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Answer(request, 0, value)
    kind = type(value).__name__
    return failed(request, TypeError(f"the handler returned {kind}, not bytes"))


class Request(bytes):
    """A request as its handler gets it: the bytes that the caller sent, and how long that one waits."""

    number: int
    """Its number in the daemon."""
    _until: float | None
    _wanted: Callable[[int], bool] | None

    def __new__(
        cls,
        payload: bytes,
        number: int = 0,
        time_left_us: int = FOR_EVER,
        wanted: Callable[[int], bool] | None = None,
    ) -> Self:
        request = super().__new__(cls, payload)
        request.number = number
        left = None if time_left_us == FOR_EVER else time_left_us / 1e6
        request._until = None if left is None else time.monotonic() + left
        request._wanted = wanted
        return request

    @property
    def time_left(self) -> float | None:
        """Seconds until the caller waits no longer; ``None`` is for ever."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def is_wanted(self) -> bool:
        """Does the caller still wait? Asks the daemon: for handlers that take long. Handlers that are
        coroutines cannot ask; they have :attr:`time_left`."""
        return self._wanted is None or self._wanted(self.number)


class Methods:
    """The engine's methods of one client, looked up once."""

    __slots__ = ("answer", "call", "serve", "take", "wanted", "withdraw")

    def __init__(self, client: NativeClient) -> None:
        def method(name: str) -> Method:
            return client._method("serving", name)

        self.call = method("call")
        self.serve = method("serve")
        self.take = method("take")
        self.answer = method("answer")
        self.wanted = method("wanted")
        self.withdraw = method("withdraw")

    def request(self, name: str, payload: object, wait: bool, timeout: Timeout) -> bytes:
        data: bytes = self.call.invoke((wait, name, payload), timeout=timeout)[0]
        return data

    def is_wanted(self, number: int) -> bool:
        wanted: bool = self.wanted.invoke((number,))[0]
        return wanted


class _Dispatcher(threading.Thread):
    """A thread that calls a handler."""


class Server(Closing):
    """A name that this process serves, made by :meth:`Client.serve`; also a context manager."""

    def __init__(self, client: NativeClient, name: str, handler: Handler, threads: int) -> None:
        if not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"threads is {threads}: use 1 to {MOST_THREADS}, and more processes")
        self._client = client
        # In a session of its own: answers must find room while this client's calls wait for some.
        self._methods = Methods(client._apart())
        self._handler = handler
        self._pid = os.getpid()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self.name = name
        """The name."""
        self.answered = 0
        """Requests that the handler was called with and that it answered."""
        self.errors = 0
        """Requests that the handler raised for."""
        self._handle: int | None = self._register()
        label = f"ringfence-serve-{name}"
        self._threads = [
            _Dispatcher(target=self._dispatch, name=label, daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def close(self, *, timeout: float | None = None) -> None:
        """Serves the name no longer. Requests that the handler is at are answered first; what waits
        goes to other servers. Waits for the handler, ``timeout`` seconds at most, unless the handler
        itself calls this. A second time does nothing; nor does it in a forked child."""
        if os.getpid() != self._pid:
            return
        self._closing.set()
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None and not self._client._is_closed():
            try:
                self._methods.withdraw.invoke((handle,))
            except RingfenceError:
                log.debug("%s is not served any more", self.name, exc_info=True)
        if not isinstance(threading.current_thread(), _Dispatcher):
            for thread in self._threads:
                thread.join(timeout)

    def _register(self) -> int:
        handle: int = self._methods.serve.invoke((self.name,))[0]
        return handle

    def _dispatch(self) -> None:
        answer = NOTHING
        while not self._is_over():
            handle = self._handle
            try:
                request = self._take(handle, answer)
            except RingfenceError as error:
                if self._is_over():
                    return
                # A request of a daemon that is gone cannot be answered in the next one.
                stale = answer is not NOTHING and error.code == ErrorCode.INVALID_ARGUMENT
                answer = NOTHING
                if not stale and not self._serve_again(handle, error):
                    return
            else:
                answer = self._answer(request)
        # Withdrawn while the handler ran: the answer is still owed.
        if answer is not NOTHING and not self._client._is_closed():
            self._give(answer)

    def _is_over(self) -> bool:
        return self._closing.is_set() or self._client._is_closed()

    def _take(self, handle: int | None, answer: Answer) -> Request:
        if handle is None:
            raise DaemonRestarted("the name is not served at the moment")
        taken = self._methods.take.invoke((handle, *answer), timeout=None)
        number, time_left_us, payload = taken
        return Request(payload, number, time_left_us, self._methods.is_wanted)

    def _answer(self, request: Request) -> Answer:
        try:
            value = self._handler(request)
        except Exception as error:
            self.errors += 1
            log.exception("the handler of %s goes on after this", self.name)
            return failed(request.number, error)
        self.answered += 1
        return answered(request.number, value)

    def _give(self, answer: Answer) -> None:
        try:
            self._methods.answer.invoke(tuple(answer))
        except RingfenceError:
            log.debug("an answer of %s came too late", self.name, exc_info=True)

    def _serve_again(self, lost: int | None, error: RingfenceError) -> bool:
        """Serves the name in the next daemon, as soon as there is one, if the last one is gone."""
        pause, longest = _PATIENCE_S
        while is_lost(error):
            with self._lock:
                if self._is_over() or (self._handle is not None and self._handle != lost):
                    return True
                try:
                    self._handle = self._register()
                    return True
                except RingfenceError as again:
                    self._handle = lost = None
                    error = again
            self._closing.wait(pause)
            pause = min(2 * pause, longest)
        log.error("%s is served no longer", self.name, exc_info=error)
        return False

    def __repr__(self) -> str:
        state = "closed" if self._closing.is_set() else f"{self.answered} answered"
        return f"<ringfence.Server of {self.name!r}, {state}>"
