//! What holds for every frame and for every sequence of bytes.

mod support;

use bytes::Bytes;
use npufleet_wire::subject::Parts;
use npufleet_wire::{Claim, Dtype, ErrorKind, Frame, LayoutCache, Output, Timing, frame};
use proptest::prelude::*;
use serde_json::{Map, Value};

#[derive(Clone, Debug)]
struct Made {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

fn tensor() -> impl Strategy<Value = Made> {
    let dtype = prop::sample::select(Dtype::ALL.to_vec());
    let name = "\\PC{1,24}".prop_filter("reserved", |name| name != "__metadata__");
    (name, dtype, prop::collection::vec(0_usize..5, 0..=4)).prop_flat_map(|(name, dtype, shape)| {
        let bytes = shape.iter().product::<usize>() * dtype.size();
        prop::collection::vec(any::<u8>(), bytes).prop_map(move |data| Made {
            name: name.clone(),
            dtype,
            shape: shape.clone(),
            data,
        })
    })
}

fn tensors() -> impl Strategy<Value = Vec<Made>> {
    prop::collection::vec(tensor(), 0..6).prop_map(|mut tensors| {
        let mut seen = std::collections::HashSet::new();
        tensors.retain(|tensor| seen.insert(tensor.name.clone()));
        tensors
    })
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("not JSON", |number| number.is_finite())
            .prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn params() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("[a-z_]{1,12}", json(), 0..4).prop_map(|map| map.into_iter().collect())
}

fn encode(tensors: &[Made], params: &Map<String, Value>) -> Bytes {
    let outputs: Vec<_> = tensors
        .iter()
        .map(|made| Output {
            name: &made.name,
            dtype: made.dtype,
            shape: &made.shape,
            data: &made.data,
        })
        .collect();
    frame::encode(&outputs, params).unwrap()
}

/// Decodes, and looks at everything that decoding promises.
fn inspect(bytes: Vec<u8>) {
    let length = bytes.len();
    match Frame::decode(bytes.into()) {
        Ok(frame) => {
            let covered: usize = frame.tensors().map(|tensor| tensor.data.len()).sum();
            assert_eq!(frame.layout.data_start + covered, length);
            assert!(frame.layout.tensors.len() <= frame::MAX_TENSORS);
        }
        Err(error) => {
            assert!(matches!(
                error.kind,
                ErrorKind::InvalidFrame | ErrorKind::InvalidParameter
            ));
            assert!(error.message.len() < 1000);
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(tensors in tensors(), params in params()) {
        let bytes = encode(&tensors, &params);
        let frame = Frame::decode(bytes.clone()).unwrap();
        prop_assert_eq!(&frame.layout.params, &params);
        prop_assert_eq!(frame.layout.tensors.len(), tensors.len());
        for made in &tensors {
            let tensor = frame.tensor(&made.name).unwrap();
            prop_assert_eq!(tensor.info.dtype, made.dtype);
            prop_assert_eq!(&tensor.info.shape, &made.shape);
            prop_assert_eq!(tensor.data, made.data.as_slice());
        }
        let cached = LayoutCache::default().decode(bytes.clone()).unwrap();
        prop_assert_eq!(&cached.layout, &frame.layout);

        let oracle = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        prop_assert_eq!(oracle.len(), tensors.len());
        for made in &tensors {
            prop_assert_eq!(oracle.tensor(&made.name).unwrap().data(), made.data.as_slice());
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_make_sense(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        inspect(bytes);
    }

    #[test]
    fn arbitrary_headers_are_refused_or_make_sense(header in "\\{[ -~]{0,200}", data in prop::collection::vec(any::<u8>(), 0..32)) {
        inspect(support::raw(&header, &data));
    }

    #[test]
    fn mutated_frames_are_refused_or_make_sense(
        tensors in tensors(),
        params in params(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = encode(&tensors, &params).to_vec();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        inspect(bytes);
    }

    #[test]
    fn what_we_accept_the_oracle_accepts(
        tensors in tensors(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[0-9\\[\\]{}\",: ]"), 1..3),
    ) {
        let mut bytes = encode(&tensors, &Map::new()).to_vec();
        for (index, value) in changes {
            let at = 8 + index.index(bytes.len() - 8);
            bytes[at] = value.as_bytes()[0];
        }
        if Frame::decode(bytes.clone().into()).is_ok() {
            prop_assert!(safetensors::SafeTensors::deserialize(&bytes).is_ok());
        }
    }

    #[test]
    fn claims_read_back(arena: [u8; 16], slot: u32, generation: u64, length in 0..=npufleet_wire::claim::MAX_LENGTH) {
        let claim = Claim { arena, slot, generation, length };
        prop_assert_eq!(claim.to_string().parse(), Ok(claim));
    }

    #[test]
    fn texts_never_panic(text in "\\PC{0,100}") {
        let _ = (text.parse::<Claim>(), text.parse::<Timing>(), Parts::parse("npu", &text));
        let _ = (Parts::parse("npu", &format!("npu.v1.{text}")), npufleet_wire::subject::call_id(&text));
        let _ = format!("npu1:{text}").parse::<Claim>();
    }
}
