//! What a simulated device tells about itself (`messages.md` §6).

use std::fmt::Write as _;

use model::{ApplicationDescription, Metric};
use prost::Message as _;

use super::profile::{Generation, Profile};
use super::update::Installed;

/// A module as a device tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModuleTold {
    pub(crate) function: u8,
    pub(crate) index: u8,
    pub(crate) version: u16,
    /// Function, index and lowest version.
    pub(crate) dependencies: Vec<(u8, u8, u16)>,
    /// Of what an update brought.
    pub(crate) sha256: Option<[u8; 32]>,
}

impl ModuleTold {
    fn of_system(function: u8, index: u8, version: u16, dependencies: &[(u8, u8, u16)]) -> Self {
        let dependencies = dependencies.to_vec();
        Self { function, index, version, dependencies, sha256: None }
    }

    pub(crate) fn applied(installed: &Installed) -> Self {
        Self {
            function: installed.function,
            index: installed.index,
            version: installed.version,
            dependencies: installed.dependencies.clone(),
            sha256: Some(installed.sha256),
        }
    }

    fn is_in_place_of(&self, other: &Self) -> bool {
        (self.function, self.index) == (other.function, other.index)
    }

    /// Whether the modules that it needs are among these.
    pub(crate) fn is_satisfied_by(&self, present: &[Self]) -> bool {
        self.dependencies.iter().all(|(function, index, version)| {
            present.iter().any(|module| {
                (module.function, module.index) == (*function, *index) && module.version >= *version
            })
        })
    }
}

/// What the device consists of: what it was made with, and what updates brought in its place.
pub(crate) fn modules<'i>(
    profile: &Profile,
    count: u32,
    installed: impl Iterator<Item = &'i Installed>,
) -> Vec<ModuleTold> {
    let applied: Vec<ModuleTold> = installed.map(ModuleTold::applied).collect();
    let mut modules = made_with(profile, count);
    modules.retain(|module| !applied.iter().any(|one| one.is_in_place_of(module)));
    modules.extend(applied);
    modules
}

/// The host build of 6.2 has a monolithic system module and a bootloader; the JSON names no bootloader.
fn made_with(profile: &Profile, count: u32) -> Vec<ModuleTold> {
    let version = profile.system_version;
    let places = 0..u8::try_from(count).unwrap_or(u8::MAX);
    match profile.generation {
        Generation::Os6 => {
            let system = |index| {
                let function = if index == 0 { MONOLITHIC } else { SYSTEM_PART };
                ModuleTold::of_system(function, index, version, &[(BOOTLOADER, 0, 1000)])
            };
            let bootloader = ModuleTold::of_system(BOOTLOADER, 0, 1000, &[]);
            std::iter::once(bootloader).chain(places.map(system)).collect()
        }
        Generation::Os3 | Generation::Tcp => places
            .map(|place| ModuleTold::of_system(SYSTEM_PART, place + 1, version, &[]))
            .collect(),
    }
}

/// The system part: protobuf from 5.5 on, JSON before.
pub(crate) fn system(profile: &Profile, modules: &[ModuleTold]) -> Vec<u8> {
    match profile.generation {
        Generation::Os6 => system_protobuf(modules),
        Generation::Os3 | Generation::Tcp => system_json(profile, modules).into_bytes(),
    }
}

/// The application part: JSON in every version, names unescaped as the firmware writes them.
pub(crate) fn application(description: &ApplicationDescription) -> Vec<u8> {
    let mut json = String::from("{");
    write_application(&mut json, description);
    json.push('}');
    json.into_bytes()
}

/// Both parts in one object, the answer of releases before 3.3 to a request without a query.
pub(crate) fn both(
    profile: &Profile,
    modules: &[ModuleTold],
    description: &ApplicationDescription,
) -> Vec<u8> {
    let mut json = String::from("{");
    write_application(&mut json, description);
    json.push(',');
    json.push_str(system_json(profile, modules).trim_start_matches('{'));
    json.into_bytes()
}

/// The metrics part (§6.7).
pub(crate) fn metrics(values: &[Metric]) -> Vec<u8> {
    let mut bytes = vec![0, 4, 0, 2, 0, 4, 0];
    for metric in values {
        bytes.extend(metric.id.to_le_bytes());
        bytes.extend(metric.value.to_le_bytes());
    }
    bytes
}

fn write_application(json: &mut String, description: &ApplicationDescription) {
    json.push_str("\"f\":[");
    for (index, name) in description.functions.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(json, "{comma}\"{name}\"");
    }
    json.push_str("],\"v\":{");
    for (index, (name, kind)) in description.variables.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(json, "{comma}\"{name}\":{}", *kind as u8);
    }
    json.push('}');
}

fn system_json(profile: &Profile, modules: &[ModuleTold]) -> String {
    let modules: Vec<String> = modules.iter().map(module_json).collect();
    format!("{{\"p\":{},\"m\":[{}]}}", profile.platform.0, modules.join(","))
}

fn module_json(module: &ModuleTold) -> String {
    let needed: Vec<String> = module
        .dependencies
        .iter()
        .map(|(function, index, version)| {
            format!("{{\"f\":\"{}\",\"n\":\"{index}\",\"v\":{version}}}", letter(*function))
        })
        .collect();
    let hash = module.sha256.filter(|_| module.function == USER_PART);
    let hash = hash.map(|hash| format!("\"u\":\"{}\",", hex::encode(hash))).unwrap_or_default();
    format!(
        "{{\"s\":{MODULE_BYTES},\"l\":\"m\",\"vc\":30,\"vv\":30,{hash}\"f\":\"{}\",\"n\":\"{}\",\"v\":{},\"d\":[{}]}}",
        letter(module.function),
        module.index,
        module.version,
        needed.join(",")
    )
}

/// A module function in JSON (`messages.md` §6.6).
fn letter(function: u8) -> char {
    match function {
        BOOTLOADER => 'b',
        MONOLITHIC => 'm',
        SYSTEM_PART => 's',
        USER_PART => 'u',
        _ => 'n',
    }
}

fn system_protobuf(modules: &[ModuleTold]) -> Vec<u8> {
    let firmware_modules = modules.iter().map(Module::of).collect();
    SystemDescribe { firmware_modules }.encode_to_vec()
}

impl Module {
    fn of(told: &ModuleTold) -> Self {
        let dependency = |(kind, index, version): &(u8, u8, u16)| Dependency {
            kind: u32::from(*kind),
            index: u32::from(*index),
            version: u32::from(*version),
        };
        let hash = told.sha256.filter(|_| told.function == USER_PART);
        Self {
            kind: told.function.into(),
            index: told.index.into(),
            version: told.version.into(),
            max_size: MODULE_BYTES,
            checked_flags: VALIDITY,
            passed_flags: VALIDITY,
            hash: hash.map(|hash| hash.to_vec()),
            dependencies: told.dependencies.iter().map(dependency).collect(),
            size: MODULE_BYTES + 4,
        }
    }
}

const BOOTLOADER: u8 = 2;
const MONOLITHIC: u8 = 3;
const SYSTEM_PART: u8 = 4;
/// The function of applications (`ota.md` §5.2).
pub(crate) const USER_PART: u8 = 5;
const MODULE_BYTES: u32 = 10_485_760;
/// Integrity, dependencies, range and platform, checked and passed (§6.6).
const VALIDITY: u32 = 0x1E;

#[derive(Clone, PartialEq, prost::Message)]
struct SystemDescribe {
    #[prost(message, repeated, tag = "1")]
    firmware_modules: Vec<Module>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Module {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint32, tag = "2")]
    index: u32,
    #[prost(uint32, tag = "3")]
    version: u32,
    #[prost(uint32, tag = "5")]
    max_size: u32,
    #[prost(fixed32, tag = "6")]
    checked_flags: u32,
    #[prost(fixed32, tag = "7")]
    passed_flags: u32,
    #[prost(bytes = "vec", optional, tag = "8")]
    hash: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "9")]
    dependencies: Vec<Dependency>,
    #[prost(uint32, tag = "11")]
    size: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Dependency {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint32, tag = "2")]
    index: u32,
    #[prost(uint32, tag = "3")]
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::application::Program;

    #[test]
    fn the_application_part_is_spelled_as_recorded() {
        let json = application(&Program::recorded().description());
        assert_eq!(
            String::from_utf8(json).expect("text"),
            r#"{"f":["echo","neg","set","reset"],"v":{"v_int":2,"v_bool":1,"v_double":9,"v_string":4,"counter":2}}"#
        );
    }

    #[test]
    fn the_whole_description_is_one_object() {
        let description = Program::recorded().description();
        let json = both(&Profile::os3(), &[], &description);
        let value: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(value["p"], 10);
        assert_eq!(value["v"]["v_double"], 9);
        assert!(value["m"].as_array().expect("a list").is_empty());
    }

    #[test]
    fn the_protobuf_is_the_recorded_one() {
        // udp-v6-basic.jsonl, message 2.
        let profile = Profile::os6();
        let recorded = concat!(
            "0a19080218e8072880808005351e0000003d1e0000005884808005",
            "0a20080318b8302880808005351e0000003d1e0000004a05080218e8075884808005"
        );
        assert_eq!(
            hex::encode(system(&profile, &modules(&profile, 1, std::iter::empty()))),
            recorded
        );
    }
}
