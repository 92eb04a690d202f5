// Messages of the contract 0x4d594345, version 3.
//
// Made by `ringfence codegen contracts.yaml --lang rust`. Change the contract and make it anew.

/// Which family of messages this is.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_ID: u32 = 0x4d594345;
/// The version of the contract.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_VERSION: u16 = 3;
/// The oldest version whose programs may take part.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_MIN_COMPATIBLE: u16 = 2;
/// SHA-256 of the contract's canonical text, as text.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_DIGEST_HEX: &str =
    "dc8ad6877f610c32785b0e7c91a0af361538081c72ad5574336abcfff19bc62d";
/// SHA-256 of the contract's canonical text.
#[allow(dead_code, unreachable_pub)]
#[rustfmt::skip]
pub const SCHEMA_DIGEST: [u8; 32] = [
    0xdc, 0x8a, 0xd6, 0x87, 0x7f, 0x61, 0x0c, 0x32,
    0x78, 0x5b, 0x0e, 0x7c, 0x91, 0xa0, 0xaf, 0x36,
    0x15, 0x38, 0x08, 0x1c, 0x72, 0xad, 0x55, 0x74,
    0x33, 0x6a, 0xbc, 0xff, 0xf1, 0x9b, 0xc6, 0x2d,
];
/// The contract's canonical text.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA: &str = "\
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
";

/// What somebody says.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct TextMessage {
    /// `String(32)`
    pub sender: String,
    /// What is said.
    pub content: String,
    /// Nanoseconds since 1970.
    pub timestamp: u64,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Str<32>>(0, 0, 40);
    record::stands::<codec::Str<256>>(40, 40, 264);
    record::stands::<codec::Plain<u64>>(304, 304, 8);
    record::ends(312, 8, 312);

    impl contract::TypedMessage for TextMessage {
        const NAME: &'static str = "TextMessage";
        const TYPE_ID: u16 = 1001;
        const SIZE: usize = 312;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Str<32>>("sender", 0, &self.sender, &[])?;
            writer.put::<codec::Str<256>>("content", 40, &self.content, &[contract::Rule::NotEmpty])?;
            writer.put::<codec::Plain<u64>>("timestamp", 304, &self.timestamp, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_sender = reader.get::<codec::Str<32>>("sender", 0, &[])?;
            let field_content = reader.get::<codec::Str<256>>("content", 40, &[contract::Rule::NotEmpty])?;
            let field_timestamp = reader.get::<codec::Plain<u64>>("timestamp", 304, &[])?;
            reader.end()?;
            Ok(Self {
                sender: field_sender,
                content: field_content,
                timestamp: field_timestamp,
            })
        }
    }
};

/// The message `CounterUpdate`.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct CounterUpdate {
    /// `u64`
    pub counter_id: u64,
    /// `i32`
    pub value: i32,
    /// `i32`
    pub delta: i32,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Plain<u64>>(0, 0, 8);
    record::stands::<codec::Plain<i32>>(8, 8, 4);
    record::stands::<codec::Plain<i32>>(12, 12, 4);
    record::ends(16, 8, 16);

    impl contract::TypedMessage for CounterUpdate {
        const NAME: &'static str = "CounterUpdate";
        const TYPE_ID: u16 = 1002;
        const SIZE: usize = 16;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Plain<u64>>("counter_id", 0, &self.counter_id, &[])?;
            writer.put::<codec::Plain<i32>>("value", 8, &self.value, &[])?;
            writer.put::<codec::Plain<i32>>("delta", 12, &self.delta, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_counter_id = reader.get::<codec::Plain<u64>>("counter_id", 0, &[])?;
            let field_value = reader.get::<codec::Plain<i32>>("value", 8, &[])?;
            let field_delta = reader.get::<codec::Plain<i32>>("delta", 12, &[])?;
            reader.end()?;
            Ok(Self {
                counter_id: field_counter_id,
                value: field_value,
                delta: field_delta,
            })
        }
    }
};

/// Up to ten things by their addresses.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct BatchOperation {
    /// `u8`
    pub operation: u8,
    /// `Vec<[u8; 20]>(10)`
    pub items: Vec<[u8; 20]>,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Plain<u8>>(0, 0, 1);
    record::stands::<codec::List<codec::ByteArray<20>, 10>>(1, 8, 208);
    record::ends(216, 8, 216);

    impl contract::TypedMessage for BatchOperation {
        const NAME: &'static str = "BatchOperation";
        const TYPE_ID: u16 = 1003;
        const SIZE: usize = 216;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Plain<u8>>("operation", 0, &self.operation, &[])?;
            writer.put::<codec::List<codec::ByteArray<20>, 10>>("items", 8, &self.items, &[contract::Rule::MinLength(1)])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_operation = reader.get::<codec::Plain<u8>>("operation", 0, &[])?;
            let field_items = reader.get::<codec::List<codec::ByteArray<20>, 10>>("items", 8, &[contract::Rule::MinLength(1)])?;
            reader.end()?;
            Ok(Self {
                operation: field_operation,
                items: field_items,
            })
        }
    }
};

/// The message `PlayerLogin`.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct PlayerLogin {
    /// `u64`
    pub player_id: u64,
    /// `String(24)`
    pub username: String,
    /// `UUID`
    pub session: ::ringfence::contract::Uuid,
    /// `Vec<u64>(8)`
    pub friends: Vec<u64>,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Plain<u64>>(0, 0, 8);
    record::stands::<codec::Str<24>>(8, 8, 32);
    record::stands::<codec::Plain<contract::Uuid>>(40, 40, 16);
    record::stands::<codec::List<codec::Plain<u64>, 8>>(56, 56, 72);
    record::ends(128, 8, 128);

    impl contract::TypedMessage for PlayerLogin {
        const NAME: &'static str = "PlayerLogin";
        const TYPE_ID: u16 = 1100;
        const SIZE: usize = 128;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Plain<u64>>("player_id", 0, &self.player_id, &[])?;
            writer.put::<codec::Str<24>>("username", 8, &self.username, &[contract::Rule::MinLength(3)])?;
            writer.put::<codec::Plain<contract::Uuid>>("session", 40, &self.session, &[])?;
            writer.put::<codec::List<codec::Plain<u64>, 8>>("friends", 56, &self.friends, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_player_id = reader.get::<codec::Plain<u64>>("player_id", 0, &[])?;
            let field_username = reader.get::<codec::Str<24>>("username", 8, &[contract::Rule::MinLength(3)])?;
            let field_session = reader.get::<codec::Plain<contract::Uuid>>("session", 40, &[])?;
            let field_friends = reader.get::<codec::List<codec::Plain<u64>, 8>>("friends", 56, &[])?;
            reader.end()?;
            Ok(Self {
                player_id: field_player_id,
                username: field_username,
                session: field_session,
                friends: field_friends,
            })
        }
    }
};

/// The message `PlayerPosition`.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct PlayerPosition {
    /// `u64`
    pub player_id: u64,
    /// `[f32; 3]`
    pub place: [f32; 3],
    /// `f64`
    pub facing: f64,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Plain<u64>>(0, 0, 8);
    record::stands::<codec::Array<codec::Plain<f32>, 3>>(8, 8, 12);
    record::stands::<codec::Plain<f64>>(20, 24, 8);
    record::ends(32, 8, 32);

    impl contract::TypedMessage for PlayerPosition {
        const NAME: &'static str = "PlayerPosition";
        const TYPE_ID: u16 = 1101;
        const SIZE: usize = 32;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Plain<u64>>("player_id", 0, &self.player_id, &[])?;
            writer.put::<codec::Array<codec::Plain<f32>, 3>>("place", 8, &self.place, &[])?;
            writer.put::<codec::Plain<f64>>("facing", 24, &self.facing, &[contract::Rule::Min(contract::Number::Float(-180.0)), contract::Rule::Max(contract::Number::Float(180.0))])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_player_id = reader.get::<codec::Plain<u64>>("player_id", 0, &[])?;
            let field_place = reader.get::<codec::Array<codec::Plain<f32>, 3>>("place", 8, &[])?;
            let field_facing = reader.get::<codec::Plain<f64>>("facing", 24, &[contract::Rule::Min(contract::Number::Float(-180.0)), contract::Rule::Max(contract::Number::Float(180.0))])?;
            reader.end()?;
            Ok(Self {
                player_id: field_player_id,
                place: field_place,
                facing: field_facing,
            })
        }
    }
};

/// The message `GameState`.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct GameState {
    /// `u32`
    pub tick: u32,
    /// `bool`
    pub running: bool,
    /// `[[i16; 2]; 3]`
    pub teams: [[i16; 2]; 3],
    /// `Vec<String(7)>(3)`
    pub names: Vec<String>,
    /// `Option<String(16)>`
    pub winner: Option<String>,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Plain<u32>>(0, 0, 4);
    record::stands::<codec::Plain<bool>>(4, 4, 1);
    record::stands::<codec::Array<codec::Array<codec::Plain<i16>, 2>, 3>>(5, 6, 12);
    record::stands::<codec::List<codec::Str<7>, 3>>(18, 24, 56);
    record::stands::<codec::Opt<codec::Str<16>>>(80, 80, 32);
    record::ends(112, 8, 112);

    impl contract::TypedMessage for GameState {
        const NAME: &'static str = "GameState";
        const TYPE_ID: u16 = 1102;
        const SIZE: usize = 112;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Plain<u32>>("tick", 0, &self.tick, &[])?;
            writer.put::<codec::Plain<bool>>("running", 4, &self.running, &[])?;
            writer.put::<codec::Array<codec::Array<codec::Plain<i16>, 2>, 3>>("teams", 6, &self.teams, &[])?;
            writer.put::<codec::List<codec::Str<7>, 3>>("names", 24, &self.names, &[])?;
            writer.put::<codec::Opt<codec::Str<16>>>("winner", 80, &self.winner, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_tick = reader.get::<codec::Plain<u32>>("tick", 0, &[])?;
            let field_running = reader.get::<codec::Plain<bool>>("running", 4, &[])?;
            let field_teams = reader.get::<codec::Array<codec::Array<codec::Plain<i16>, 2>, 3>>("teams", 6, &[])?;
            let field_names = reader.get::<codec::List<codec::Str<7>, 3>>("names", 24, &[])?;
            let field_winner = reader.get::<codec::Opt<codec::Str<16>>>("winner", 80, &[])?;
            reader.end()?;
            Ok(Self {
                tick: field_tick,
                running: field_running,
                teams: field_teams,
                names: field_names,
                winner: field_winner,
            })
        }
    }
};

/// The message `PoolStateUpdate`.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct PoolStateUpdate {
    /// `[u8; 20]`
    pub pool: [u8; 20],
    /// `U256`
    pub reserve0: ::ringfence::contract::U256,
    /// `U256`
    pub reserve1: ::ringfence::contract::U256,
    /// `u32`
    pub fee: u32,
    /// `Option<u64>`
    pub block: Option<u64>,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::ByteArray<20>>(0, 0, 20);
    record::stands::<codec::Plain<contract::U256>>(20, 24, 32);
    record::stands::<codec::Plain<contract::U256>>(56, 56, 32);
    record::stands::<codec::Plain<u32>>(88, 88, 4);
    record::stands::<codec::Opt<codec::Plain<u64>>>(92, 96, 16);
    record::ends(112, 8, 112);

    impl contract::TypedMessage for PoolStateUpdate {
        const NAME: &'static str = "PoolStateUpdate";
        const TYPE_ID: u16 = 1111;
        const SIZE: usize = 112;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::ByteArray<20>>("pool", 0, &self.pool, &[])?;
            writer.put::<codec::Plain<contract::U256>>("reserve0", 24, &self.reserve0, &[])?;
            writer.put::<codec::Plain<contract::U256>>("reserve1", 56, &self.reserve1, &[])?;
            writer.put::<codec::Plain<u32>>("fee", 88, &self.fee, &[contract::Rule::Max(contract::Number::Int(1000000))])?;
            writer.put::<codec::Opt<codec::Plain<u64>>>("block", 96, &self.block, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_pool = reader.get::<codec::ByteArray<20>>("pool", 0, &[])?;
            let field_reserve0 = reader.get::<codec::Plain<contract::U256>>("reserve0", 24, &[])?;
            let field_reserve1 = reader.get::<codec::Plain<contract::U256>>("reserve1", 56, &[])?;
            let field_fee = reader.get::<codec::Plain<u32>>("fee", 88, &[contract::Rule::Max(contract::Number::Int(1000000))])?;
            let field_block = reader.get::<codec::Opt<codec::Plain<u64>>>("block", 96, &[])?;
            reader.end()?;
            Ok(Self {
                pool: field_pool,
                reserve0: field_reserve0,
                reserve1: field_reserve1,
                fee: field_fee,
                block: field_block,
            })
        }
    }
};

/// The message `InstrumentMeta`.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct InstrumentMeta {
    /// `String(16)`
    pub symbol: String,
    /// `Decimal`
    pub tick_size: ::ringfence::contract::Decimal,
    /// `[u8; 20]`
    pub address: [u8; 20],
    /// `datetime`
    pub listed: ::ringfence::contract::Datetime,
    /// `JSON(64)`
    pub extra: ::ringfence::contract::Json,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Str<16>>(0, 0, 24);
    record::stands::<codec::Plain<contract::Decimal>>(24, 24, 24);
    record::stands::<codec::ByteArray<20>>(48, 48, 20);
    record::stands::<codec::Plain<contract::Datetime>>(68, 72, 8);
    record::stands::<codec::JsonText<64>>(80, 80, 72);
    record::ends(152, 8, 152);

    impl contract::TypedMessage for InstrumentMeta {
        const NAME: &'static str = "InstrumentMeta";
        const TYPE_ID: u16 = 1118;
        const SIZE: usize = 152;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Str<16>>("symbol", 0, &self.symbol, &[])?;
            writer.put::<codec::Plain<contract::Decimal>>("tick_size", 24, &self.tick_size, &[])?;
            writer.put::<codec::ByteArray<20>>("address", 48, &self.address, &[])?;
            writer.put::<codec::Plain<contract::Datetime>>("listed", 72, &self.listed, &[])?;
            writer.put::<codec::JsonText<64>>("extra", 80, &self.extra, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_symbol = reader.get::<codec::Str<16>>("symbol", 0, &[])?;
            let field_tick_size = reader.get::<codec::Plain<contract::Decimal>>("tick_size", 24, &[])?;
            let field_address = reader.get::<codec::ByteArray<20>>("address", 48, &[])?;
            let field_listed = reader.get::<codec::Plain<contract::Datetime>>("listed", 72, &[])?;
            let field_extra = reader.get::<codec::JsonText<64>>("extra", 80, &[])?;
            reader.end()?;
            Ok(Self {
                symbol: field_symbol,
                tick_size: field_tick_size,
                address: field_address,
                listed: field_listed,
                extra: field_extra,
            })
        }
    }
};

/// The message `ArbitrageSignal`.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct ArbitrageSignal {
    /// `UUID`
    pub id: ::ringfence::contract::Uuid,
    /// `f64`
    pub profit: f64,
    /// `Vec<Option<u16>>(4)`
    pub route: Vec<Option<u16>>,
    /// `Option<datetime>`
    pub deadline: Option<::ringfence::contract::Datetime>,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Plain<contract::Uuid>>(0, 0, 16);
    record::stands::<codec::Plain<f64>>(16, 16, 8);
    record::stands::<codec::List<codec::Opt<codec::Plain<u16>>, 4>>(24, 24, 24);
    record::stands::<codec::Opt<codec::Plain<contract::Datetime>>>(48, 48, 16);
    record::ends(64, 8, 64);

    impl contract::TypedMessage for ArbitrageSignal {
        const NAME: &'static str = "ArbitrageSignal";
        const TYPE_ID: u16 = 1120;
        const SIZE: usize = 64;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Plain<contract::Uuid>>("id", 0, &self.id, &[])?;
            writer.put::<codec::Plain<f64>>("profit", 16, &self.profit, &[contract::Rule::Min(contract::Number::Float(0.5))])?;
            writer.put::<codec::List<codec::Opt<codec::Plain<u16>>, 4>>("route", 24, &self.route, &[])?;
            writer.put::<codec::Opt<codec::Plain<contract::Datetime>>>("deadline", 48, &self.deadline, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_id = reader.get::<codec::Plain<contract::Uuid>>("id", 0, &[])?;
            let field_profit = reader.get::<codec::Plain<f64>>("profit", 16, &[contract::Rule::Min(contract::Number::Float(0.5))])?;
            let field_route = reader.get::<codec::List<codec::Opt<codec::Plain<u16>>, 4>>("route", 24, &[])?;
            let field_deadline = reader.get::<codec::Opt<codec::Plain<contract::Datetime>>>("deadline", 48, &[])?;
            reader.end()?;
            Ok(Self {
                id: field_id,
                profit: field_profit,
                route: field_route,
                deadline: field_deadline,
            })
        }
    }
};

/// A field of every type.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct Everything {
    /// `bool`
    pub flag: bool,
    /// `u8`
    pub a: u8,
    /// `u16`
    pub b: u16,
    /// `u32`
    pub c: u32,
    /// `u64`
    pub d: u64,
    /// `i8`
    pub e: i8,
    /// `i16`
    pub f: i16,
    /// `i32`
    pub g: i32,
    /// `i64`
    pub h: i64,
    /// `f32`
    pub i: f32,
    /// `f64`
    pub j: f64,
    /// `U256`
    pub k: ::ringfence::contract::U256,
    /// `UUID`
    pub l: ::ringfence::contract::Uuid,
    /// `datetime`
    pub m: ::ringfence::contract::Datetime,
    /// `Decimal`
    pub n: ::ringfence::contract::Decimal,
    /// `String(5)`
    pub o: String,
    /// `bytes(5)`
    pub p: Vec<u8>,
    /// `JSON(9)`
    pub q: ::ringfence::contract::Json,
    /// `[u8; 3]`
    pub r: [u8; 3],
    /// `[u32; 2]`
    pub s: [u32; 2],
    /// `Vec<u8>(3)`
    pub t: Vec<u8>,
    /// `Vec<f32>(3)`
    pub u: Vec<f32>,
    /// `Vec<bool>(3)`
    pub v: Vec<bool>,
    /// `Vec<UUID>(2)`
    pub w: Vec<::ringfence::contract::Uuid>,
    /// `Vec<Decimal>(2)`
    pub x: Vec<::ringfence::contract::Decimal>,
    /// `Option<u8>`
    pub y: Option<u8>,
    /// `Option<String(3)>`
    pub z: Option<String>,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Plain<bool>>(0, 0, 1);
    record::stands::<codec::Plain<u8>>(1, 1, 1);
    record::stands::<codec::Plain<u16>>(2, 2, 2);
    record::stands::<codec::Plain<u32>>(4, 4, 4);
    record::stands::<codec::Plain<u64>>(8, 8, 8);
    record::stands::<codec::Plain<i8>>(16, 16, 1);
    record::stands::<codec::Plain<i16>>(17, 18, 2);
    record::stands::<codec::Plain<i32>>(20, 20, 4);
    record::stands::<codec::Plain<i64>>(24, 24, 8);
    record::stands::<codec::Plain<f32>>(32, 32, 4);
    record::stands::<codec::Plain<f64>>(36, 40, 8);
    record::stands::<codec::Plain<contract::U256>>(48, 48, 32);
    record::stands::<codec::Plain<contract::Uuid>>(80, 80, 16);
    record::stands::<codec::Plain<contract::Datetime>>(96, 96, 8);
    record::stands::<codec::Plain<contract::Decimal>>(104, 104, 24);
    record::stands::<codec::Str<5>>(128, 128, 13);
    record::stands::<codec::Bytes<5>>(141, 144, 13);
    record::stands::<codec::JsonText<9>>(157, 160, 17);
    record::stands::<codec::ByteArray<3>>(177, 177, 3);
    record::stands::<codec::Array<codec::Plain<u32>, 2>>(180, 180, 8);
    record::stands::<codec::Bytes<3>>(188, 192, 11);
    record::stands::<codec::List<codec::Plain<f32>, 3>>(203, 208, 20);
    record::stands::<codec::List<codec::Plain<bool>, 3>>(228, 232, 11);
    record::stands::<codec::List<codec::Plain<contract::Uuid>, 2>>(243, 248, 40);
    record::stands::<codec::List<codec::Plain<contract::Decimal>, 2>>(288, 288, 56);
    record::stands::<codec::Opt<codec::Plain<u8>>>(344, 344, 2);
    record::stands::<codec::Opt<codec::Str<3>>>(346, 352, 19);
    record::ends(371, 8, 376);

    impl contract::TypedMessage for Everything {
        const NAME: &'static str = "Everything";
        const TYPE_ID: u16 = 1200;
        const SIZE: usize = 376;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Plain<bool>>("flag", 0, &self.flag, &[])?;
            writer.put::<codec::Plain<u8>>("a", 1, &self.a, &[])?;
            writer.put::<codec::Plain<u16>>("b", 2, &self.b, &[])?;
            writer.put::<codec::Plain<u32>>("c", 4, &self.c, &[])?;
            writer.put::<codec::Plain<u64>>("d", 8, &self.d, &[])?;
            writer.put::<codec::Plain<i8>>("e", 16, &self.e, &[])?;
            writer.put::<codec::Plain<i16>>("f", 18, &self.f, &[])?;
            writer.put::<codec::Plain<i32>>("g", 20, &self.g, &[])?;
            writer.put::<codec::Plain<i64>>("h", 24, &self.h, &[])?;
            writer.put::<codec::Plain<f32>>("i", 32, &self.i, &[])?;
            writer.put::<codec::Plain<f64>>("j", 40, &self.j, &[])?;
            writer.put::<codec::Plain<contract::U256>>("k", 48, &self.k, &[])?;
            writer.put::<codec::Plain<contract::Uuid>>("l", 80, &self.l, &[])?;
            writer.put::<codec::Plain<contract::Datetime>>("m", 96, &self.m, &[])?;
            writer.put::<codec::Plain<contract::Decimal>>("n", 104, &self.n, &[])?;
            writer.put::<codec::Str<5>>("o", 128, &self.o, &[])?;
            writer.put::<codec::Bytes<5>>("p", 144, &self.p, &[])?;
            writer.put::<codec::JsonText<9>>("q", 160, &self.q, &[])?;
            writer.put::<codec::ByteArray<3>>("r", 177, &self.r, &[])?;
            writer.put::<codec::Array<codec::Plain<u32>, 2>>("s", 180, &self.s, &[])?;
            writer.put::<codec::Bytes<3>>("t", 192, &self.t, &[])?;
            writer.put::<codec::List<codec::Plain<f32>, 3>>("u", 208, &self.u, &[])?;
            writer.put::<codec::List<codec::Plain<bool>, 3>>("v", 232, &self.v, &[])?;
            writer.put::<codec::List<codec::Plain<contract::Uuid>, 2>>("w", 248, &self.w, &[])?;
            writer.put::<codec::List<codec::Plain<contract::Decimal>, 2>>("x", 288, &self.x, &[])?;
            writer.put::<codec::Opt<codec::Plain<u8>>>("y", 344, &self.y, &[])?;
            writer.put::<codec::Opt<codec::Str<3>>>("z", 352, &self.z, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_flag = reader.get::<codec::Plain<bool>>("flag", 0, &[])?;
            let field_a = reader.get::<codec::Plain<u8>>("a", 1, &[])?;
            let field_b = reader.get::<codec::Plain<u16>>("b", 2, &[])?;
            let field_c = reader.get::<codec::Plain<u32>>("c", 4, &[])?;
            let field_d = reader.get::<codec::Plain<u64>>("d", 8, &[])?;
            let field_e = reader.get::<codec::Plain<i8>>("e", 16, &[])?;
            let field_f = reader.get::<codec::Plain<i16>>("f", 18, &[])?;
            let field_g = reader.get::<codec::Plain<i32>>("g", 20, &[])?;
            let field_h = reader.get::<codec::Plain<i64>>("h", 24, &[])?;
            let field_i = reader.get::<codec::Plain<f32>>("i", 32, &[])?;
            let field_j = reader.get::<codec::Plain<f64>>("j", 40, &[])?;
            let field_k = reader.get::<codec::Plain<contract::U256>>("k", 48, &[])?;
            let field_l = reader.get::<codec::Plain<contract::Uuid>>("l", 80, &[])?;
            let field_m = reader.get::<codec::Plain<contract::Datetime>>("m", 96, &[])?;
            let field_n = reader.get::<codec::Plain<contract::Decimal>>("n", 104, &[])?;
            let field_o = reader.get::<codec::Str<5>>("o", 128, &[])?;
            let field_p = reader.get::<codec::Bytes<5>>("p", 144, &[])?;
            let field_q = reader.get::<codec::JsonText<9>>("q", 160, &[])?;
            let field_r = reader.get::<codec::ByteArray<3>>("r", 177, &[])?;
            let field_s = reader.get::<codec::Array<codec::Plain<u32>, 2>>("s", 180, &[])?;
            let field_t = reader.get::<codec::Bytes<3>>("t", 192, &[])?;
            let field_u = reader.get::<codec::List<codec::Plain<f32>, 3>>("u", 208, &[])?;
            let field_v = reader.get::<codec::List<codec::Plain<bool>, 3>>("v", 232, &[])?;
            let field_w = reader.get::<codec::List<codec::Plain<contract::Uuid>, 2>>("w", 248, &[])?;
            let field_x = reader.get::<codec::List<codec::Plain<contract::Decimal>, 2>>("x", 288, &[])?;
            let field_y = reader.get::<codec::Opt<codec::Plain<u8>>>("y", 344, &[])?;
            let field_z = reader.get::<codec::Opt<codec::Str<3>>>("z", 352, &[])?;
            reader.end()?;
            Ok(Self {
                flag: field_flag,
                a: field_a,
                b: field_b,
                c: field_c,
                d: field_d,
                e: field_e,
                f: field_f,
                g: field_g,
                h: field_h,
                i: field_i,
                j: field_j,
                k: field_k,
                l: field_l,
                m: field_m,
                n: field_n,
                o: field_o,
                p: field_p,
                q: field_q,
                r: field_r,
                s: field_s,
                t: field_t,
                u: field_u,
                v: field_v,
                w: field_w,
                x: field_x,
                y: field_y,
                z: field_z,
            })
        }
    }
};

/// Names that "languages" need themselves \ and what they hide.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct Awkward {
    /// `u8`
    pub class: u8,
    /// `u8`
    pub r#type: u8,
    /// `u8`
    pub writer: u8,
    /// `u8`
    pub out: u8,
    /// `i8`
    pub reader: i8,
    /// `Option<i8>`
    pub int: Option<i8>,
    /// `Option<String(4)>`
    pub str: Option<String>,
    /// `Option<bytes(4)>`
    pub bytes: Option<Vec<u8>>,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Plain<u8>>(0, 0, 1);
    record::stands::<codec::Plain<u8>>(1, 1, 1);
    record::stands::<codec::Plain<u8>>(2, 2, 1);
    record::stands::<codec::Plain<u8>>(3, 3, 1);
    record::stands::<codec::Plain<i8>>(4, 4, 1);
    record::stands::<codec::Opt<codec::Plain<i8>>>(5, 5, 2);
    record::stands::<codec::Opt<codec::Str<4>>>(7, 8, 20);
    record::stands::<codec::Opt<codec::Bytes<4>>>(28, 32, 20);
    record::ends(52, 8, 56);

    impl contract::TypedMessage for Awkward {
        const NAME: &'static str = "Awkward";
        const TYPE_ID: u16 = 1201;
        const SIZE: usize = 56;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Plain<u8>>("class", 0, &self.class, &[])?;
            writer.put::<codec::Plain<u8>>("type", 1, &self.r#type, &[])?;
            writer.put::<codec::Plain<u8>>("writer", 2, &self.writer, &[])?;
            writer.put::<codec::Plain<u8>>("out", 3, &self.out, &[])?;
            writer.put::<codec::Plain<i8>>("reader", 4, &self.reader, &[])?;
            writer.put::<codec::Opt<codec::Plain<i8>>>("int", 5, &self.int, &[contract::Rule::Min(contract::Number::Int(-5)), contract::Rule::Max(contract::Number::Int(5))])?;
            writer.put::<codec::Opt<codec::Str<4>>>("str", 8, &self.str, &[])?;
            writer.put::<codec::Opt<codec::Bytes<4>>>("bytes", 32, &self.bytes, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_class = reader.get::<codec::Plain<u8>>("class", 0, &[])?;
            let field_type = reader.get::<codec::Plain<u8>>("type", 1, &[])?;
            let field_writer = reader.get::<codec::Plain<u8>>("writer", 2, &[])?;
            let field_out = reader.get::<codec::Plain<u8>>("out", 3, &[])?;
            let field_reader = reader.get::<codec::Plain<i8>>("reader", 4, &[])?;
            let field_int = reader.get::<codec::Opt<codec::Plain<i8>>>("int", 5, &[contract::Rule::Min(contract::Number::Int(-5)), contract::Rule::Max(contract::Number::Int(5))])?;
            let field_str = reader.get::<codec::Opt<codec::Str<4>>>("str", 8, &[])?;
            let field_bytes = reader.get::<codec::Opt<codec::Bytes<4>>>("bytes", 32, &[])?;
            reader.end()?;
            Ok(Self {
                class: field_class,
                r#type: field_type,
                writer: field_writer,
                out: field_out,
                reader: field_reader,
                int: field_int,
                str: field_str,
                bytes: field_bytes,
            })
        }
    }
};

/// The message `Empty`.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct Empty {}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, record};

    record::ends(0, 1, 0);

    impl contract::TypedMessage for Empty {
        const NAME: &'static str = "Empty";
        const TYPE_ID: u16 = 1202;
        const SIZE: usize = 0;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let writer = record::Writer::new::<Self>(out)?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let reader = record::Reader::new::<Self>(data)?;
            reader.end()?;
            Ok(Self {})
        }
    }
};
