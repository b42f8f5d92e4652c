//! What one configuration looks like at work.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::idempotency::Idempotency;
use crate::routes::Routes;
use crate::settings::Settings;
use crate::upstream::Upstream;

/// One whole configuration at work: a request uses the same one from its start to its end.
#[derive(Debug)]
pub struct Live {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// Its upstreams and rules.
    pub routes: Routes,
    /// Its stored answers.
    pub idempotency: Idempotency,
}

impl Live {
    /// Prepares everything that a configuration needs; connects to nothing. Every fault at once.
    pub fn new(settings: Settings) -> Result<Self, Vec<String>> {
        let settings = Arc::new(settings);
        let mut upstreams = BTreeMap::new();
        let mut faults = Vec::new();
        for (name, upstream) in &settings.upstreams {
            match Upstream::new(upstream.clone()) {
                Ok(upstream) => {
                    upstreams.insert(name.clone(), Arc::new(upstream));
                }
                Err(fault) => faults.push(format!("upstreams.{name}: {fault}")),
            }
        }
        let idempotency = Idempotency::new(&settings.idempotency)
            .map_err(|fault| faults.push(format!("idempotency.{fault}")));
        match idempotency {
            Ok(idempotency) if faults.is_empty() => {
                Ok(Live { routes: Routes::new(Arc::clone(&settings), upstreams), idempotency, settings })
            }
            _ => Err(faults),
        }
    }

    /// With what must outlive the configuration before this one: the stored answers.
    #[must_use]
    pub fn after(self, previous: &Live) -> Self {
        Live { idempotency: self.idempotency.carry(&previous.idempotency), ..self }
    }
}
