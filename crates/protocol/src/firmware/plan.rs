//! Which module a device is sent next (`ota.md` §6).

use model::update::{Dependency, Module, ModuleStore};

use super::Function;

/// How far dependencies of dependencies are followed: bootloader, radio stack, parts, application are
/// fewer.
const DEPTH_MAX: usize = 16;

/// A module that could be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<K> {
    /// How the caller knows it.
    pub key: K,
    /// Its function.
    pub function: u8,
    /// Its place among those of its function.
    pub index: u8,
    /// Its version.
    pub version: u16,
    /// What it needs itself.
    pub dependencies: Vec<Dependency>,
}

/// A module that is needed and that nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} of version {} or later is missing", name(.0.function, .0.index), .0.version)]
pub struct Missing(pub Dependency);

/// The next module to send so that `wanted` is satisfied: each module's own needs come first, and of
/// several that will do the oldest is taken, because it changes least. None: everything is there.
///
/// # Errors
/// [`Missing`]: no candidate will do.
pub fn next_missing<'c, K>(
    present: &[Module],
    wanted: impl IntoIterator<Item = Dependency>,
    candidates: &'c [Candidate<K>],
) -> Result<Option<&'c Candidate<K>>, Missing> {
    for dependency in wanted {
        if let Some(next) = first_for(present, dependency, candidates, 0)? {
            return Ok(Some(next));
        }
    }
    Ok(None)
}

fn first_for<'c, K>(
    present: &[Module],
    wanted: Dependency,
    candidates: &'c [Candidate<K>],
    depth: usize,
) -> Result<Option<&'c Candidate<K>>, Missing> {
    if is_there(present, wanted) {
        return Ok(None);
    }
    let will_do = |candidate: &&Candidate<K>| {
        let same = candidate.function == wanted.function && candidate.index == wanted.index;
        same && candidate.version >= wanted.version
    };
    let found = candidates.iter().filter(will_do).min_by_key(|candidate| candidate.version);
    let candidate = found.filter(|_| depth < DEPTH_MAX).ok_or(Missing(wanted))?;
    for needed in &candidate.dependencies {
        if let Some(first) = first_for(present, *needed, candidates, depth + 1)? {
            return Ok(Some(first));
        }
    }
    Ok(Some(candidate))
}

fn is_there(present: &[Module], wanted: Dependency) -> bool {
    present.iter().any(|module| {
        let same = module.function == wanted.function && module.index == wanted.index;
        let runs = module.store == ModuleStore::Main && module.valid;
        same && runs && module.version >= wanted.version
    })
}

/// What a module is called in a sentence.
pub fn name(function: u8, index: u8) -> String {
    match Function::from_number(function) {
        Some(known) => format!("{known} {index}"),
        None => format!("module {function}/{index}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Function::{Bootloader, SystemPart};
    use super::*;

    fn need(function: Function, index: u8, version: u16) -> Dependency {
        Dependency { function: function.number(), index, version }
    }

    fn module(function: Function, index: u8, version: u16) -> Module {
        let (function, store) = (function.number(), ModuleStore::Main);
        Module { store, function, index, version, valid: true, sha256: None, dependencies: vec![] }
    }

    fn candidate(
        function: Function,
        index: u8,
        version: u16,
        dependencies: Vec<Dependency>,
    ) -> Candidate<u16> {
        Candidate { key: version, function: function.number(), index, version, dependencies }
    }

    #[test]
    fn nothing_is_sent_when_everything_is_there() {
        let present = [module(SystemPart, 1, 6200)];
        let next = next_missing::<u16>(&present, [need(SystemPart, 1, 6100)], &[]);
        assert_eq!(next, Ok(None));
    }

    #[test]
    fn a_module_comes_after_those_that_it_needs_itself() {
        let mut present = vec![module(Bootloader, 0, 300), module(SystemPart, 1, 1500)];
        let library = [
            candidate(SystemPart, 1, 2000, vec![need(Bootloader, 0, 400)]),
            candidate(Bootloader, 0, 400, vec![]),
        ];
        let wanted = [need(SystemPart, 1, 2000)];
        let next = next_missing(&present, wanted, &library).expect("a plan").expect("a module");
        assert_eq!(next.function, Bootloader.number());
        present[0].version = 400;
        let next = next_missing(&present, wanted, &library).expect("a plan").expect("a module");
        assert_eq!(next.key, 2000);
    }

    #[test]
    fn of_several_that_will_do_the_oldest_is_sent() {
        let library =
            [6300, 6200, 6100].map(|version| candidate(SystemPart, 1, version, Vec::new()));
        let next = next_missing(&[], [need(SystemPart, 1, 6150)], &library);
        assert_eq!(next.expect("a plan").expect("a module").key, 6200);
    }

    #[test]
    fn a_damaged_module_is_as_good_as_absent() {
        let damaged = Module { valid: false, ..module(SystemPart, 1, 6200) };
        let wanted = need(SystemPart, 1, 6200);
        assert_eq!(next_missing::<u16>(&[damaged], [wanted], &[]), Err(Missing(wanted)));
    }

    #[test]
    fn modules_that_need_each_other_end_in_a_refusal() {
        let library = [
            candidate(SystemPart, 1, 2, vec![need(SystemPart, 2, 2)]),
            candidate(SystemPart, 2, 2, vec![need(SystemPart, 1, 2)]),
        ];
        assert!(next_missing(&[], [need(SystemPart, 1, 2)], &library).is_err());
    }
}
