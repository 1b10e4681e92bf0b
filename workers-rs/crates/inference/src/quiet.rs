//! Whether an inference of a graph can fail at all.
//!
//! OpenVINO's fastest way on the CPU, one thread and `infer` on the calling thread (9 us for a small model against 17),
//! loses exceptions: `infer` reports success, the outputs still hold the last answer, and the failed task stays queued
//! with a pointer to its request (`CPUStreamsExecutor::Defer`, seen in 2026.4.1). It is therefore used only for graphs
//! of static shapes whose nodes do not look at values: those below never fail once their shapes are settled.

use std::sync::Arc;

use crate::openvino::{Call, Core, Failure, Graph};
use crate::settings::{Settings, Threads};

/// Node types, sorted, that compute on whatever values they get.
const TYPES: [&str; 56] = [
    "Abs",
    "Add",
    "AvgPool",
    "Clamp",
    "Concat",
    "Const",
    "Constant",
    "Convert",
    "Convolution",
    "Divide",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "FakeQuantize",
    "FullyConnected",
    "Gelu",
    "Greater",
    "GroupConvolution",
    "HSigmoid",
    "HSwish",
    "HardSigmoid",
    "LRN",
    "Less",
    "LogicalAnd",
    "LogicalNot",
    "LogicalOr",
    "MVN",
    "MatMul",
    "MaxPool",
    "Maximum",
    "Minimum",
    "Mish",
    "Multiply",
    "NormalizeL2",
    "PRelu",
    "Parameter",
    "Power",
    "PowerStatic",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reorder",
    "Reshape",
    "Result",
    "Select",
    "Sigmoid",
    "Softmax",
    "Sqrt",
    "Squeeze",
    "Subgraph",
    "Subtract",
    "Tanh",
    "Transpose",
];

/// Compiles the graph once more, runs it over zeros and looks at its nodes.
pub(crate) fn is_quiet(
    core: &Arc<Core>,
    graph: &Graph,
    settings: &Settings,
    ports: (usize, usize),
) -> Result<bool, Failure> {
    if !settings.is_cpu() || graph.is_dynamic() {
        return Ok(false);
    }
    let mut properties = settings.properties(Threads::Caller);
    properties.push(("PERF_COUNT", "YES".to_owned()));
    let compiled = core.compile(graph, &settings.device, &properties)?;
    let mut request = compiled.request(ports.0, ports.1, Call::Direct)?;
    for index in 0..ports.0 {
        request.input(index).clear();
    }
    if request.infer().is_err() {
        // It just has failed.
        return Ok(false);
    }
    let types = request.node_types()?;
    Ok(!types.is_empty() && types.iter().all(|kind| TYPES.binary_search(&kind.as_str()).is_ok()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn types_are_sorted() {
        assert!(super::TYPES.is_sorted());
    }
}
