//! Vital signs by name (`messages.md` §6.7).

use crate::Metric;

/// Numbers from here on are of sources that failed, and of the application, which look alike.
const FAILED: u16 = 0x8000;

/// Names and values of what a device told; those that failed are left out.
pub fn named(metrics: &[Metric]) -> impl Iterator<Item = (String, i32)> {
    let told = metrics.iter().filter(|metric| metric.id < FAILED);
    told.map(|metric| (name_of(metric.id), metric.value))
}

/// The same as a JSON document, such as `{"device":{"net:rssi":-65},"service":{}}`.
pub fn to_json(metrics: &[Metric]) -> String {
    let fields: Vec<String> =
        named(metrics).map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{\"device\":{{{}}},\"service\":{{}}}}", fields.join(","))
}

fn name_of(id: u16) -> String {
    let known = NAMES.iter().find(|(known, _)| *known == id);
    known.map_or_else(|| id.to_string(), |(_, name)| (*name).to_owned())
}

/// The names of `messages.md` §6.7.
const NAMES: [(u16, &str); 42] = [
    (1, "sys:reset"),
    (2, "mem:free"),
    (3, "batt:soc"),
    (4, "sys:loops"),
    (5, "app:loops"),
    (6, "sys:uptime"),
    (7, "batt:state"),
    (8, "net:stat"),
    (9, "net:err"),
    (10, "cloud:stat"),
    (12, "net:dconn"),
    (13, "cloud:err"),
    (14, "cloud:dconn"),
    (15, "net:ip:addr"),
    (16, "net:ip:gw"),
    (17, "net:flags"),
    (18, "net:cntry"),
    (19, "net:rssi"),
    (20, "pub:throttle"),
    (21, "coap:retransmit"),
    (22, "coap:unack"),
    (23, "coap:transmit"),
    (24, "pwr::src"),
    (25, "sys:tram"),
    (26, "sys:uram"),
    (27, "net:connatt"),
    (28, "net:dconnrsn"),
    (29, "cloud:connatt"),
    (30, "cloud:dconnrsn"),
    (31, "coap:roundtrip"),
    (33, "net:sigstr"),
    (34, "net:sigqual"),
    (35, "net:sigqualv"),
    (36, "net:at"),
    (37, "net:sigstrv"),
    (40, "net:cell:cgi:mcc"),
    (41, "net:cell:cgi:mnc"),
    (42, "net:cell:cgi:lac"),
    (43, "net:cell:cgi:ci"),
    (44, "cloud:connif"),
    (46, "net:alt:sigstr"),
    (60, "sys::protected"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sources_have_names_unknown_ones_numbers_and_failed_ones_nothing() {
        let metric = |id, value| Metric { id, value };
        let told = [metric(19, -65), metric(999, 1), metric(0x8013, -160)];
        assert_eq!(to_json(&told), r#"{"device":{"net:rssi":-65,"999":1},"service":{}}"#);
        assert_eq!(to_json(&[]), r#"{"device":{},"service":{}}"#);
    }
}
