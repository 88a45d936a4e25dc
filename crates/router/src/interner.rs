//! One copy of each description, however many devices told it.

use std::sync::Arc;

use model::ApplicationDescription;
use rustc_hash::FxHashSet;

/// Descriptions in use. Only looked up; what nobody else holds is dropped when the set has doubled.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    descriptions: FxHashSet<Arc<ApplicationDescription>>,
    sweep_at: usize,
}

const SWEEP_AT_MIN: usize = 64;

impl Interner {
    /// The shared copy equal to `description`.
    pub(crate) fn share(
        &mut self,
        description: &ApplicationDescription,
    ) -> Arc<ApplicationDescription> {
        if let Some(shared) = self.descriptions.get(description) {
            return Arc::clone(shared);
        }
        self.insert(Arc::new(description.clone()))
    }

    /// The shared copy equal to `description`, or this one from now on.
    pub(crate) fn adopt(
        &mut self,
        description: Arc<ApplicationDescription>,
    ) -> Arc<ApplicationDescription> {
        if let Some(shared) = self.descriptions.get(&*description) {
            return Arc::clone(shared);
        }
        self.insert(description)
    }

    fn insert(&mut self, description: Arc<ApplicationDescription>) -> Arc<ApplicationDescription> {
        if self.descriptions.len() >= self.sweep_at {
            self.descriptions.retain(|description| Arc::strong_count(description) > 1);
            self.sweep_at = (self.descriptions.len() * 2).max(SWEEP_AT_MIN);
        }
        self.descriptions.insert(Arc::clone(&description));
        description
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(function: &str) -> ApplicationDescription {
        ApplicationDescription { functions: vec![function.into()], variables: Vec::new() }
    }

    #[test]
    fn equal_descriptions_are_one() {
        let mut interner = Interner::default();
        let first = interner.share(&description("led"));
        assert!(Arc::ptr_eq(&first, &interner.share(&description("led"))));
        assert!(Arc::ptr_eq(&first, &interner.adopt(Arc::new(description("led")))));
        assert!(!Arc::ptr_eq(&first, &interner.share(&description("LED"))));
    }

    #[test]
    fn what_nobody_holds_does_not_pile_up() {
        let mut interner = Interner::default();
        (0..10_000).for_each(|n| drop(interner.share(&description(&n.to_string()))));
        assert!(interner.descriptions.len() <= SWEEP_AT_MIN);
    }
}
