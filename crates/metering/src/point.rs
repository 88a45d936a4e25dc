//! Locations that are stored (rule 8).

use model::{Event, Origin};
use serde::Deserialize;

/// A place that a device told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

#[derive(Deserialize)]
struct Told {
    loc: Place,
}

#[derive(Deserialize)]
struct Place {
    lat: f64,
    lon: f64,
}

/// The place that an event `loc` of a device tells: its JSON data holds the numbers `loc.lat` and
/// `loc.lon`. Whether it is stored is the device's affair.
pub fn point_of(event: &Event) -> Option<Point> {
    let is_told = event.name.as_str() == "loc" && matches!(event.origin, Origin::Device(_));
    let data = event.data.as_ref().filter(|_| is_told)?;
    let Told { loc: Place { lat, lon } } = serde_json::from_slice(&data.bytes).ok()?;
    Some(Point { latitude: lat, longitude: lon })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{AccountId, DeviceId, EventData, EventId, EventName, Timestamp};

    fn told(name: &str, data: &str) -> Option<Point> {
        point_of(&Event {
            id: EventId(0),
            account: AccountId(1),
            origin: Origin::Device(DeviceId([1; 12])),
            product: None,
            name: EventName::parse(name.as_bytes()).expect("a name"),
            data: Some(EventData { format: 0, bytes: data.as_bytes().into() }),
            ttl_s: 60,
            published_at: Timestamp(0),
        })
    }

    #[test]
    fn a_place_is_two_numbers_in_an_event_loc() {
        let data = r#"{"cmd":"loc","loc":{"lck":1,"lat":47.5,"lon":-8,"alt":400.5}}"#;
        assert_eq!(told("loc", data), Some(Point { latitude: 47.5, longitude: -8.0 }));
        assert_eq!(told("location", data), None);
        for data in ["", "{}", r#"{"loc":{"lat":1}}"#, r#"{"loc":{"lat":"1","lon":"2"}}"#, "[1]"] {
            assert_eq!(told("loc", data), None, "{data}");
        }
    }
}
