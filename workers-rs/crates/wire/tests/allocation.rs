//! Decoding allocates in proportion to what arrived and what the limits allow, never to what a header claims; memory for
//! large frames is allocated once.
//!
//! One test in a file of its own: the counters are the process's.

mod support;

use std::alloc::System;

use bytes::Bytes;
use npufleet_wire::{Dtype, Frame, LayoutCache, Output, frame};
use serde_json::Map;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocated(work: impl FnOnce()) -> (usize, usize) {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    (change.allocations, change.bytes_allocated)
}

#[test]
fn decoding_allocates_little() {
    let padded = |header: String| Bytes::from(support::raw(&header, &[]));
    let most = frame::MAX_HEADER_BYTES - 200;
    let digits = "0,".repeat(most / 2);
    let hostile = [
        padded(r#"{"x":{"dtype":"F64","shape":[1152921504606846975],"data_offsets":[0,9223372036854775800]}}"#.into()),
        padded(format!(
            r#"{{"x":{{"dtype":"U8","shape":[{digits}0],"data_offsets":[0,0]}}}}"#
        )),
        padded(format!(
            r#"{{"x":{{"dtype":"U8","shape":[0],"data_offsets":[{digits}0]}}}}"#
        )),
        padded(format!("{{\"x\":{}", "[".repeat(most))),
        padded(format!(
            r#"{{"__metadata__":{{"params":"{{\"a\":{}"}}}}"#,
            "[".repeat(most)
        )),
        padded(format!(r#"{{"__metadata__":{{"params":"{{\"a\":[{digits}0]}}"}}}}"#)),
        padded(format!(r#"{{"__metadata__":{{"complex":"[{digits}0]"}}}}"#)),
        Bytes::from(u64::MAX.to_le_bytes().to_vec()),
    ];
    for frame in hostile {
        let length = frame.len();
        let (_, bytes) = allocated(|| drop(Frame::decode(frame)));
        // Two characters of JSON can make one value of 32 bytes, in a vector that doubled to get there.
        assert!(bytes < 64 * length + 8192, "{bytes} bytes allocated for {length}");
    }

    let data = vec![0; 1 << 20];
    let known = Output {
        name: "x",
        dtype: Dtype::F64,
        shape: &[1 << 17],
        data: &data,
    };
    let frame = frame::encode(&[known], &Map::new()).unwrap();
    let mut cache = LayoutCache::default();
    let (_, bytes) = allocated(|| drop(cache.decode(frame.clone()).unwrap()));
    assert!(bytes < 8192, "{bytes} bytes allocated: tensor bytes were copied");
    let (count, _) = allocated(|| drop(cache.decode(frame.clone()).unwrap()));
    assert_eq!(count, 0, "a known header is decoded without allocating");
    let (count, _) = allocated(|| drop(frame::draft(&frame::Heap, &[("y", Dtype::C128, &[513])]).unwrap()));
    assert!(count <= 4, "{count} allocations for a frame of one tensor");
    let large = || frame::draft(&frame::Heap, &[("y", Dtype::F64, &[1 << 16])]).unwrap().0;
    drop(Bytes::from(large()));
    let (_, bytes) = allocated(|| drop(Bytes::from(large())));
    assert!(bytes < 1024, "{bytes} bytes allocated: memory of large frames is kept");
    let (_, bytes) = allocated(|| drop([large(), large()]));
    assert!(bytes > 1 << 19, "{bytes} bytes allocated for two frames at once");
}
