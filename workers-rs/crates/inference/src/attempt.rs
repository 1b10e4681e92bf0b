//! A model on one device: which of its shapes are fixed decides how it is executed.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::batch::{Member, Run as _};
use crate::bucket::{Mode, Shop};
use crate::facts::Facts;
use crate::fixed::{Bucket, Fixed, Parts};
use crate::flexible::Flexible;
use crate::ladder::{Ladder, first_bucket, is_heavy, mode};
use crate::memory::GiveBack;
use crate::model::Backend;
use crate::openvino::{Core, Failure, Graph, RawPort};
use crate::settings::Settings;
use crate::usual::Usual;
use crate::{Model, ModelOptions, Port, independence};

/// OpenVINO's ports in our words.
pub(crate) fn ports(raw: &[RawPort], side: &str) -> Result<Vec<Port>, Failure> {
    raw.iter()
        .enumerate()
        .map(|(index, raw)| Port::new(raw, side, index))
        .collect()
}

/// One device that is being tried.
pub(crate) struct Attempt<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) options: &'a ModelOptions,
    pub(crate) inputs: &'a [Port],
    pub(crate) settings: Settings,
    /// Set when nobody waits for the model any more.
    pub(crate) stop: &'a AtomicBool,
    /// The model as it was read to begin with, for whoever needs it first.
    pub(crate) graph: Cell<Option<Graph>>,
    /// How many outputs it has.
    pub(crate) outputs: usize,
    /// What an earlier load found out.
    pub(crate) known: Option<Facts>,
    /// What this one did.
    pub(crate) found: OnceCell<Facts>,
}

impl Attempt<'_> {
    /// Compiles the model in the way that its shapes allow; says in `notes` why it is not batched.
    pub(crate) fn build(&self, notes: &mut Vec<String>) -> Result<Model, Failure> {
        let open = self.inputs.iter().all(Port::first_is_open);
        let one_row = self.inputs.iter().all(|port| port.shape.first() == Some(&Some(1)));
        let rest_fixed = self.inputs.iter().all(|port| port.with_rows(1).is_some());
        if rest_fixed && (open || (one_row && self.options.max_batch > 1)) {
            let heavy = self.settings.is_cpu() && is_heavy(self.options);
            match if heavy { self.by_open_rows() } else { self.by_rows() } {
                Ok(model) => return Ok(model),
                // Also the common case of a model that was saved for one row and stays so.
                Err(failure) => notes.push(format!("{}: not batched: {}", self.settings.device, failure.text)),
            }
            return if open { self.flexible(false) } else { self.whole() };
        }
        let all_fixed = self.inputs.iter().all(|port| port.shape.iter().all(Option::is_some));
        if all_fixed { self.whole() } else { self.flexible(open) }
    }

    fn read(&self) -> Result<Graph, Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::new("no longer wanted"));
        }
        match self.graph.take() {
            Some(graph) => Ok(graph),
            None => self.core.read(&self.options.path),
        }
    }

    fn shop(&self) -> Shop<'_> {
        Shop {
            core: self.core,
            options: self.options,
            settings: &self.settings,
            ports: (self.inputs.len(), self.outputs),
        }
    }

    /// Static shapes for several row counts; requests are joined.
    pub(crate) fn by_rows(&self) -> Result<Model, Failure> {
        let (read, known) = (|| self.read(), self.known.as_ref());
        let known = known.filter(|facts| facts.independent && !facts.buckets.is_empty());
        let ladder = Ladder::climb(self.shop(), &read, self.options, self.inputs, known)?;
        let mode = ladder.mode;
        let rowed = |ports: &[Port]| -> Vec<Port> {
            let mut ports = ports.to_vec();
            for port in &mut ports {
                port.shape[0] = None;
            }
            ports
        };
        let fixed = Fixed::new(Parts {
            device: self.settings.device.clone(),
            inputs: rowed(self.inputs),
            output_shapes: static_shapes(&ladder.outputs)?,
            outputs: rowed(&ladder.outputs),
            input_shapes: self.inputs.iter().filter_map(|port| port.with_rows(1)).collect(),
            by_rows: true,
            buckets: ladder.buckets,
            max_batch: self.options.max_batch,
        })
        .map_err(|error| Failure::new(error.message))?;
        let declared = self.inputs.iter().all(Port::first_is_open);
        if let (Some(single), Some(many)) = (fixed.buckets.first(), fixed.buckets.last())
            && many.rows > 1
        {
            let (alone, together) = (
                |it: &[Member<'_>]| fixed.run_in(single, it),
                |it: &[Member<'_>]| fixed.run_in(many, it),
            );
            self.must_be_independent(&fixed.inputs, declared, alone, together)?;
        }
        self.note(mode, &fixed.buckets, true);
        Ok(self.model(
            fixed.inputs.clone(),
            fixed.outputs.clone(),
            self.options.max_batch,
            true,
            Backend::Fixed(fixed),
        ))
    }

    /// One compiled form for every row count, for a model whose weights are too large to have several; requests are
    /// joined.
    fn by_open_rows(&self) -> Result<Model, Failure> {
        let opened = |ports: &[Port]| -> Vec<Port> {
            let mut ports = ports.to_vec();
            for port in &mut ports {
                port.shape[0] = None;
            }
            ports
        };
        let inputs = opened(self.inputs);
        let mut graph = self.read()?;
        let shapes: Vec<_> = inputs.iter().map(|port| port.shape.clone()).collect();
        graph.reshape(&shapes)?;
        let outputs = ports(&graph.outputs()?, "output")?;
        let mode = mode(self.options, false, true);
        if let Some(port) = outputs.iter().find(|port| !port.first_is_open()) {
            return Err(Failure::new(format!("output {port} does not follow the rows of input")));
        }
        let flexible = Flexible {
            device: self.settings.device.clone(),
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            lanes: self.shop().lanes(graph, mode)?,
            usual: None,
        };
        let declared = self.inputs.iter().all(Port::first_is_open);
        let run = |it: &[Member<'_>]| flexible.run(it);
        self.must_be_independent(&inputs, declared, run, run)?;
        self.note(mode, &[], true);
        let max_batch = self.options.max_batch;
        Ok(self.model(inputs, outputs, max_batch, true, Backend::Flexible(flexible)))
    }

    fn must_be_independent(
        &self,
        inputs: &[Port],
        declared: bool,
        alone: impl Fn(&[Member<'_>]) -> npufleet_wire::Result<Vec<Bytes>>,
        together: impl Fn(&[Member<'_>]) -> npufleet_wire::Result<Vec<Bytes>>,
    ) -> Result<(), Failure> {
        if self.known.as_ref().is_some_and(|facts| facts.independent) {
            // What is not tried any more still has to be warm.
            return match independence::warm(inputs, alone) {
                Err(error) if !declared => Err(Failure::new(error.message)),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        match independence::holds(inputs, self.settings.is_coarse(), alone, together) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::new("its rows depend on each other")),
            // Made-up input may be what the model cannot take; its own declaration of an open dimension then stands.
            Err(_) if declared => Ok(()),
            Err(error) => Err(Failure::new(error.message)),
        }
    }

    fn note(&self, mode: Mode, buckets: &[Bucket], independent: bool) {
        let buckets = buckets.iter().map(|bucket| (bucket.rows, bucket.cost)).collect();
        // An attempt that goes on to another way of running the model has failed at this one and noted nothing.
        let _ = self.found.set(Facts {
            mode,
            buckets,
            independent,
        });
    }

    /// Static shapes as they are; every request is an inference of its own.
    fn whole(&self) -> Result<Model, Failure> {
        let graph = self.read()?;
        let outputs = ports(&graph.outputs()?, "output")?;
        self.graph.set(Some(graph));
        if outputs.iter().any(|port| port.shape.contains(&None)) {
            return self.flexible(false);
        }
        let known = self.known.as_ref().filter(|facts| !facts.independent);
        let (bucket, mode) = first_bucket(self.shop(), &|| self.read(), self.options, known)?;
        self.note(mode, std::slice::from_ref(&bucket), false);
        let fixed = Fixed::new(Parts {
            device: self.settings.device.clone(),
            inputs: self.inputs.to_vec(),
            input_shapes: static_shapes(self.inputs)?,
            output_shapes: static_shapes(&outputs)?,
            outputs: outputs.clone(),
            by_rows: false,
            buckets: vec![bucket],
            max_batch: 1,
        })
        .map_err(|error| Failure::new(error.message))?;
        let rows = self
            .inputs
            .iter()
            .find_map(|port| port.shape.first().copied().flatten());
        Ok(self.model(
            self.inputs.to_vec(),
            outputs,
            rows.unwrap_or(1),
            false,
            Backend::Fixed(fixed),
        ))
    }

    /// Dynamic shapes; requests are joined if `joins`.
    fn flexible(&self, joins: bool) -> Result<Model, Failure> {
        let graph = self.read()?;
        let outputs = ports(&graph.outputs()?, "output")?;
        let joins = joins && outputs.iter().all(Port::first_is_open);
        let heavy = is_heavy(self.options);
        // The weights of a large model are not prepared once more.
        let usual = (joins && !heavy && self.settings.is_cpu()).then(|| Usual::new(self));
        let flexible = Flexible {
            device: self.settings.device.clone(),
            inputs: self.inputs.to_vec(),
            outputs: outputs.clone(),
            lanes: self.shop().lanes(graph, mode(self.options, false, heavy))?,
            usual,
        };
        Ok(self.model(
            self.inputs.to_vec(),
            outputs,
            self.options.max_batch,
            joins,
            Backend::Flexible(flexible),
        ))
    }

    fn model(&self, inputs: Vec<Port>, outputs: Vec<Port>, max_batch: usize, joins: bool, backend: Backend) -> Model {
        // `GPU.0` is a GPU to everybody else.
        let kind = self.settings.device.split('.').next().unwrap_or_default();
        Model {
            device: kind.to_owned(),
            notes: Vec::new(),
            inputs,
            outputs,
            max_batch,
            joins,
            backend,
            _freed: GiveBack,
        }
    }
}

fn static_shapes(ports: &[Port]) -> Result<Vec<Vec<usize>>, Failure> {
    ports
        .iter()
        .map(|port| {
            port.shape
                .iter()
                .copied()
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| Failure::new(format!("{port} has no static shape")))
        })
        .collect()
}
