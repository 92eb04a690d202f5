//! Whatever bytes there are: no panic, and what is read is written the same way again.

use proptest::prelude::*;

use super::*;

/// Bytes that are messages more often than chance would have it.
fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![6 => Just(0), 2 => 0_u8..4, 1 => any::<u8>()];
    proptest::collection::vec(byte, len)
}

fn same_again<C: Codec>(data: &[u8]) {
    let Ok(value) = C::get(data) else { return };
    let mut out = vec![0; C::SIZE];
    C::put(&value, &mut out).unwrap();
    assert_eq!(out, data);
}

macro_rules! for_codecs {
    ($($name:ident: $codec:ty;)*) => {$(
        proptest! {
            #[test]
            fn $name(data in bytes(<$codec as Codec>::SIZE)) {
                same_again::<$codec>(&data);
            }
        }
    )*};
}

for_codecs! {
    booleans: Plain<bool>;
    decimals: Plain<Decimal>;
    strings: Str<5>;
    lists_of_strings: List<Str<3>, 2>;
    lists_of_options: List<Opt<Plain<u16>>, 3>;
    options_of_lists: Opt<List<ByteArray<3>, 2>>;
    arrays_of_arrays: Array<Array<Opt<Plain<bool>>, 2>, 2>;
    json: Opt<JsonText<4>>;
}

#[test]
fn sizes_are_those_of_the_types() {
    fn check<C: Codec>(text: &str) {
        let ty = crate::contract::FieldType::parse(text, None).unwrap();
        assert_eq!((C::SIZE, C::ALIGN, C::STRIDE), (ty.size(), ty.align(), ty.stride()), "{text}");
    }
    check::<Plain<bool>>("bool");
    check::<Plain<f32>>("f32");
    check::<Plain<U256>>("U256");
    check::<Plain<Uuid>>("UUID");
    check::<Plain<Datetime>>("datetime");
    check::<Plain<Decimal>>("Decimal");
    check::<Str<5>>("String(5)");
    check::<Bytes<7>>("Vec<u8>(7)");
    check::<JsonText<9>>("JSON(9)");
    check::<ByteArray<20>>("[u8; 20]");
    check::<List<ByteArray<20>, 10>>("Vec<[u8; 20]>(10)");
    check::<Opt<Plain<u64>>>("Option<u64>");
    check::<List<Opt<Str<3>>, 2>>("Vec<Option<String(3)>>(2)");
    check::<Array<Array<Plain<i16>, 2>, 3>>("[[i16; 2]; 3]");
}
