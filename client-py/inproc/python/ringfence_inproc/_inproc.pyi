"""Native half of the package; not an API. What both extensions have is described in `ringfence._core`."""

from typing import final

from ringfence._core import Client as Client
from ringfence._core import Layout as Layout
from ringfence._core import Loan as Loan
from ringfence._core import Method as Method
from ringfence._core import Pending as Pending
from ringfence._core import View as View
from ringfence._core import error_table as error_table
from typing_extensions import Buffer

__version__: str

@final
class Topic:
    """A topic of this process's bus."""

    def __new__(cls, name: str, slots: int, payload_bytes: int) -> Topic:
        """The topic of this name, made if there is none: so many messages of up to so many bytes."""

    def publish(self, type_id: int, payload: Buffer) -> tuple[int, int]:
        """Writes a message: epoch and sequence of its place."""

    def subscribe(self) -> Subscription:
        """A subscription from the next message on."""

@final
class Subscription:
    """A subscription."""

    def recv(self) -> tuple[list[bytes], int, bool]:
        """Waits for a message, until `close`; then takes what else is there."""

    def close(self) -> None:
        """Ends it. Whoever receives from it is woken, and nobody receives from it afterwards."""
