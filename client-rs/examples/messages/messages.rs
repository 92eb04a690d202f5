// Messages of the contract 0x53484f50, version 1.
//
// Made by `ringfence codegen contracts.yaml --lang rust`. Change the contract and make it anew.

/// Which family of messages this is.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_ID: u32 = 0x53484f50;
/// The version of the contract.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_VERSION: u16 = 1;
/// The oldest version whose programs may take part.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_MIN_COMPATIBLE: u16 = 1;
/// SHA-256 of the contract's canonical text, as text.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_DIGEST_HEX: &str =
    "cf03f35359ed7c926e50d452ef570b9629926e50a45d399a1f22ae7f11a14100";
/// SHA-256 of the contract's canonical text.
#[allow(dead_code, unreachable_pub)]
#[rustfmt::skip]
pub const SCHEMA_DIGEST: [u8; 32] = [
    0xcf, 0x03, 0xf3, 0x53, 0x59, 0xed, 0x7c, 0x92,
    0x6e, 0x50, 0xd4, 0x52, 0xef, 0x57, 0x0b, 0x96,
    0x29, 0x92, 0x6e, 0x50, 0xa4, 0x5d, 0x39, 0x9a,
    0x1f, 0x22, 0xae, 0x7f, 0x11, 0xa1, 0x41, 0x00,
];
/// The contract's canonical text.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA: &str = "\
ringfence contract 1
schema 53484f50 version 1 min_compatible 1
message 1001 Order size 200
 id UUID at 0
 customer String(32) at 16 not_empty
 price Decimal at 56
 items Vec<u32>(8) at 80 min_length=1
 note Option<String(64)> at 120
message 1002 Shipped size 24
 id UUID at 0
 at datetime at 16
";

/// Somebody wants something.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// `UUID`
    pub id: ::ringfence::contract::Uuid,
    /// `String(32)`
    pub customer: String,
    /// `Decimal`
    pub price: ::ringfence::contract::Decimal,
    /// Numbers of articles.
    pub items: Vec<u32>,
    /// `Option<String(64)>`
    pub note: Option<String>,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Plain<contract::Uuid>>(0, 0, 16);
    record::stands::<codec::Str<32>>(16, 16, 40);
    record::stands::<codec::Plain<contract::Decimal>>(56, 56, 24);
    record::stands::<codec::List<codec::Plain<u32>, 8>>(80, 80, 40);
    record::stands::<codec::Opt<codec::Str<64>>>(120, 120, 80);
    record::ends(200, 8, 200);

    impl contract::TypedMessage for Order {
        const NAME: &'static str = "Order";
        const TYPE_ID: u16 = 1001;
        const SIZE: usize = 200;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Plain<contract::Uuid>>("id", 0, &self.id, &[])?;
            writer.put::<codec::Str<32>>("customer", 16, &self.customer, &[contract::Rule::NotEmpty])?;
            writer.put::<codec::Plain<contract::Decimal>>("price", 56, &self.price, &[])?;
            writer.put::<codec::List<codec::Plain<u32>, 8>>("items", 80, &self.items, &[contract::Rule::MinLength(1)])?;
            writer.put::<codec::Opt<codec::Str<64>>>("note", 120, &self.note, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_id = reader.get::<codec::Plain<contract::Uuid>>("id", 0, &[])?;
            let field_customer = reader.get::<codec::Str<32>>("customer", 16, &[contract::Rule::NotEmpty])?;
            let field_price = reader.get::<codec::Plain<contract::Decimal>>("price", 56, &[])?;
            let field_items = reader.get::<codec::List<codec::Plain<u32>, 8>>("items", 80, &[contract::Rule::MinLength(1)])?;
            let field_note = reader.get::<codec::Opt<codec::Str<64>>>("note", 120, &[])?;
            reader.end()?;
            Ok(Self {
                id: field_id,
                customer: field_customer,
                price: field_price,
                items: field_items,
                note: field_note,
            })
        }
    }
};

/// The message `Shipped`.
#[allow(dead_code, unreachable_pub)]
#[derive(Clone, Debug, PartialEq)]
pub struct Shipped {
    /// `UUID`
    pub id: ::ringfence::contract::Uuid,
    /// `datetime`
    pub at: ::ringfence::contract::Datetime,
}
#[rustfmt::skip]
const _: () = {
    use ::ringfence::contract::{self, codec, record};

    record::stands::<codec::Plain<contract::Uuid>>(0, 0, 16);
    record::stands::<codec::Plain<contract::Datetime>>(16, 16, 8);
    record::ends(24, 8, 24);

    impl contract::TypedMessage for Shipped {
        const NAME: &'static str = "Shipped";
        const TYPE_ID: u16 = 1002;
        const SIZE: usize = 24;

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {
            let mut writer = record::Writer::new::<Self>(out)?;
            writer.put::<codec::Plain<contract::Uuid>>("id", 0, &self.id, &[])?;
            writer.put::<codec::Plain<contract::Datetime>>("at", 16, &self.at, &[])?;
            writer.end();
            Ok(())
        }

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {
            let mut reader = record::Reader::new::<Self>(data)?;
            let field_id = reader.get::<codec::Plain<contract::Uuid>>("id", 0, &[])?;
            let field_at = reader.get::<codec::Plain<contract::Datetime>>("at", 16, &[])?;
            reader.end()?;
            Ok(Self {
                id: field_id,
                at: field_at,
            })
        }
    }
};
