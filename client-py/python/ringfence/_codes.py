"""The numbers of the error table. They repeat those of the protocol crate; a test holds the two
equal. Imported at the first use: `enum` would be half of what `import ringfence` takes."""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """The numbers of the error table. Thousands group them: 1 validation, 2 computation, 3 input
    and output, 4 internal, 5 boundary, 6 resources."""

    INVALID_ARGUMENT = 1001
    WRONG_DIMENSION = 1002
    NOT_FINITE = 1003
    WRONG_TYPE = 1004
    OUT_OF_RANGE = 1005
    MALFORMED = 1006
    ALREADY_EXISTS = 1007
    UNKNOWN_COLLECTION = 1011
    UNKNOWN_ID = 1014
    UNKNOWN_METHOD = 1015
    NOT_SERVED = 1016
    UNKNOWN_TOPIC = 1017
    ALGORITHM = 2001
    HANDLER_FAILED = 2002
    FILE_NOT_FOUND = 3001
    IO = 3002
    INTERNAL = 4001
    DAEMON_UNAVAILABLE = 5001
    DAEMON_RESTARTED = 5002
    DAEMON_STALLED = 5003
    SCHEMA_MISMATCH = 5004
    ENGINE_PANICKED = 5005
    SESSION_KILLED = 5006
    EXPIRED = 5008
    CANCELLED = 5009
    INTERRUPTED = 5010
    PERMISSION_DENIED = 5011
    FORKED_SESSION = 5012
    SHUTTING_DOWN = 5013
    OVERDUE = 5014
    NO_SUBSCRIBERS = 5015
    CUT_OFF = 5016
    OUT_OF_MEMORY = 6001
    TOO_LARGE = 6002
    BACKPRESSURE = 6003
    QUOTA = 6004
    REPLY_ARENA_FULL = 6005
