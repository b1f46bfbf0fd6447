//! What serving connections needs besides them.

use std::rc::Rc;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use super::drain::Drain;
use crate::listen::settings::Limits;

/// One for each worker and kind of listener.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) limits: Arc<Limits>,
    /// Panics in the tasks of connections.
    pub(crate) panics: Counter,
    /// By which connections learn that they have to finish.
    pub(crate) drain: Rc<Drain>,
}
