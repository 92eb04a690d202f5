"""Messages of the contract 0x4d594345, version 3.

Made by `ringfence codegen contracts.yaml --lang python`. Change the contract and make it anew.
"""

import builtins as _builtins
import decimal as _decimal
import uuid as _uuid
from typing import Annotated as _Annotated

from ringfence import messages as _messages

__all__ = [
    "SCHEMA",
    "SCHEMA_DIGEST",
    "SCHEMA_DIGEST_HEX",
    "SCHEMA_ID",
    "SCHEMA_MIN_COMPATIBLE",
    "SCHEMA_VERSION",
    "TextMessage",
    "CounterUpdate",
    "BatchOperation",
    "PlayerLogin",
    "PlayerPosition",
    "GameState",
    "PoolStateUpdate",
    "InstrumentMeta",
    "ArbitrageSignal",
    "Everything",
    "Awkward",
    "Empty",
]

SCHEMA_ID = 0x4d594345
SCHEMA_VERSION = 3
SCHEMA_MIN_COMPATIBLE = 2
SCHEMA_DIGEST_HEX = "dc8ad6877f610c32785b0e7c91a0af361538081c72ad5574336abcfff19bc62d"
SCHEMA_DIGEST = bytes.fromhex(SCHEMA_DIGEST_HEX)
SCHEMA = """\
ringfence contract 1
schema 4d594345 version 3 min_compatible 2
message 1001 TextMessage size 312
 sender String(32) at 0
 content String(256) at 40 not_empty
 timestamp u64 at 304
message 1002 CounterUpdate size 16
 counter_id u64 at 0
 value i32 at 8
 delta i32 at 12
message 1003 BatchOperation size 216
 operation u8 at 0
 items Vec<[u8; 20]>(10) at 8 min_length=1
message 1100 PlayerLogin size 128
 player_id u64 at 0
 username String(24) at 8 min_length=3
 session UUID at 40
 friends Vec<u64>(8) at 56
message 1101 PlayerPosition size 32
 player_id u64 at 0
 place [f32; 3] at 8
 facing f64 at 24 min=c066800000000000 max=4066800000000000
message 1102 GameState size 112
 tick u32 at 0
 running bool at 4
 teams [[i16; 2]; 3] at 6
 names Vec<String(7)>(3) at 24
 winner Option<String(16)> at 80
message 1111 PoolStateUpdate size 112
 pool [u8; 20] at 0
 reserve0 U256 at 24
 reserve1 U256 at 56
 fee u32 at 88 max=1000000
 block Option<u64> at 96
message 1118 InstrumentMeta size 152
 symbol String(16) at 0
 tick_size Decimal at 24
 address [u8; 20] at 48
 listed datetime at 72
 extra JSON(64) at 80
message 1120 ArbitrageSignal size 64
 id UUID at 0
 profit f64 at 16 min=3fe0000000000000
 route Vec<Option<u16>>(4) at 24
 deadline Option<datetime> at 48
message 1200 Everything size 376
 flag bool at 0
 a u8 at 1
 b u16 at 2
 c u32 at 4
 d u64 at 8
 e i8 at 16
 f i16 at 18
 g i32 at 20
 h i64 at 24
 i f32 at 32
 j f64 at 40
 k U256 at 48
 l UUID at 80
 m datetime at 96
 n Decimal at 104
 o String(5) at 128
 p bytes(5) at 144
 q JSON(9) at 160
 r [u8; 3] at 177
 s [u32; 2] at 180
 t Vec<u8>(3) at 192
 u Vec<f32>(3) at 208
 v Vec<bool>(3) at 232
 w Vec<UUID>(2) at 248
 x Vec<Decimal>(2) at 288
 y Option<u8> at 344
 z Option<String(3)> at 352
message 1201 Awkward size 56
 class u8 at 0
 type u8 at 1
 writer u8 at 2
 out u8 at 3
 reader i8 at 4
 int Option<i8> at 5 min=-5 max=5
 str Option<String(4)> at 8
 bytes Option<bytes(4)> at 32
message 1202 Empty size 0
"""


@_messages.message(type_id=1001, size=312, offsets=(0, 40, 304))
class TextMessage(_messages.Message):
    """What somebody says."""

    sender: _Annotated[str, _messages.Wire("String(32)")]
    content: _Annotated[str, _messages.Wire("String(256)", not_empty=True)]
    """What is said."""
    timestamp: _Annotated[int, _messages.Wire("u64")]
    """Nanoseconds since 1970."""


@_messages.message(type_id=1002, size=16, offsets=(0, 8, 12))
class CounterUpdate(_messages.Message):
    counter_id: _Annotated[int, _messages.Wire("u64")]
    value: _Annotated[int, _messages.Wire("i32")]
    delta: _Annotated[int, _messages.Wire("i32")]


@_messages.message(type_id=1003, size=216, offsets=(0, 8))
class BatchOperation(_messages.Message):
    """Up to ten things by their addresses."""

    operation: _Annotated[int, _messages.Wire("u8")]
    items: _Annotated[list[bytes], _messages.Wire("Vec<[u8; 20]>(10)", min_length=1)]


@_messages.message(type_id=1100, size=128, offsets=(0, 8, 40, 56))
class PlayerLogin(_messages.Message):
    player_id: _Annotated[int, _messages.Wire("u64")]
    username: _Annotated[str, _messages.Wire("String(24)", min_length=3)]
    session: _Annotated[_uuid.UUID, _messages.Wire("UUID")]
    friends: _Annotated[list[int], _messages.Wire("Vec<u64>(8)")]


@_messages.message(type_id=1101, size=32, offsets=(0, 8, 24))
class PlayerPosition(_messages.Message):
    player_id: _Annotated[int, _messages.Wire("u64")]
    place: _Annotated[list[float], _messages.Wire("[f32; 3]")]
    facing: _Annotated[float, _messages.Wire("f64", min=-180.0, max=180.0)]


@_messages.message(type_id=1102, size=112, offsets=(0, 4, 6, 24, 80))
class GameState(_messages.Message):
    tick: _Annotated[int, _messages.Wire("u32")]
    running: _Annotated[bool, _messages.Wire("bool")]
    teams: _Annotated[list[list[int]], _messages.Wire("[[i16; 2]; 3]")]
    names: _Annotated[list[str], _messages.Wire("Vec<String(7)>(3)")]
    winner: _Annotated[str | None, _messages.Wire("Option<String(16)>")] = None


@_messages.message(type_id=1111, size=112, offsets=(0, 24, 56, 88, 96))
class PoolStateUpdate(_messages.Message):
    pool: _Annotated[bytes, _messages.Wire("[u8; 20]")]
    reserve0: _Annotated[int, _messages.Wire("U256")]
    reserve1: _Annotated[int, _messages.Wire("U256")]
    fee: _Annotated[int, _messages.Wire("u32", max=1000000)]
    block: _Annotated[int | None, _messages.Wire("Option<u64>")] = None


@_messages.message(type_id=1118, size=152, offsets=(0, 24, 48, 72, 80))
class InstrumentMeta(_messages.Message):
    symbol: _Annotated[str, _messages.Wire("String(16)")]
    tick_size: _Annotated[_decimal.Decimal, _messages.Wire("Decimal")]
    address: _Annotated[bytes, _messages.Wire("[u8; 20]")]
    listed: _Annotated[_messages.Timestamp, _messages.Wire("datetime")]
    extra: _Annotated[_messages.Json, _messages.Wire("JSON(64)")]


@_messages.message(type_id=1120, size=64, offsets=(0, 16, 24, 48))
class ArbitrageSignal(_messages.Message):
    id: _Annotated[_uuid.UUID, _messages.Wire("UUID")]
    profit: _Annotated[float, _messages.Wire("f64", min=0.5)]
    route: _Annotated[list[int | None], _messages.Wire("Vec<Option<u16>>(4)")]
    deadline: _Annotated[_messages.Timestamp | None, _messages.Wire("Option<datetime>")] = None


@_messages.message(
    type_id=1200,
    size=376,
    offsets=(0, 1, 2, 4, 8, 16, 18, 20, 24, 32, 40, 48, 80, 96, 104, 128, 144, 160, 177, 180, 192, 208, 232, 248, 288, 344, 352),
)
class Everything(_messages.Message):
    """A field of every type."""

    flag: _Annotated[bool, _messages.Wire("bool")]
    a: _Annotated[int, _messages.Wire("u8")]
    b: _Annotated[int, _messages.Wire("u16")]
    c: _Annotated[int, _messages.Wire("u32")]
    d: _Annotated[int, _messages.Wire("u64")]
    e: _Annotated[int, _messages.Wire("i8")]
    f: _Annotated[int, _messages.Wire("i16")]
    g: _Annotated[int, _messages.Wire("i32")]
    h: _Annotated[int, _messages.Wire("i64")]
    i: _Annotated[float, _messages.Wire("f32")]
    j: _Annotated[float, _messages.Wire("f64")]
    k: _Annotated[int, _messages.Wire("U256")]
    l: _Annotated[_uuid.UUID, _messages.Wire("UUID")]
    m: _Annotated[_messages.Timestamp, _messages.Wire("datetime")]
    n: _Annotated[_decimal.Decimal, _messages.Wire("Decimal")]
    o: _Annotated[str, _messages.Wire("String(5)")]
    p: _Annotated[bytes, _messages.Wire("bytes(5)")]
    q: _Annotated[_messages.Json, _messages.Wire("JSON(9)")]
    r: _Annotated[bytes, _messages.Wire("[u8; 3]")]
    s: _Annotated[list[int], _messages.Wire("[u32; 2]")]
    t: _Annotated[bytes, _messages.Wire("Vec<u8>(3)")]
    u: _Annotated[list[float], _messages.Wire("Vec<f32>(3)")]
    v: _Annotated[list[bool], _messages.Wire("Vec<bool>(3)")]
    w: _Annotated[list[_uuid.UUID], _messages.Wire("Vec<UUID>(2)")]
    x: _Annotated[list[_decimal.Decimal], _messages.Wire("Vec<Decimal>(2)")]
    y: _Annotated[int | None, _messages.Wire("Option<u8>")] = None
    z: _Annotated[str | None, _messages.Wire("Option<String(3)>")] = None


@_messages.message(type_id=1201, size=56, offsets=(0, 1, 2, 3, 4, 5, 8, 32))
class Awkward(_messages.Message):
    """Names that \"languages\" need themselves \\ and what they hide."""

    class_: _Annotated[_builtins.int, _messages.Wire("u8")]
    type: _Annotated[_builtins.int, _messages.Wire("u8")]
    writer: _Annotated[_builtins.int, _messages.Wire("u8")]
    out: _Annotated[_builtins.int, _messages.Wire("u8")]
    reader: _Annotated[_builtins.int, _messages.Wire("i8")]
    int: _Annotated[_builtins.int | None, _messages.Wire("Option<i8>", min=-5, max=5)] = None
    str: _Annotated[_builtins.str | None, _messages.Wire("Option<String(4)>")] = None
    bytes: _Annotated[_builtins.bytes | None, _messages.Wire("Option<bytes(4)>")] = None


@_messages.message(type_id=1202, size=0, offsets=())
class Empty(_messages.Message):
    pass
