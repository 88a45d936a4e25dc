//! What a template may say about the event that caused a request (`api/webhooks.md` §3, §4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::Event;
use model::event::Origin;
use serde_json::{Map, Value, json};

use crate::sse::text_of;

/// Who and what, as a request tells it.
#[derive(Debug, Clone)]
pub(crate) struct Occasion {
    device: String,
    name: String,
    data: String,
    published_at: String,
    id: String,
    product: Option<u32>,
    version: Option<u16>,
    account: String,
}

impl Occasion {
    /// The occasion that an event is, with the firmware version of the device that made it.
    pub(crate) fn of(event: &Event, version: Option<u16>) -> Self {
        let device = match event.origin {
            Origin::Api => "api".into(),
            Origin::Device(id) => id.to_string(),
            Origin::Internal => "particle-internal".into(),
        };
        Self {
            device,
            name: event.name.as_str().to_owned(),
            data: event.data.as_ref().map(|data| text_of(data).into_owned()).unwrap_or_default(),
            published_at: event.published_at.to_string(),
            id: event.id.to_string(),
            product: event.product.map(|product| product.0),
            version,
            account: event.account.to_string(),
        }
    }

    /// The fields that every request carries unless its definition declines.
    pub(crate) fn default_fields(&self) -> [(&'static str, &str); 4] {
        [
            ("event", &self.name),
            ("data", &self.data),
            ("published_at", &self.published_at),
            ("coreid", &self.device),
        ]
    }

    /// All variables; those of the event's own data win.
    pub(crate) fn variables(&self) -> Value {
        let event = json!({
            "name": self.name, "data": self.data, "published_at": self.published_at,
            "coreid": self.device,
        });
        let text = event.to_string();
        let mut variables = Map::new();
        for (name, old_name, value) in [
            ("PARTICLE_DEVICE_ID", "SPARK_CORE_ID", &self.device),
            ("PARTICLE_EVENT_NAME", "SPARK_EVENT_NAME", &self.name),
            ("PARTICLE_EVENT_VALUE", "SPARK_EVENT_VALUE", &self.data),
            ("PARTICLE_PUBLISHED_AT", "SPARK_PUBLISHED_AT", &self.published_at),
        ] {
            variables.insert(name.into(), json!(value));
            variables.insert(old_name.into(), json!(value));
        }
        variables.insert("PARTICLE_EVENT_ID".into(), json!(self.id));
        if let Some(product) = self.product {
            variables.insert("PRODUCT_ID".into(), json!(product));
            variables.insert("PRODUCT_USER_ID".into(), json!(self.account));
            variables.insert("PRODUCT_VERSION".into(), json!(self.version));
        }
        variables.insert("PARTICLE_EVENT_BASE64".into(), json!(BASE64.encode(&text)));
        variables.insert("PARTICLE_EVENT_JSON".into(), json!(text));
        match serde_json::from_str(&self.data) {
            Ok(Value::Object(fields)) => variables.extend(fields),
            Ok(Value::Array(elements)) => {
                let elements = elements.into_iter().enumerate();
                variables.extend(elements.map(|(index, value)| (index.to_string(), value)));
            }
            _ => {}
        }
        Value::Object(variables)
    }
}
