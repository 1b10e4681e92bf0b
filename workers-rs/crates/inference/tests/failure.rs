//! A model that fails for some values at run time: only the requests that hold them fail.

mod common;

use common::{assert_same, compile, longs, one, options, runtime};
use npufleet_wire::ErrorKind;

/// The model copies its input, and cannot where the largest value of a batch is 4 (12 is not divisible by 5).
#[test]
fn only_the_bad_member_fails() {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, "fragile.xml");
    assert!(model.joins(), "{:?}", model.device_notes());
    let members: Vec<_> = (0..16)
        .map(|index| {
            let value = if index == 5 || index == 11 { 4 } else { index % 4 };
            longs("x", &[1, 2], &[value, 0])
        })
        .collect();
    // Again after the failure: the requests in the pool still work.
    for _ in 0..2 {
        for (index, reply) in model.infer(&members).into_iter().enumerate() {
            if index == 5 || index == 11 {
                let error = reply.unwrap_err();
                assert_eq!(error.kind, ErrorKind::Internal);
                assert!(error.message.starts_with("inference failed on CPU: "), "{error}");
                assert!(
                    !error.message.contains('\n') && !error.message.contains("Exception from"),
                    "{error}"
                );
            } else {
                let same = members[index].tensor("x").unwrap();
                assert_same(&reply.unwrap(), &one("y", same.info.dtype, &[1, 2], same.data));
            }
        }
    }
}

#[test]
fn a_member_fails_as_a_whole() {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, "fragile.xml");
    let replies = model.infer(&[longs("x", &[2, 2], &[1, 1, 4, 1]), longs("x", &[1, 2], &[2, 2])]);
    assert_eq!(replies[0].as_ref().unwrap_err().kind, ErrorKind::Internal);
    assert!(replies[1].is_ok());
}

/// OpenVINO loses the failures of one thread that is called directly, and answers with what it answered before; it also
/// takes over the shapes of an inference that failed. Neither may reach a caller, with any number of threads.
#[test]
fn a_failure_is_never_answered_with_stale_values() {
    let Some(runtime) = runtime() else { return };
    for threads in [0, 1, 2] {
        let mut options = options("scatter.xml");
        options.threads = threads;
        let scatter = runtime.compile(&options).unwrap();
        options.path = common::path("fragile.xml");
        let fragile = runtime.compile(&options).unwrap();
        for value in [0, 3, 9, 9, 2, 9, 1, 9, 9, 9, 0] {
            let reply = scatter.infer(&[longs("x", &[1], &[value])]).pop().unwrap();
            if value == 9 {
                let error = reply.unwrap_err();
                assert!(error.message.contains("ScatterUpdate"), "threads {threads}: {error}");
            } else {
                let mut values = [0.0; 4];
                values[value as usize] = 1.0;
                assert_same(&reply.unwrap(), &common::floats("y", &[4], &values));
            }
            let value = if value == 9 { 4 } else { value };
            let member = longs("x", &[1, 2], &[value, 1]);
            let reply = fragile.infer(std::slice::from_ref(&member)).pop().unwrap();
            if value == 4 {
                assert!(reply.is_err(), "threads {threads}");
            } else {
                assert_same(&reply.unwrap(), &longs("y", &[1, 2], &[value, 1]));
            }
        }
    }
}
