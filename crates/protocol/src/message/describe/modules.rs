//! Modules as a description names them (`messages.md` §6.6).

use model::update::{Dependency, Module, ModuleStore};
use serde_json::Value;

use super::system::{FirmwareModule, ModuleDependency, hash_from_hex};

/// A module of the JSON form; members of another form count as zero.
pub(super) fn from_json(module: &Value) -> Module {
    let number = |key: &str| module.get(key).and_then(Value::as_u64).unwrap_or(0);
    let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
    let dependencies = module.get("d").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    Module {
        store: match text("l") {
            "f" => ModuleStore::Factory,
            "b" => ModuleStore::Backup,
            "t" => ModuleStore::Scratch,
            _ => ModuleStore::Main,
        },
        function: function_of_letter(text("f")),
        index: text("n").parse().unwrap_or(0),
        version: narrow(number("v")),
        valid: number("vc") == number("vv"),
        sha256: hash_from_hex(text("u")),
        dependencies: dependencies.iter().map(dependency_from_json).collect(),
    }
}

fn dependency_from_json(dependency: &Value) -> Dependency {
    let text = |key: &str| dependency.get(key).and_then(Value::as_str).unwrap_or_default();
    Dependency {
        function: function_of_letter(text("f")),
        index: text("n").parse().unwrap_or(0),
        version: narrow(dependency.get("v").and_then(Value::as_u64).unwrap_or(0)),
    }
}

/// A module of the protobuf form.
pub(super) fn from_protobuf(module: &FirmwareModule) -> Module {
    Module {
        store: match module.store {
            1 => ModuleStore::Factory,
            2 => ModuleStore::Backup,
            3 => ModuleStore::Scratch,
            _ => ModuleStore::Main,
        },
        function: u8::try_from(module.module_type).unwrap_or(0),
        index: u8::try_from(module.index).unwrap_or(0),
        version: narrow(module.version.into()),
        valid: module.checked_flags == module.passed_flags,
        sha256: module.hash.as_deref().and_then(|hash| hash.try_into().ok()),
        dependencies: module.dependencies.iter().map(dependency_from_protobuf).collect(),
    }
}

fn dependency_from_protobuf(dependency: &ModuleDependency) -> Dependency {
    Dependency {
        function: u8::try_from(dependency.module_type).unwrap_or(0),
        index: u8::try_from(dependency.index).unwrap_or(0),
        version: narrow(dependency.version.into()),
    }
}

fn function_of_letter(letter: &str) -> u8 {
    match letter {
        "r" => 1,
        "b" => 2,
        "m" => 3,
        "s" => 4,
        "u" => 5,
        "c" => 7,
        "a" => 8,
        _ => 0,
    }
}

fn narrow(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
