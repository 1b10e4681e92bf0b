//! Bare OpenVINO: rows per second of a model with nothing around it, as the floor that the benchmarks compare with.
//!
//! `bare MODEL [--batch 1] [--shape 3,48,192] [--seconds 2] [--threads 1] [--inference-threads 1] [--library FILE]`
//!
//! Each thread has a compiled model and a request of its own, its input stays where it is, and nobody reads the
//! output. Prints one JSON object: rows and inferences per second, and the latency of an inference in microseconds.
#![allow(
    unsafe_code,
    reason = "the floor must not be measured through the wrapper it is the floor of"
)]

use std::error::Error;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use npufleet_inference::Runtime;
use openvino_sys as ov;
use openvino_sys::ov_status_e;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Options {
    model: String,
    batch: i64,
    /// Sizes of the dimensions after the first, where they are open.
    shape: Vec<i64>,
    seconds: f64,
    threads: usize,
    inference_threads: usize,
    library: Option<String>,
}

fn options() -> Outcome<Options> {
    let mut options = Options {
        model: String::new(),
        batch: 1,
        shape: Vec::new(),
        seconds: 2.0,
        threads: 1,
        inference_threads: 1,
        library: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--batch" => options.batch = value()?.parse()?,
            "--shape" => options.shape = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--threads" => options.threads = value()?.parse()?,
            "--inference-threads" => options.inference_threads = value()?.parse()?,
            "--library" => options.library = Some(value()?),
            model => model.clone_into(&mut options.model),
        }
    }
    if options.model.is_empty() {
        return Err("a model file is needed".into());
    }
    Ok(options)
}

fn check(status: ov_status_e) -> Outcome<()> {
    if status == ov_status_e::OK {
        return Ok(());
    }
    // SAFETY: OpenVINO gives a NUL-terminated text; the program ends with it, so that it is not freed.
    let text = unsafe { CStr::from_ptr(ov::ov_get_last_err_msg()) };
    Err(text.to_string_lossy().into_owned().into())
}

/// Latencies in microseconds of inferences for some seconds.
fn run(options: &Options) -> Outcome<Vec<f64>> {
    let (mut core, mut model, mut compiled, mut request) =
        (ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    let path = CString::new(options.model.as_str())?;
    let threads = CString::new(options.inference_threads.to_string())?;
    let properties = [
        (c"PERFORMANCE_HINT", c"LATENCY"),
        (c"ENABLE_CPU_PINNING", c"NO"),
        (c"INFERENCE_NUM_THREADS", threads.as_c_str()),
    ]
    .map(|(key, value)| ov::ov_property_t {
        key: key.as_ptr(),
        value: value.as_ptr().cast(),
    });
    // SAFETY: pointers to locals that outlive each call, handles in the order in which OpenVINO gives them; the program
    // ends with this function's caller, so that nothing is freed.
    unsafe {
        check(ov::ov_core_create(&raw mut core))?;
        check(ov::ov_core_read_model(core, path.as_ptr(), ptr::null(), &raw mut model))?;
        shaped(model, options.batch, &options.shape)?;
        check(ov::ov_core_compile_model_props(
            core,
            model,
            c"CPU".as_ptr(),
            properties.len(),
            properties.as_ptr(),
            &raw mut compiled,
        ))?;
        check(ov::ov_compiled_model_create_infer_request(compiled, &raw mut request))?;
        let mut inputs = 0;
        check(ov::ov_model_inputs_size(model, &raw mut inputs))?;
        for index in 0..inputs {
            let (mut tensor, mut data, mut size) = (ptr::null_mut(), ptr::null_mut(), 0);
            check(ov::ov_infer_request_get_input_tensor_by_index(
                request,
                index,
                &raw mut tensor,
            ))?;
            check(ov::ov_tensor_data(tensor, &raw mut data))?;
            check(ov::ov_tensor_get_byte_size(tensor, &raw mut size))?;
            ptr::write_bytes(data.cast::<u8>(), 0, size);
        }
        for _ in 0..10 {
            check(ov::ov_infer_request_infer(request))?;
        }
    }
    let (begin, most) = (Instant::now(), Duration::from_secs_f64(options.seconds));
    let mut latencies = Vec::new();
    let mut start = begin;
    while start - begin < most {
        // SAFETY: the request is valid and used by this thread only.
        check(unsafe { ov::ov_infer_request_infer(request) })?;
        let end = Instant::now();
        latencies.push((end - start).as_secs_f64() * 1e6);
        start = end;
    }
    Ok(latencies)
}

/// Gives every input `batch` rows of the given shape.
///
/// # Safety
/// `model` is a valid model that nobody else uses.
unsafe fn shaped(model: *mut ov::ov_model_t, batch: i64, rest: &[i64]) -> Outcome<()> {
    let mut inputs = 0;
    // SAFETY: the model is valid by the caller's promise; the rest are locals that outlive the calls.
    unsafe {
        check(ov::ov_model_inputs_size(model, &raw mut inputs))?;
        let indexes: Vec<usize> = (0..inputs).collect();
        let mut shapes = Vec::with_capacity(inputs);
        for index in 0..inputs {
            let mut port = ptr::null_mut();
            check(ov::ov_model_const_input_by_index(model, index, &raw mut port))?;
            let rank = ov::ov_dimension_t { min: 0, max: 0 };
            let mut shape = ov::ov_partial_shape_t {
                rank,
                dims: ptr::null_mut(),
            };
            check(ov::ov_port_get_partial_shape(port, &raw mut shape))?;
            let sizes = std::iter::once(&batch).chain(rest);
            for (at, size) in sizes.enumerate().take(shape.rank.max.max(0) as usize) {
                *shape.dims.add(at) = ov::ov_dimension_t { min: *size, max: *size };
            }
            shapes.push(shape);
        }
        check(ov::ov_model_reshape_by_port_indexes(
            model,
            indexes.as_ptr(),
            shapes.as_ptr(),
            inputs,
        ))
    }
}

fn measure() -> Outcome<()> {
    let options = options()?;
    // Finds and loads the library; nothing else of the crate is used.
    let runtime = Runtime::load(options.library.as_deref().map(Path::new))?;
    let results = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads).map(|_| scope.spawn(|| run(&options))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked")?)
            .collect::<Outcome<Vec<_>>>()
    })?;
    let mut latencies: Vec<f64> = results.iter().flatten().copied().collect();
    latencies.sort_by(f64::total_cmp);
    let rate: f64 = results
        .iter()
        .map(|own| own.len() as f64 / (own.iter().sum::<f64>() / 1e6))
        .sum();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    let report = serde_json::json!({
        "model": options.model,
        "device": "CPU",
        "openvino": runtime.version(),
        "batch": options.batch,
        "threads": options.threads,
        "inference_threads": options.inference_threads,
        "inferences": latencies.len(),
        "inferences_per_second": rate,
        "rows_per_second": rate * options.batch as f64,
        "p50_us": at(0.5),
        "p99_us": at(0.99),
    });
    println!("{report}");
    Ok(())
}

fn main() {
    if let Err(error) = measure() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}
