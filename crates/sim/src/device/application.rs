//! The application on a simulated device: its variables, functions and subscriptions, and a record
//! of what reached it.

use std::sync::Arc;

use model::{ApplicationDescription, VariableType};

/// What an application registers; shared by all devices that run it.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Functions by name with what they do, in the order of registration.
    pub functions: Vec<(String, Function)>,
    /// Variables by name with their first value, in the order of registration.
    pub variables: Vec<(String, Value)>,
    /// Prefixes it subscribes to, in order; at most four on real devices.
    pub subscriptions: Vec<Subscription>,
}

/// A subscription of an application.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subscription {
    /// Beginning of the event names.
    pub prefix: String,
    /// Device OS ≤ 6.1: restrict it to the owner's devices (query `u`).
    pub own_devices: bool,
    /// Device OS ≥ 6.2: take every content format (query `b`).
    pub any_content: bool,
}

/// What a function does with its argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Returns the number of bytes of its argument.
    Echo,
    /// Returns −1.
    Negative,
    /// Parses its argument and puts the number into every variable (a quarter of it into a double),
    /// as the recorded application does; returns it.
    Set,
    /// Resets the device: the call is acknowledged and never answered.
    Reset,
    /// Returns this number.
    Constant(i32),
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// 1 byte on the wire.
    Bool(bool),
    /// 4 bytes, big-endian.
    Int(i32),
    /// 8 bytes, little-endian.
    Double(f64),
    /// Its bytes.
    String(String),
    /// An int that grows by one with each event the application publishes.
    Counter(i32),
}

/// An event that reached a subscription's handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedEvent {
    /// Its name, joined with slashes.
    pub name: String,
    /// Its data; `None` when there was no payload.
    pub data: Option<Vec<u8>>,
    /// Its content format; 0 is text.
    pub format: u16,
}

/// How a call of a function ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Called {
    Returned(i32),
    Reset,
    Unknown,
}

/// The running application of one device.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    program: Arc<Program>,
    values: Vec<Value>,
}

impl Program {
    /// The application of the recordings: `v_int`, `v_double`, `v_string`, `v_bool` and `counter`;
    /// `echo`, `neg`, `set` and `reset`; subscriptions `test/` and `mine`.
    pub fn recorded() -> Self {
        let functions = [
            ("echo", Function::Echo),
            ("neg", Function::Negative),
            ("set", Function::Set),
            ("reset", Function::Reset),
        ];
        let variables = [
            ("v_int", Value::Int(42)),
            ("v_bool", Value::Bool(true)),
            ("v_double", Value::Double(3.25)),
            ("v_string", Value::String("hello".into())),
            ("counter", Value::Counter(0)),
        ];
        Self {
            functions: functions.map(|(name, does)| (name.to_owned(), does)).into(),
            variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
            subscriptions: vec![Subscription::all("test/"), Subscription::own("mine")],
        }
    }

    /// What the application part of a Describe tells.
    pub fn description(&self) -> ApplicationDescription {
        ApplicationDescription {
            functions: self.functions.iter().map(|(name, _)| name.as_str().into()).collect(),
            variables: self
                .variables
                .iter()
                .map(|(name, value)| (name.as_str().into(), value.variable_type()))
                .collect(),
        }
    }
}

impl Subscription {
    /// Every device's events, where the release still knows that.
    pub fn all(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), own_devices: false, any_content: false }
    }

    /// The owner's devices' events.
    pub fn own(prefix: &str) -> Self {
        Self { own_devices: true, ..Self::all(prefix) }
    }
}

impl Value {
    fn variable_type(&self) -> VariableType {
        match self {
            Self::Bool(_) => VariableType::Bool,
            Self::Double(_) => VariableType::Double,
            Self::Int(_) | Self::Counter(_) => VariableType::Int,
            Self::String(_) => VariableType::String,
        }
    }

    fn payload(&self) -> Vec<u8> {
        match self {
            Self::Bool(value) => vec![u8::from(*value)],
            Self::Double(value) => value.to_le_bytes().to_vec(),
            Self::Int(value) | Self::Counter(value) => value.to_be_bytes().to_vec(),
            Self::String(value) => value.as_bytes().to_vec(),
        }
    }

    fn assign(&mut self, number: i32) {
        match self {
            Self::Bool(value) => *value = number != 0,
            Self::Double(value) => *value = f64::from(number) / 4.0,
            Self::Int(value) | Self::Counter(value) => *value = number,
            Self::String(value) => *value = number.to_string(),
        }
    }
}

impl Application {
    pub(crate) fn new(program: Arc<Program>) -> Self {
        let values = program.variables.iter().map(|(_, value)| value.clone()).collect();
        Self { program, values }
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// Runs the function of exactly this name.
    pub(crate) fn call(&mut self, name: &[u8], argument: &[u8]) -> Called {
        let Some((_, function)) =
            self.program.functions.iter().find(|(known, _)| known.as_bytes() == name)
        else {
            return Called::Unknown;
        };
        match *function {
            Function::Constant(number) => Called::Returned(number),
            Function::Echo => Called::Returned(i32::try_from(argument.len()).unwrap_or(i32::MAX)),
            Function::Negative => Called::Returned(-1),
            Function::Reset => Called::Reset,
            Function::Set => Called::Returned(self.set(argument)),
        }
    }

    /// The payload of the variable of exactly this name.
    pub(crate) fn read(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.index_of(name).map(|index| self.values[index].payload())
    }

    /// Replaces the value of a variable; false if there is none of this name.
    pub(crate) fn assign(&mut self, name: &str, value: Value) -> bool {
        let index = self.index_of(name.as_bytes());
        if let Some(index) = index {
            self.values[index] = value;
        }
        index.is_some()
    }

    pub(crate) fn count_publish(&mut self) {
        for value in &mut self.values {
            if let Value::Counter(count) = value {
                *count = count.wrapping_add(1);
            }
        }
    }

    fn index_of(&self, name: &[u8]) -> Option<usize> {
        self.program.variables.iter().position(|(known, _)| known.as_bytes() == name)
    }

    fn set(&mut self, argument: &[u8]) -> i32 {
        let number = std::str::from_utf8(argument).ok().and_then(|text| text.trim().parse().ok());
        let number = number.unwrap_or(0);
        for value in &mut self.values {
            if !matches!(value, Value::Counter(_)) {
                value.assign(number);
            }
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application() -> Application {
        Application::new(Arc::new(Program::recorded()))
    }

    #[test]
    fn values_have_the_bytes_of_the_recordings() {
        let application = application();
        assert_eq!(application.read(b"v_int"), Some(vec![0, 0, 0, 42]));
        assert_eq!(application.read(b"v_bool"), Some(vec![1]));
        assert_eq!(application.read(b"v_double"), Some(vec![0, 0, 0, 0, 0, 0, 0x0A, 0x40]));
        assert_eq!(application.read(b"v_string"), Some(b"hello".to_vec()));
        assert_eq!(application.read(b"nosuch"), None);
    }

    #[test]
    fn set_changes_every_variable_as_the_recorded_application_does() {
        let mut application = application();
        assert_eq!(application.call(b"set", b"1234567"), Called::Returned(1_234_567));
        assert_eq!(application.read(b"v_int"), Some(vec![0, 0x12, 0xD6, 0x87]));
        assert_eq!(application.read(b"v_string"), Some(b"1234567".to_vec()));
        assert_eq!(application.read(b"v_double"), Some(vec![0, 0, 0, 0, 0x87, 0xD6, 0x12, 0x41]));
    }

    #[test]
    fn function_names_match_by_case() {
        let mut application = application();
        assert_eq!(application.call(b"echo", b"hello world"), Called::Returned(11));
        assert_eq!(application.call(b"Echo", b"x"), Called::Unknown);
        assert_eq!(application.call(b"neg", b"x"), Called::Returned(-1));
        assert_eq!(application.call(b"reset", b""), Called::Reset);
    }
}
