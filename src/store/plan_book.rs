//! The plans as this process knows them. Versions are immutable, so what is known stays true; what is missing is read again.

use std::sync::{Arc, PoisonError, RwLock};

use diesel::prelude::*;

use super::plan_versions;
use crate::domain::plans::{PlanVersion, Plans};

/// The catalogue's current versions and every version sold, kept in memory.
#[derive(Debug)]
pub struct PlanBook {
    plans: RwLock<Arc<Plans>>,
}

impl PlanBook {
    /// Opens the book on these plans.
    pub fn new(plans: Plans) -> Self {
        Self {
            plans: RwLock::new(Arc::new(plans)),
        }
    }

    /// The plans known now.
    pub fn plans(&self) -> Arc<Plans> {
        Arc::clone(&self.plans.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the sold versions again: another replica may have added one. Returns all that is known then.
    pub fn refresh(&self, conn: &mut PgConnection) -> QueryResult<Arc<Plans>> {
        let sold: Vec<(Arc<PlanVersion>, usize)> = plan_versions::all(conn)?;
        let refreshed = Arc::new(self.plans().with_sold(sold));
        *self.plans.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&refreshed);
        Ok(refreshed)
    }
}
