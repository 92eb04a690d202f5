"""A thread that calls a function with each message of a subscription."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ._closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core import Message, TopicSubscription

_log = logging.getLogger("ringfence")


class Listener(Closing):
    """Calls ``callback(message)`` for each message of ``subscription``, on a thread of its own, until it is
    closed or the subscription ends::

        listener = rf.Listener(topic.subscribe(), lambda message: print(message.data))
        ...
        listener.close()

    A callback that raises is logged to the logger ``ringfence`` and counted (:attr:`errors`), and the next
    message is delivered all the same."""

    def __init__(
        self, subscription: TopicSubscription, callback: Callable[[Message], object]
    ) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        self._subscription = subscription
        self._callback = callback
        self.errors = 0
        """How many calls have raised."""
        name = f"ringfence-{subscription.topic}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._subscription.closed:
            try:
                for message in self._subscription:
                    self._deliver(message)
            except Exception as error:
                if self._subscription.closed:
                    return
                # The daemon was restarted, say: the next receive goes on with its new one.
                _log.warning("%r: %s", self._subscription, error)
                if not _may_go_on(error):
                    self._subscription.close()

    def _deliver(self, message: Message) -> None:
        try:
            self._callback(message)
        except Exception:
            self.errors += 1
            _log.exception("the callback of %r raised", self._subscription)

    def close(self) -> None:
        """Ends the subscription, and waits until the callback is done (not where the callback itself
        calls this): nothing of it runs afterwards."""
        self._subscription.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __repr__(self) -> str:
        return f"<ringfence.Listener to {self._subscription.topic!r}>"


def _may_go_on(error: Exception) -> bool:
    from ._errors import DaemonRestarted, DaemonStalled, DaemonUnavailable

    return isinstance(error, (DaemonRestarted, DaemonStalled, DaemonUnavailable))
