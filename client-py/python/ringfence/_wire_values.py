"""The values of messages that Python has no type for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Self

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Timestamp(int):
    """Nanoseconds since 1970 in UTC, the value of a ``datetime`` field."""

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """Of a datetime, which must know its time zone."""
        if moment.tzinfo is None:
            raise ValueError("a datetime without a time zone is no point in time: give it tzinfo")
        return cls((moment - _EPOCH) // timedelta(microseconds=1) * 1000)

    @property
    def datetime(self) -> datetime:
        """As a datetime in UTC; what is less than a microsecond is cut off."""
        return _EPOCH + timedelta(microseconds=self // 1000)

    def __repr__(self) -> str:
        return f"Timestamp({int(self)})"


class Json(str):
    """JSON text, the value of a ``JSON`` field, byte for byte as it was written."""

    @classmethod
    def of(cls, value: object) -> Self:
        """The text of a value; NaN and infinities are a ValueError."""
        import json

        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return cls(text)

    @property
    def value(self) -> Any:
        """What the text says; ValueError if it is no JSON."""
        import json

        return json.loads(self)
