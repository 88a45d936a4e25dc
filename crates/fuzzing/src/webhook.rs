//! Templates of webhooks: parsed and rendered within their bound, and no value breaks out of an
//! encoded place.

use serde_json::Value;
use web::template::{Inserted, Template};

use crate::script::Script;

/// See there.
const RENDERED_BYTES_MAX: usize = 256 * 1024;

pub(crate) fn run(input: &[u8]) {
    let mut script = Script(input);
    let text = script.text();
    let Ok(template) = Template::parse(&text) else { return };
    let variables = serde_json::from_slice(script.0)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(script.0)));
    for how in [Inserted::Plain, Inserted::PercentEncoded] {
        let Ok(rendered) = template.render(&variables, how) else { continue };
        assert!(rendered.len() <= RENDERED_BYTES_MAX, "{} bytes", rendered.len());
        if let Some(constant) = template.constant() {
            assert_eq!(rendered, constant);
        }
    }
}
