//! *loadbalance*: changes the order of addresses from response to response.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | `order` | in which order records come |
//! | `weights` | the file of weights |
//! | `dice` | cheap random numbers |
//! | here | the plugin, and the task that looks at the file |
mod config;
mod dice;
mod order;
mod weights;

use std::sync::Arc;

use corten_plugin::wire::{Rcode, RecordType, Section};
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Interest, Plugin, Setup, SetupError, Stop, Tasks,
    async_trait,
};

use config::{Config, Network, Policy};
use order::Order;
use weights::File;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "loadbalance",
    setup,
    readme: include_str!("../README.md"),
};

struct LoadBalance {
    /// Weights, for that policy.
    weighted: Option<Arc<File>>,
    prefer: Vec<Network>,
    tasks: Tasks,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(setup)?;
    let weighted = match config.policy {
        Policy::RoundRobin => None,
        Policy::Weighted { file, reload, at } => {
            Some(Arc::new(File::open(file, reload).map_err(|error| {
                SetupError::new(error.to_string()).at(&at)
            })?))
        }
    };
    setup.push(LoadBalance {
        weighted,
        prefer: config.prefer,
        tasks: Tasks::default(),
    });
    Ok(())
}

#[async_trait]
impl Plugin for LoadBalance {
    fn name(&self) -> &'static str {
        "loadbalance"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        let rtype = ex.query.question.rtype;
        let transfer = matches!(rtype, RecordType::AXFR | RecordType::IXFR);
        if ex.reply.rcode == Rcode::NOERROR && !transfer && ex.reply.records().len() > 1 {
            order::with_scratch(|order| match &self.weighted {
                None => self.shuffle(ex, order),
                Some(file) => self.weigh(ex, order, file),
            });
        }
        Flow::Respond
    }

    async fn start(&self, _: &Context) -> Result<(), BoxError> {
        if let Some(file) = self.weighted.as_ref().filter(|file| file.changes()) {
            self.tasks.spawn(Arc::clone(file).watch());
        }
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        self.tasks.stop();
    }
}

impl LoadBalance {
    fn shuffle(&self, ex: &mut Exchange, order: &mut Order) {
        for section in [Section::Answer, Section::Authority, Section::Additional] {
            if !order.read(ex.reply.view(), section) {
                continue;
            }
            dice::shuffle(order.addresses());
            dice::shuffle(order.exchanges());
            if section != Section::Authority {
                order.prefer(ex.reply.view(), &self.prefer);
            }
            ex.reply.reorder(&ex.query, section, order.indices());
        }
    }

    fn weigh(&self, ex: &mut Exchange, order: &mut Order, file: &File) {
        let rtype = ex.query.question.rtype;
        if !matches!(rtype, RecordType::A | RecordType::AAAA | RecordType::SRV) {
            return;
        }
        let weights = file.weights();
        for section in [Section::Answer, Section::Additional] {
            if !order.read(ex.reply.view(), section) || order.addresses().is_empty() {
                continue;
            }
            order.weigh(ex.reply.view(), &weights);
            order.prefer(ex.reply.view(), &self.prefer);
            ex.reply.reorder(&ex.query, section, order.indices());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::Chain;
    use corten_plugin::wire::{Class, Owner, Query, Question};

    /// Four addresses behind an alias.
    struct Addresses;

    impl Plugin for Addresses {
        fn name(&self) -> &'static str {
            "addresses"
        }

        fn on_query(&self, ex: &mut Exchange) -> Flow {
            let reply = ex.start(Rcode::NOERROR);
            let target = b"\x01a\x07example\0";
            let (cname, a) = (RecordType::CNAME, RecordType::A);
            reply.push(Section::Answer, Owner::Question, cname, 60, |rdata| {
                rdata.octets(target)
            });
            for last in 1..5 {
                reply.push(Section::Answer, Owner::Wire(target), a, 60, |rdata| {
                    rdata.octets(&[192, 0, 2, last])
                });
            }
            Flow::Respond
        }
    }

    fn plugin(prefer: &[&str]) -> LoadBalance {
        let networks = prefer.iter().filter_map(|text| Network::read(text));
        LoadBalance {
            weighted: None,
            prefer: networks.collect(),
            tasks: Tasks::default(),
        }
    }

    fn query(rtype: RecordType) -> Exchange {
        let mut ex = Exchange::new();
        let question = Question {
            name: "www.example".parse().unwrap(),
            rtype,
            class: Class::IN,
        };
        ex.query = Query::ask(1, &question);
        ex
    }

    #[test]
    fn shuffling_allocates_nothing() {
        for prefer in [&[][..], &["192.0.2.3/32"]] {
            let chain = Chain::new(vec![Arc::new(plugin(prefer)), Arc::new(Addresses)]).unwrap();
            let mut ex = query(RecordType::A);
            let mut first = [0; 6];
            let mut serve = |ex: &mut Exchange| {
                let _ = chain.run(ex);
                let record = ex.reply.records()[1];
                let octets = ex.reply.view().rdata(&record);
                first[usize::from(octets[3])] += 1;
                assert_eq!(ex.reply.records()[0].rtype, RecordType::CNAME);
                ex.recycle();
            };
            // The memory is there once records have changed places.
            (0..40).for_each(|_| serve(&mut ex));
            let counted = allocation_counter::measure(|| (0..400).for_each(|_| serve(&mut ex)));
            assert_eq!(counted.count_total, 0);
            match prefer {
                [] => assert!(
                    first[1..5].iter().all(|count| (65..155).contains(count)),
                    "{first:?}"
                ),
                _ => assert_eq!(first[3], 440),
            }
        }
    }

    #[test]
    fn transfers_and_errors_are_left_alone() {
        for (rtype, rcode) in [
            (RecordType::AXFR, Rcode::NOERROR),
            (RecordType::IXFR, Rcode::NOERROR),
            (RecordType::A, Rcode::NXDOMAIN),
        ] {
            let mut ex = query(rtype);
            let _ = Addresses.on_query(&mut ex);
            ex.reply.rcode = rcode;
            let before = ex.reply.octets().to_vec();
            for _ in 0..20 {
                assert_eq!(plugin(&[]).on_response(&mut ex), Flow::Respond);
            }
            assert_eq!(ex.reply.octets(), before);
        }
    }
}
