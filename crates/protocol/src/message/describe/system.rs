//! The system part (`messages.md` §6.6): JSON before 5.5, protobuf from then on.

use model::SystemDescription;
use model::update::Module;

use super::{BAD_JSON, modules};
use crate::message::CoapError;

/// Reads the JSON; members of it that are of another form count as absent.
///
/// # Errors
/// 4.00: no JSON object.
pub fn parse_json(json: &[u8]) -> Result<SystemDescription, CoapError> {
    use serde_json::Value;
    let object: serde_json::Map<String, Value> =
        serde_json::from_slice(json).map_err(|_| BAD_JSON)?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(Into::into);
    let modules = object.get("m").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let hash = modules
        .iter()
        .filter(|module| module.get("f").and_then(Value::as_str) == Some("u"))
        .find_map(|module| module.get("u").and_then(Value::as_str).and_then(hash_from_hex));
    Ok(SystemDescription {
        raw: json.to_vec(),
        protobuf: false,
        imei: text("imei"),
        iccid: text("iccid"),
        modem_firmware: text("cellfw"),
        application_hash: hash,
        modules: modules.iter().map(modules::from_json).collect(),
    })
}

/// What a device consists of, read out of the description it sent.
///
/// # Errors
/// 4.00: the description is not as it was sent.
pub fn modules(description: &SystemDescription) -> Result<Vec<Module>, CoapError> {
    let told = match description.protobuf {
        true => parse_protobuf(&description.raw),
        false => parse_json(&description.raw),
    };
    Ok(told?.modules)
}

pub(super) fn hash_from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Reads the protobuf message `particle.cloud.SystemDescribe`; fields nobody knows are skipped.
///
/// # Errors
/// 4.00: no protobuf.
pub fn parse_protobuf(payload: &[u8]) -> Result<SystemDescription, CoapError> {
    let told = <SystemDescribe as prost::Message>::decode(payload)
        .map_err(|_| CoapError::bad_request("a system description that is no protobuf"))?;
    let user = told.firmware_modules.iter().filter(|module| module.module_type == USER_PART);
    let hash = user.flat_map(|module| module.hash.as_deref()).find_map(|h| h.try_into().ok());
    Ok(SystemDescription {
        raw: payload.to_vec(),
        protobuf: true,
        imei: told.imei.map(Into::into),
        iccid: told.iccid.map(Into::into),
        modem_firmware: told.modem_firmware_version.map(Into::into),
        application_hash: hash,
        modules: told.firmware_modules.iter().map(modules::from_protobuf).collect(),
    })
}

/// Module type 5.
const USER_PART: i32 = 5;

/// `particle.cloud.SystemDescribe`, as far as it is built and read here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SystemDescribe {
    /// Modules in flash.
    #[prost(message, repeated, tag = "1")]
    pub firmware_modules: Vec<FirmwareModule>,
    /// Identity of the modem.
    #[prost(string, optional, tag = "2")]
    pub imei: Option<String>,
    /// Identity of the SIM.
    #[prost(string, optional, tag = "3")]
    pub iccid: Option<String>,
    /// Version of the modem's firmware.
    #[prost(string, optional, tag = "4")]
    pub modem_firmware_version: Option<String>,
}

/// A module of [`SystemDescribe`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct FirmwareModule {
    /// 1 resource, 2 bootloader, 3 monolithic, 4 system part, 5 user part, 6 settings, 7 NCP,
    /// 8 radio stack, 9 asset.
    #[prost(int32, tag = "1")]
    pub module_type: i32,
    /// Index among the modules of its type.
    #[prost(uint32, tag = "2")]
    pub index: u32,
    /// Version.
    #[prost(uint32, tag = "3")]
    pub version: u32,
    /// 0 main, 1 factory, 2 backup, 3 scratchpad.
    #[prost(int32, tag = "4")]
    pub store: i32,
    /// Largest size of the slot, in bytes.
    #[prost(uint32, tag = "5")]
    pub max_size: u32,
    /// Validity bits that were checked.
    #[prost(fixed32, tag = "6")]
    pub checked_flags: u32,
    /// Validity bits that passed.
    #[prost(fixed32, tag = "7")]
    pub passed_flags: u32,
    /// SHA-256, user part only.
    #[prost(bytes = "vec", optional, tag = "8")]
    pub hash: Option<Vec<u8>>,
    /// What must be there for it to run.
    #[prost(message, repeated, tag = "9")]
    pub dependencies: Vec<ModuleDependency>,
    /// Size in bytes.
    #[prost(uint32, tag = "11")]
    pub size: u32,
}

/// A dependency of a [`FirmwareModule`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ModuleDependency {
    /// See [`FirmwareModule::module_type`].
    #[prost(int32, tag = "1")]
    pub module_type: i32,
    /// Index among the modules of its type.
    #[prost(uint32, tag = "2")]
    pub index: u32,
    /// Lowest version.
    #[prost(uint32, tag = "3")]
    pub version: u32,
}

impl SystemDescribe {
    /// The payload of a device from 5.5 on.
    pub fn to_protobuf(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(self)
    }

    /// The payload of a device before 5.5.
    pub fn to_json(&self, platform: u16) -> String {
        let mut members = vec![format!(r#""p":{platform}"#)];
        let identities = [
            ("imei", &self.imei),
            ("iccid", &self.iccid),
            ("cellfw", &self.modem_firmware_version),
        ];
        for (key, value) in identities {
            members.extend(value.as_deref().map(|v| format!(r#""{key}":{}"#, json_text(v))));
        }
        let modules: Vec<_> = self.firmware_modules.iter().map(FirmwareModule::to_json).collect();
        members.push(format!(r#""m":[{}]"#, modules.join(",")));
        format!("{{{}}}", members.join(","))
    }
}

impl FirmwareModule {
    fn to_json(&self) -> String {
        let location = match self.store {
            1 => "f",
            2 => "b",
            3 => "t",
            _ => "m",
        };
        let hash = self.hash.as_deref().map_or_else(String::new, |hash| {
            let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            format!(r#""u":"{digits}","#)
        });
        let dependencies: Vec<_> =
            self.dependencies.iter().map(ModuleDependency::to_json).collect();
        format!(
            r#"{{"s":{},"l":"{location}","vc":{},"vv":{},{hash}"f":"{}","n":"{}","v":{},"d":[{}]}}"#,
            self.max_size,
            self.checked_flags,
            self.passed_flags,
            function_letter(self.module_type),
            self.index,
            self.version,
            dependencies.join(","),
        )
    }
}

impl ModuleDependency {
    fn to_json(&self) -> String {
        let letter = function_letter(self.module_type);
        format!(r#"{{"f":"{letter}","n":"{}","v":{}}}"#, self.index, self.version)
    }
}

fn function_letter(module_type: i32) -> char {
    match module_type {
        0 => 'n',
        1 => 'r',
        2 => 'b',
        3 => 'm',
        4 => 's',
        5 => 'u',
        7 => 'c',
        8 => 'a',
        _ => '_',
    }
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SystemDescribe {
        SystemDescribe {
            firmware_modules: vec![FirmwareModule {
                module_type: 5,
                index: 1,
                version: 6,
                max_size: 131_072,
                checked_flags: 30,
                passed_flags: 30,
                hash: Some(vec![0xab; 32]),
                dependencies: vec![ModuleDependency { module_type: 4, index: 1, version: 6200 }],
                ..FirmwareModule::default()
            }],
            imei: Some("352753090042138".to_owned()),
            iccid: Some("89430301722110385510".to_owned()),
            modem_firmware_version: Some("L0.0".to_owned()),
        }
    }

    #[test]
    fn both_forms_tell_the_same() {
        let protobuf = parse_protobuf(&sample().to_protobuf()).expect("well formed");
        let json = parse_json(sample().to_json(13).as_bytes()).expect("well formed");
        assert!(protobuf.protobuf && !json.protobuf);
        assert_eq!(protobuf.application_hash, Some([0xab; 32]));
        let facts = |s: &SystemDescription| {
            let hash = s.application_hash;
            (s.imei.clone(), s.iccid.clone(), s.modem_firmware.clone(), hash, s.modules.clone())
        };
        assert_eq!(facts(&protobuf), facts(&json));
    }

    #[test]
    fn a_hash_of_another_length_or_alphabet_is_absent() {
        for hash in ["", "ab", &"zz".repeat(32), &"é".repeat(32)] {
            let json = format!(r#"{{"m":[{{"f":"u","u":"{hash}"}}]}}"#);
            let description = parse_json(json.as_bytes()).expect("well formed");
            assert_eq!(description.application_hash, None);
        }
    }
}
