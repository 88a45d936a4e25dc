//! Which messages are counted, and as what (`metering/rules.md` §2 and §3).

use std::sync::Arc;

use model::journal::{MessageName, OperationKind};
use model::message::Publish;
use model::{CloudMessage, Event, Origin};

/// As what a publish of a device that reached the cloud counts; absent: it never counts.
pub fn kind_of_publish(publish: &Publish) -> Option<OperationKind> {
    (!publish.name.is_internal()).then_some(OperationKind::Publish)
}

/// As what a second copy of a publish counts; absent: it never counts.
pub fn kind_of_copy(publish: &Publish) -> Option<OperationKind> {
    (!publish.name.is_internal()).then_some(OperationKind::PublishCopy)
}

/// As what an event sent to a device counts; absent: it never counts.
pub fn kind_of_delivery(event: &Event) -> Option<OperationKind> {
    let kind = match event.origin {
        // The cloud makes no other events with names that count.
        Origin::Internal => OperationKind::WebhookAnswer,
        Origin::Api | Origin::Device(_) => OperationKind::Delivery,
    };
    (!event.name.is_internal()).then_some(kind)
}

/// As what each attempt of a message to a device counts; absent: it never counts. A ping counts once,
/// and only if a user asked for it, which its sender knows.
pub fn kind_of_message(message: &CloudMessage) -> Option<OperationKind> {
    match message {
        CloudMessage::Event { event, .. } => kind_of_delivery(event),
        CloudMessage::FunctionCall { .. } => Some(OperationKind::FunctionCall),
        CloudMessage::Ping => Some(OperationKind::Ping),
        CloudMessage::VariableRequest { .. } => Some(OperationKind::VariableRequest),
        CloudMessage::Describe(_) | CloudMessage::KeyChange | CloudMessage::Signal(_) => None,
    }
}

/// What a message to a device is named in the list of what was counted.
pub fn name_of_message(message: &CloudMessage) -> MessageName {
    match message {
        CloudMessage::Event { event, .. } => MessageName::Event(Arc::clone(event)),
        CloudMessage::FunctionCall { name, .. } | CloudMessage::VariableRequest { name, .. } => {
            MessageName::Call(Arc::from(&**name))
        }
        CloudMessage::Describe(_)
        | CloudMessage::KeyChange
        | CloudMessage::Ping
        | CloudMessage::Signal(_) => MessageName::None,
    }
}

/// Bytes of payload of a message to a device, as they are recorded beside its operations.
pub fn bytes_of_message(message: &CloudMessage) -> usize {
    match message {
        CloudMessage::Event { event, .. } => event.data_bytes(),
        CloudMessage::FunctionCall { argument, .. } => argument.len(),
        CloudMessage::Describe(_)
        | CloudMessage::KeyChange
        | CloudMessage::Ping
        | CloudMessage::Signal(_)
        | CloudMessage::VariableRequest { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::EventName;

    #[test]
    fn internal_publishes_never_count() {
        for (name, kind) in [
            ("temp", Some(OperationKind::Publish)),
            ("spark/device/diagnostics/update", None),
            ("particle/anything", None),
            ("Spark/x", Some(OperationKind::Publish)),
        ] {
            let name = EventName::parse(name.as_bytes()).expect("a name");
            let publish = Publish { name, data: None, ttl_s: 60 };
            assert_eq!(kind_of_publish(&publish), kind, "{}", publish.name);
        }
    }

    #[test]
    fn signals_key_changes_and_describes_never_count() {
        for message in
            [CloudMessage::Signal(true), CloudMessage::KeyChange, CloudMessage::Describe(1)]
        {
            assert_eq!(kind_of_message(&message), None, "{message:?}");
        }
    }
}
