//! A usage report, day by day, as comma-separated values.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::{AccountId, DeviceId, DeviceState, ProductId, Timestamp};
use store::{Account, Assignment, Device, StoreError, Sum};

use super::devices::release_text;
use super::usage_days::{self, DAY_MS, DeviceDay, date};
use super::usage_reports::{Kind, Wanted};
use crate::scope::still_of;
use crate::state::{State, utc_now};

const DEVICES: &str = "Date,Device ID,Device Name,Product ID,Product Name,Connectivity,SIM ICCID,\
                       Data Operations,Firmware Version,Device Group,Device OS";
const PRODUCTS: &str = "Date,Product ID,Product Name,Devices,Data Operations";

/// The text of a report, in pieces of a day.
pub(super) struct Csv {
    state: State,
    account: Account,
    wanted: Wanted,
    /// The day that comes next; absent: the head.
    day: Option<Timestamp>,
    names: BTreeMap<ProductId, String>,
}

/// What is told of a device beside its figures, as it is at the time of the report: nothing if it has gone to
/// another account since.
#[derive(Default)]
struct Facts {
    devices: BTreeMap<DeviceId, Device>,
    states: BTreeMap<DeviceId, DeviceState>,
    assignments: BTreeMap<DeviceId, Assignment>,
    iccids: BTreeMap<DeviceId, String>,
}

impl Csv {
    pub(super) fn new(state: State, account: Account, wanted: Wanted) -> Self {
        Self { state, account, wanted, day: None, names: BTreeMap::new() }
    }

    /// The next piece; absent at the end.
    pub(super) async fn next(&mut self) -> Result<Option<String>, StoreError> {
        let Some(day) = self.day else {
            self.day = Some(self.wanted.from);
            return Ok(Some(self.head()));
        };
        if day > self.wanted.to {
            return Ok(None);
        }
        self.day = Some(Timestamp(day.0.saturating_add(DAY_MS)));
        let lines = usage_days::devices_of(&self.state.store, self.account.id, day).await?;
        let lines: Vec<DeviceDay> = lines.into_iter().filter(|line| self.wants(line)).collect();
        self.name_products(&lines).await?;
        match self.wanted.kind {
            Kind::Devices => self.device_lines(day, &lines).await.map(Some),
            Kind::Products => Ok(Some(self.product_lines(day, &lines))),
        }
    }

    fn head(&self) -> String {
        let Wanted { kind, from, to, devices, products } = &self.wanted;
        let about = match (kind, devices.len(), products.len()) {
            (Kind::Devices, 0, 0) => "All Devices".to_owned(),
            (Kind::Devices, 0, count) => format!("Devices of {count} Products"),
            (Kind::Devices, count, _) => format!("{count} Devices"),
            (Kind::Products, _, 0) => "All Products".to_owned(),
            (Kind::Products, _, count) => format!("{count} Products"),
        };
        let days = (to.0 - from.0) / DAY_MS + 1;
        let columns = match kind {
            Kind::Devices => DEVICES,
            Kind::Products => PRODUCTS,
        };
        format!(
            "Query date: {}\nAccount queried: {}\n\"Query type: {about}, {days} days of data\"\n\"\"\n{columns}\n",
            date(utc_now()),
            field(&self.account.email),
        )
    }

    fn wants(&self, line: &DeviceDay) -> bool {
        let Wanted { devices, products, .. } = &self.wanted;
        let is_product = |product| products.contains(&product);
        (devices.is_empty() || devices.contains(&line.device))
            && (products.is_empty() || line.product.is_some_and(is_product))
    }

    async fn name_products(&mut self, lines: &[DeviceDay]) -> Result<(), StoreError> {
        for product in lines.iter().filter_map(|line| line.product) {
            if !self.names.contains_key(&product) {
                let found = self.state.store.products().get(product).await?;
                self.names.insert(product, found.map(|found| found.name).unwrap_or_default());
            }
        }
        Ok(())
    }

    async fn device_lines(
        &self,
        day: Timestamp,
        lines: &[DeviceDay],
    ) -> Result<String, StoreError> {
        let facts = Facts::of(&self.state, self.account.id, lines).await?;
        let (mut text, date) = (String::new(), date(day));
        for line in lines {
            let (id, product) = self.product(line.product);
            let (name, groups) = (facts.name(line.device), facts.groups(line.device));
            let connectivity = if line.is_cellular { "cellular" } else { "wifi" };
            let iccid = facts.iccids.get(&line.device).map_or("", String::as_str);
            let (firmware, os) = facts.versions(line.device);
            // Writing to a text cannot fail.
            let _ = writeln!(
                text,
                "{date},{},{},{id},{},{connectivity},{},{},{firmware},{},{os}",
                line.device,
                field(name),
                field(product),
                field(iccid),
                line.sum.operations,
                field(&groups),
            );
        }
        Ok(text)
    }

    fn product_lines(&self, day: Timestamp, lines: &[DeviceDay]) -> String {
        let mut products = BTreeMap::<Option<ProductId>, (u64, Sum)>::new();
        for line in lines {
            let (devices, sum) = products.entry(line.product).or_default();
            *devices += 1;
            sum.add(line.sum);
        }
        let (mut text, date) = (String::new(), date(day));
        for (product, (devices, sum)) in products {
            let (id, name) = self.product(product);
            let _ = writeln!(text, "{date},{id},{},{devices},{}", field(name), sum.operations);
        }
        text
    }

    /// Number and name; empty without a product.
    fn product(&self, product: Option<ProductId>) -> (String, &str) {
        let Some(id) = product else { return (String::new(), "") };
        (id.to_string(), self.names.get(&id).map_or("", String::as_str))
    }
}

impl Facts {
    async fn of(
        state: &State,
        account: AccountId,
        lines: &[DeviceDay],
    ) -> Result<Self, StoreError> {
        let ids: Vec<DeviceId> = lines.iter().map(|line| line.device).collect();
        let devices = still_of(state, account, state.store.devices().get_many(&ids).await?).await?;
        let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
        let mut facts = Self {
            devices: devices.into_iter().map(|device| (device.id, device)).collect(),
            assignments: state.store.assignments().assignments(&ids).await?.into_iter().collect(),
            ..Self::default()
        };
        let states = state.handle.states(&ids).await;
        facts.states = states.into_iter().map(|state| (state.device, state)).collect();
        let known =
            |line: &&DeviceDay| line.is_cellular && facts.devices.contains_key(&line.device);
        for line in lines.iter().filter(known).collect::<Vec<_>>() {
            if let Some((system, _)) = state.store.devices().system(line.device).await? {
                facts.iccids.insert(line.device, system.iccid.unwrap_or_default().to_string());
            }
        }
        Ok(facts)
    }

    fn name(&self, device: DeviceId) -> &str {
        self.devices.get(&device).and_then(|device| device.name.as_deref()).unwrap_or_default()
    }

    fn groups(&self, device: DeviceId) -> String {
        self.assignments.get(&device).map(|of| of.groups.join(" ")).unwrap_or_default()
    }

    /// Of the product firmware and of Device OS, as far as the device told.
    fn versions(&self, device: DeviceId) -> (String, String) {
        let Some(state) = self.states.get(&device) else { return Default::default() };
        let firmware = state.firmware_version.map(|version| version.to_string());
        let os = state.system_version.map(release_text);
        (firmware.unwrap_or_default(), os.unwrap_or_default())
    }
}

/// A field, in quotes if it needs them. What a spreadsheet would take for a formula is none behind a quote.
fn field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guarded = if is_formula { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", guarded.replace('"', "\"\""));
    }
    guarded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_field_or_become_formulas() {
        assert_eq!(field("plain"), "plain");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(field("=1+1"), "'=1+1");
        assert_eq!(field("two\nlines"), "\"two\nlines\"");
    }
}
