//! What a device says it can do, and what it consists of (`messages.md` §6).

use serde::{Deserialize, Serialize};

use crate::update::Module;

/// One part of a Describe, complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DescribePart {
    /// Functions and variables.
    Application(ApplicationDescription),
    /// Modules and identities of the modem.
    System(SystemDescription),
    /// Vitals.
    Metrics(Vec<Metric>),
}

/// The functions and variables of a device's application.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ApplicationDescription {
    /// Function names, as registered.
    pub functions: Vec<Box<str>>,
    /// Variable names, as registered, with their types.
    pub variables: Vec<(Box<str>, VariableType)>,
}

impl ApplicationDescription {
    /// The function of this name: exactly, else the only one that differs in case alone.
    pub fn function(&self, name: &str) -> Option<&str> {
        pick(self.functions.iter().map(|f| &**f), name)
    }

    /// The variable of this name: exactly, else the only one that differs in case alone.
    pub fn variable(&self, name: &str) -> Option<(&str, VariableType)> {
        let found = pick(self.variables.iter().map(|(v, _)| &**v), name)?;
        self.variables.iter().find(|(v, _)| &**v == found).map(|(v, t)| (&**v, *t))
    }
}

fn pick<'a>(names: impl Iterator<Item = &'a str> + Clone, wanted: &str) -> Option<&'a str> {
    if let Some(exact) = names.clone().find(|name| *name == wanted) {
        return Some(exact);
    }
    let mut close = names.filter(|name| name.eq_ignore_ascii_case(wanted));
    let first = close.next()?;
    close.next().is_none().then_some(first)
}

/// The type of a variable; its number on the wire is the discriminant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VariableType {
    /// 1 byte, 0 or 1.
    Bool = 1,
    /// 32-bit signed.
    Int = 2,
    /// Text.
    String = 4,
    /// IEEE 754 double, little-endian on the wire.
    Double = 9,
}

impl VariableType {
    /// The API's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Double => "double",
            Self::Int => "int32",
            Self::String => "string",
        }
    }
}

/// The value of a variable, of the type its description names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum VariableValue {
    /// [`VariableType::Bool`]
    Bool(bool),
    /// [`VariableType::Double`]
    Double(f64),
    /// [`VariableType::Int`]
    Int(i32),
    /// [`VariableType::String`]
    String(Box<str>),
}

impl VariableValue {
    /// Reads the payload of an answer to a variable request (`messages.md` §8.2); the type is not on
    /// the wire. Bytes of a text that are no UTF-8 are replaced. Absent if the length does not suit the
    /// type: the device described something else than it sent.
    pub fn read(variable_type: VariableType, payload: &[u8]) -> Option<Self> {
        Some(match variable_type {
            VariableType::Bool => Self::Bool(<[u8; 1]>::try_from(payload).ok()? != [0]),
            VariableType::Double => Self::Double(f64::from_le_bytes(payload.try_into().ok()?)),
            VariableType::Int => Self::Int(i32::from_be_bytes(payload.try_into().ok()?)),
            VariableType::String => Self::String(String::from_utf8_lossy(payload).into()),
        })
    }

    /// The payload that says this value.
    pub fn to_payload(&self) -> Vec<u8> {
        match self {
            Self::Bool(value) => vec![u8::from(*value)],
            Self::Double(value) => value.to_le_bytes().to_vec(),
            Self::Int(value) => value.to_be_bytes().to_vec(),
            Self::String(value) => value.as_bytes().to_vec(),
        }
    }
}

/// What a device consists of. The payload is kept as the device sent it; the fields beside it are
/// read out of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SystemDescription {
    /// The payload as sent: JSON up to Device OS 5.4, protobuf from 5.5 on.
    pub raw: Vec<u8>,
    /// Whether `raw` is protobuf.
    pub protobuf: bool,
    /// Identity of the modem.
    pub imei: Option<Box<str>>,
    /// Identity of the SIM.
    pub iccid: Option<Box<str>>,
    /// Version of the modem's firmware.
    pub modem_firmware: Option<Box<str>>,
    /// SHA-256 of the application binary.
    pub application_hash: Option<[u8; 32]>,
    /// What it consists of. Not kept: it is read out of `raw` again.
    #[serde(skip)]
    pub modules: Vec<Module>,
}

/// One vital sign: an id of `messages.md` §6.7 and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Source; 0x8000 and above means failed, or the application's own.
    pub id: u16,
    /// The value, or a system error when the source failed.
    pub value: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_by_the_described_type_and_doubles_are_little_endian() {
        for (bytes, value) in [
            (&[1][..], VariableValue::Bool(true)),
            (&[0xff, 0xff, 0xff, 0xfb], VariableValue::Int(-5)),
            (&[0, 0, 0, 0, 0, 0x80, 0x35, 0x40], VariableValue::Double(21.5)),
            (b"", VariableValue::String("".into())),
        ] {
            let variable_type = match value {
                VariableValue::Bool(_) => VariableType::Bool,
                VariableValue::Double(_) => VariableType::Double,
                VariableValue::Int(_) => VariableType::Int,
                VariableValue::String(_) => VariableType::String,
            };
            assert_eq!(value.to_payload(), bytes);
            assert_eq!(VariableValue::read(variable_type, bytes), Some(value));
        }
        assert_eq!(VariableValue::read(VariableType::Int, &[1, 2]), None);
    }

    #[test]
    fn names_match_exactly_first_and_by_case_only_when_unambiguous() {
        let description = ApplicationDescription {
            functions: vec!["Led".into(), "LED".into(), "echo".into()],
            variables: vec![("Temp".into(), VariableType::Double)],
        };
        assert_eq!(description.function("LED"), Some("LED"));
        assert_eq!(description.function("led"), None);
        assert_eq!(description.function("ECHO"), Some("echo"));
        assert_eq!(description.variable("temp"), Some(("Temp", VariableType::Double)));
        assert_eq!(description.variable("nosuch"), None);
    }
}
