//! The modules a device consists of, as its system Describe tells them (`messages.md` §6.6).

use model::SystemDescription;
use serde_json::Value;

use super::{Dependency, Function};
use crate::message::describe::system::{FirmwareModule, SystemDescribe};

/// Modules read from one Describe; more are no device's.
const MODULES_MAX: usize = 256;
/// Validity bit: the module's own bytes are whole.
const INTEGRITY: u32 = 0x02;
const MAIN_STORE: i32 = 0;

/// A module in a device's main store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// What it is.
    pub function: Function,
    /// Its place among those of its function.
    pub index: u8,
    /// Its version.
    pub version: u16,
    /// Whether its bytes are whole. A module that is not is as good as absent.
    pub is_whole: bool,
    /// What it needs.
    pub dependencies: Vec<Dependency>,
    /// The SHA-256 of its suffix; told of applications alone.
    pub hash: Option<[u8; 32]>,
}

/// The modules in the main store of a device. What cannot be read is left out: a description is kept
/// as the device sent it.
pub fn modules(description: &SystemDescription) -> Vec<Module> {
    if description.protobuf {
        let told = <SystemDescribe as prost::Message>::decode(&description.raw[..]);
        let modules = told.map(|told| told.firmware_modules).unwrap_or_default();
        return modules.iter().take(MODULES_MAX).filter_map(from_protobuf).collect();
    }
    let told: Value = serde_json::from_slice(&description.raw).unwrap_or(Value::Null);
    let modules = told.get("m").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    modules.iter().take(MODULES_MAX).filter_map(from_json).collect()
}

fn from_protobuf(told: &FirmwareModule) -> Option<Module> {
    if told.store != MAIN_STORE {
        return None;
    }
    let dependencies = told.dependencies.iter().filter_map(|needed| {
        dependency(needed.module_type, u64::from(needed.index), u64::from(needed.version))
    });
    let own = dependency(told.module_type, u64::from(told.index), u64::from(told.version))?;
    Some(Module {
        function: own.function,
        index: own.index,
        version: own.version,
        is_whole: told.checked_flags & INTEGRITY & !told.passed_flags == 0,
        dependencies: dependencies.collect(),
        hash: told.hash.as_deref().and_then(|hash| hash.try_into().ok()),
    })
}

fn from_json(told: &Value) -> Option<Module> {
    if told.get("l").and_then(Value::as_str) != Some("m") {
        return None;
    }
    let own = dependency_from_json(told)?;
    let needed = told.get("d").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let bits = |key: &str| told.get(key).and_then(Value::as_u64).unwrap_or(0);
    let hash = told.get("u").and_then(Value::as_str).and_then(|text| {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
    });
    Some(Module {
        function: own.function,
        index: own.index,
        version: own.version,
        is_whole: bits("vc") & u64::from(INTEGRITY) & !bits("vv") == 0,
        dependencies: needed.iter().filter_map(dependency_from_json).collect(),
        hash,
    })
}

fn dependency_from_json(told: &Value) -> Option<Dependency> {
    let number = match told.get("f").and_then(Value::as_str)? {
        "b" => 2,
        "m" => 3,
        "s" => 4,
        "u" => 5,
        "c" => 7,
        "a" => 8,
        _ => return None,
    };
    let index = match told.get("n")? {
        Value::String(text) => text.parse().ok()?,
        other => other.as_u64()?,
    };
    dependency(number, index, told.get("v").and_then(Value::as_u64).unwrap_or(0))
}

fn dependency(function: i32, index: u64, version: u64) -> Option<Dependency> {
    let number = u8::try_from(function).ok()?;
    Some(Dependency {
        function: Function::from_number(number)?,
        index: u8::try_from(index).ok()?,
        version: u16::try_from(version).ok()?,
    })
}
