//! What a simulated device tells about itself (`messages.md` §6).

use std::fmt::Write as _;

use model::{ApplicationDescription, Metric};
use prost::Message as _;

use super::profile::{Generation, Profile};
use super::update::Installed;

/// The system part: protobuf from 5.5 on, JSON before.
pub(crate) fn system(profile: &Profile, modules: u32, installed: Option<&Installed>) -> Vec<u8> {
    match profile.generation {
        Generation::Os6 => system_protobuf(profile, modules, installed),
        Generation::Os3 | Generation::Tcp => system_json(profile, modules, installed).into_bytes(),
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
    modules: u32,
    installed: Option<&Installed>,
    description: &ApplicationDescription,
) -> Vec<u8> {
    let mut json = String::from("{");
    write_application(&mut json, description);
    json.push(',');
    json.push_str(system_json(profile, modules, installed).trim_start_matches('{'));
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

fn system_json(profile: &Profile, modules: u32, installed: Option<&Installed>) -> String {
    let mut json = format!("{{\"p\":{},\"m\":[", profile.platform.0);
    for index in 0..modules {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(
            json,
            "{comma}{{\"s\":{MODULE_BYTES},\"l\":\"m\",\"vc\":30,\"vv\":30,\"f\":\"s\",\
             \"n\":\"{}\",\"v\":{},\"d\":[]}}",
            index + 1,
            profile.system_version
        );
    }
    if let Some(installed) = installed {
        let comma = if modules == 0 { "" } else { "," };
        let _ = write!(
            json,
            "{comma}{{\"s\":{MODULE_BYTES},\"l\":\"m\",\"vc\":30,\"vv\":30,\"u\":\"{}\",\"f\":\"u\",\
             \"n\":\"{}\",\"v\":{},\"d\":[]}}",
            hex::encode(installed.sha256),
            installed.index,
            installed.version
        );
    }
    json.push_str("]}");
    json
}

fn system_protobuf(profile: &Profile, modules: u32, installed: Option<&Installed>) -> Vec<u8> {
    let bootloader = Module::new(2, 0, 1000);
    let system = |index: u32| Module {
        dependencies: vec![Dependency { kind: 2, index: 0, version: 1000 }],
        ..Module::new(if index == 0 { 3 } else { 4 }, index, u32::from(profile.system_version))
    };
    let applied = installed.map(|installed| Module {
        hash: Some(installed.sha256.to_vec()),
        ..Module::new(installed.function.into(), installed.index.into(), installed.version.into())
    });
    let modules = std::iter::once(bootloader).chain((0..modules).map(system)).chain(applied);
    let modules = modules.collect();
    SystemDescribe { firmware_modules: modules }.encode_to_vec()
}

impl Module {
    fn new(kind: u32, index: u32, version: u32) -> Self {
        Self {
            kind,
            index,
            version,
            max_size: MODULE_BYTES,
            checked_flags: VALIDITY,
            passed_flags: VALIDITY,
            hash: None,
            dependencies: Vec::new(),
            size: MODULE_BYTES + 4,
        }
    }
}

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
        let json = both(&Profile::os3(), 0, None, &description);
        let value: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(value["p"], 10);
        assert_eq!(value["v"]["v_double"], 9);
        assert!(value["m"].as_array().expect("a list").is_empty());
    }

    #[test]
    fn the_protobuf_is_the_recorded_one() {
        // udp-v6-basic.jsonl, message 2.
        let recorded = concat!(
            "0a19080218e8072880808005351e0000003d1e0000005884808005",
            "0a20080318b8302880808005351e0000003d1e0000004a05080218e8075884808005"
        );
        assert_eq!(hex::encode(system(&Profile::os6(), 1, None)), recorded);
    }
}
