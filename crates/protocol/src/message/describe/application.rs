//! The application part (`messages.md` §6.5): `{"f":["name"],"v":{"name":4}}`.

use std::fmt;

use model::{ApplicationDescription, VariableType};
use serde::de::{Deserializer, MapAccess, Visitor};

use super::BAD_JSON;
use crate::message::CoapError;

/// Reads the JSON. Variables of a type nobody knows are left out.
///
/// # Errors
/// 4.00: no JSON object, or members of another form.
pub fn parse(json: &[u8]) -> Result<ApplicationDescription, CoapError> {
    #[derive(serde::Deserialize)]
    struct Application {
        #[serde(default)]
        f: Vec<Box<str>>,
        #[serde(default)]
        v: Variables,
    }
    let told: Application = serde_json::from_slice(json).map_err(|_| BAD_JSON)?;
    Ok(ApplicationDescription { functions: told.f, variables: told.v.0 })
}

/// Writes the JSON as a device does.
pub fn to_json(description: &ApplicationDescription) -> String {
    let text = |name: &str| serde_json::Value::from(name).to_string();
    let functions: Vec<_> = description.functions.iter().map(|name| text(name)).collect();
    let variables: Vec<_> = description
        .variables
        .iter()
        .map(|(name, variable_type)| format!("{}:{}", text(name), *variable_type as u8))
        .collect();
    format!(r#"{{"f":[{}],"v":{{{}}}}}"#, functions.join(","), variables.join(","))
}

/// A list, because an object's members are in the order of registration.
#[derive(Default)]
struct Variables(Vec<(Box<str>, VariableType)>);

impl<'de> serde::Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Variables;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of type numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Variables, A::Error> {
                let mut variables = Vec::new();
                while let Some((name, number)) = members.next_entry::<Box<str>, i64>()? {
                    variables.extend(variable_type(number).map(|known| (name, known)));
                }
                Ok(Variables(variables))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn variable_type(number: i64) -> Option<VariableType> {
    match number {
        1 => Some(VariableType::Bool),
        2 => Some(VariableType::Int),
        4 => Some(VariableType::String),
        9 => Some(VariableType::Double),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_order_and_are_written_as_a_device_writes_them() {
        let json = r#"{"f":["brew","led"],"v":{"temp":9,"name":4,"count":2,"on":1}}"#;
        let description = parse(json.as_bytes()).expect("well formed");
        assert_eq!(description.functions.len(), 2);
        assert_eq!(description.variables[0], ("temp".into(), VariableType::Double));
        assert_eq!(to_json(&description), json);
    }

    #[test]
    fn either_list_may_be_missing_and_unknown_types_are_left_out() {
        assert_eq!(parse(b"{}"), Ok(ApplicationDescription::default()));
        let description = parse(br#"{"v":{"a":7,"b":2},"m":[{}]}"#).expect("well formed");
        assert_eq!(description.variables, [("b".into(), VariableType::Int)]);
    }
}
