//! Reading a header. Everything here meets untrusted bytes: limits are checked while reading, duplicates refused.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{
    COMPLEX, Layout, MAX_DATA, MAX_DIMENSIONS, MAX_NAME_BYTES, MAX_TENSORS, METADATA, PARAMS, PREFIX, TensorInfo,
    byte_length, invalid, json,
};
use crate::header::shortened;
use crate::{Dtype, Result};

pub(super) fn layout(header: &[u8]) -> Result<Layout> {
    if header.first() != Some(&b'{') {
        return Err(invalid("frame header does not start with '{'"));
    }
    let Header { entries, metadata } =
        serde_json::from_slice(header).map_err(|error| invalid(format!("frame header: {error}")))?;
    let data_start = PREFIX + header.len();
    let total = data_start + tiled_length(&entries)?;
    let mut tensors = entries
        .into_iter()
        .map(|entry| entry.into_info(data_start))
        .collect::<Result<Vec<_>>>()?;
    mark_complex(&mut tensors, metadata.complex.as_deref())?;
    let params = metadata
        .params
        .map_or_else(|| Ok(serde_json::Map::new()), |text| json::object(&text))?;
    Ok(Layout {
        tensors,
        params,
        data_start,
        total,
    })
}

/// The bytes that the tensors fill, without holes and overlaps, in whatever order the header lists them.
fn tiled_length(entries: &[Entry]) -> Result<usize> {
    let mut ranges: Vec<_> = entries.iter().map(|entry| (entry.start, entry.end)).collect();
    ranges.sort_unstable();
    ranges.into_iter().try_fold(0, |filled, (start, end)| {
        if start == filled && (start..=MAX_DATA).contains(&end) {
            return Ok(end);
        }
        Err(invalid(format!(
            "tensor bytes {start}..{end} do not continue at {filled}: holes and overlaps are not allowed"
        )))
    })
}

fn mark_complex(tensors: &mut [TensorInfo], text: Option<&str>) -> Result<()> {
    let Some(text) = text else { return Ok(()) };
    let names: Vec<String> = serde_json::from_str(text).map_err(|error| {
        invalid(format!(
            "frame metadata 'complex' is not a JSON array of names: {error}"
        ))
    })?;
    for name in names {
        // A name listed twice is found as C128 the second time, and refused like any other type.
        let info = tensors
            .iter_mut()
            .find(|info| info.name == name && info.dtype == Dtype::F64 && info.shape.last() == Some(&2));
        let Some(info) = info else {
            let name = shortened(&name);
            return Err(invalid(format!(
                "complex tensor '{name}' is not stored as F64 with a last dimension of 2"
            )));
        };
        info.dtype = Dtype::C128;
        info.shape.pop();
    }
    Ok(())
}

/// A tensor as the header describes it, with offsets counted from the header's end.
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

impl Entry {
    /// `data_start` and the offsets were found to fit in memory together.
    fn into_info(self, data_start: usize) -> Result<TensorInfo> {
        let Self {
            name,
            dtype,
            shape,
            start,
            end,
        } = self;
        if byte_length(&shape, dtype.size()) != end.checked_sub(start) {
            let (name, dtype) = (shortened(&name), dtype.numpy());
            return Err(invalid(format!(
                "tensor '{name}' has bytes {start}..{end}; {dtype} {shape:?} has another size"
            )));
        }
        Ok(TensorInfo {
            name,
            dtype,
            shape,
            start: data_start + start,
            end: data_start + end,
        })
    }
}

#[derive(Default)]
struct Metadata {
    params: Option<String>,
    complex: Option<String>,
}

struct Header {
    entries: Vec<Entry>,
    metadata: Metadata,
}

/// Declares a type that reads a JSON object key by key.
macro_rules! read_object {
    ($type:ty, $expecting:literal, |$access:ident| $body:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                struct Read;
                impl<'de> Visitor<'de> for Read {
                    type Value = $type;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str($expecting)
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut $access: A) -> std::result::Result<$type, A::Error> {
                        $body
                    }
                }
                // Not `deserialize_struct`: a JSON array must not pass for an object.
                deserializer.deserialize_map(Read)
            }
        }
    };
}

read_object!(Header, "an object of tensors", |access| {
    let mut entries: Vec<Entry> = Vec::new();
    let mut metadata = None;
    while let Some(name) = access.next_key::<String>()? {
        if name == METADATA {
            if metadata.replace(access.next_value()?).is_some() {
                return Err(A::Error::custom("duplicate key '__metadata__'"));
            }
            continue;
        }
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            let length = name.len();
            return Err(A::Error::custom(format_args!(
                "a tensor name has {length} bytes; allowed: 1 to {MAX_NAME_BYTES}"
            )));
        }
        if entries.len() == MAX_TENSORS {
            return Err(A::Error::custom(format_args!(
                "more tensors than allowed: at most {MAX_TENSORS}"
            )));
        }
        if entries.iter().any(|entry| entry.name == name) {
            return Err(A::Error::custom(format_args!("duplicate tensor '{name}'")));
        }
        let Place {
            dtype,
            shape,
            start,
            end,
        } = access.next_value()?;
        entries.push(Entry {
            name,
            dtype,
            shape,
            start,
            end,
        });
    }
    Ok(Header {
        entries,
        metadata: metadata.unwrap_or_default(),
    })
});

read_object!(Metadata, "an object of strings", |access| {
    let mut keys: Vec<String> = Vec::new();
    let mut metadata = Metadata::default();
    while let Some(key) = access.next_key::<String>()? {
        let value: String = access.next_value()?;
        if keys.contains(&key) {
            return Err(A::Error::custom(format_args!(
                "duplicate metadata '{}'",
                shortened(&key)
            )));
        }
        match key.as_str() {
            PARAMS => metadata.params = Some(value),
            COMPLEX => metadata.complex = Some(value),
            _ => {}
        }
        keys.push(key);
    }
    Ok(metadata)
});

/// What the header says of one tensor.
struct Place {
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

read_object!(Place, "an object with dtype, shape and data_offsets", |access| {
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    while let Some(key) = access.next_key::<String>()? {
        let repeated = match key.as_str() {
            "dtype" => {
                let word: String = access.next_value()?;
                // C128 is ours, not safetensors': it is named in the metadata, never here.
                let found = Dtype::parse(&word).filter(|dtype| dtype.stored() == dtype.name());
                let found =
                    found.ok_or_else(|| A::Error::custom(format_args!("unknown dtype '{}'", shortened(&word))))?;
                dtype.replace(found).is_some()
            }
            "shape" => shape.replace(access.next_value::<Shape>()?).is_some(),
            "data_offsets" => offsets.replace(access.next_value::<[usize; 2]>()?).is_some(),
            _ => {
                return Err(A::Error::custom(format_args!(
                    "unknown key '{}' of a tensor",
                    shortened(&key)
                )));
            }
        };
        if repeated {
            return Err(A::Error::custom(format_args!("duplicate key '{key}' of a tensor")));
        }
    }
    let missing = |key| A::Error::custom(format_args!("a tensor has no '{key}'"));
    let [start, end] = offsets.ok_or_else(|| missing("data_offsets"))?;
    let Shape(shape) = shape.ok_or_else(|| missing("shape"))?;
    Ok(Place {
        dtype: dtype.ok_or_else(|| missing("dtype"))?,
        shape,
        start,
        end,
    })
});

/// A shape, read no further than it may go.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Shape;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array of whole numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> std::result::Result<Shape, A::Error> {
                let mut dimensions = Vec::new();
                while let Some(dimension) = access.next_element()? {
                    if dimensions.len() == MAX_DIMENSIONS {
                        return Err(A::Error::custom(format_args!(
                            "more dimensions than allowed: at most {MAX_DIMENSIONS}"
                        )));
                    }
                    dimensions.push(dimension);
                }
                Ok(Shape(dimensions))
            }
        }
        deserializer.deserialize_seq(Read)
    }
}
