//! Plan catalogues: figures and rule variants as data (`metering/rules.md` §5).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::Deserialize;

use crate::{Allowances, Platforms, Rules};

/// The file of those that ship.
const SHIPPED: &str = include_str!("../../../config/plans.toml");
/// Longest name of a catalogue, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// One catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanCatalogue {
    /// Its name, such as `2022`.
    pub name: String,
    /// What things cost.
    pub rules: Rules,
    /// What the free plan gives for a period.
    pub free: Allowances,
    /// What one block of the growth plan gives for a period.
    pub growth: Allowances,
}

/// All catalogues of a server: those that ship and the operator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogues {
    by_name: BTreeMap<String, Arc<PlanCatalogue>>,
    platforms: Arc<Platforms>,
}

/// A file of catalogues that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// It is no TOML, a field is missing, unknown or of the wrong kind, or a figure is not positive:
    /// the text names the line and the field.
    #[error("{0}")]
    Malformed(String),
    /// A name that ships with the server.
    #[error("catalogue {0:?} ships with the server and cannot be changed: choose another name")]
    Taken(String),
    /// A name that could not be written in a command.
    #[error(
        "catalogue {0:?}: a name has 1 to 32 letters, digits, dots, hyphens or underscores of ASCII"
    )]
    BadName(String),
    /// A platform has the allowance of Trackers and is not on a carrier.
    #[error("platform {0} is in platforms.tracker and must be in platforms.cellular, too")]
    TrackerNotCellular(u16),
    /// There is none of this name.
    #[error("there is no plan catalogue {name:?}: there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those that exist.
        known: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueFile {
    #[serde(default)]
    catalogues: BTreeMap<String, Figures>,
    platforms: Option<Platforms>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    ping_operations: u32,
    event_bytes_per_operation: Option<NonZeroU32>,
    free: Allowances,
    growth: Allowances,
}

impl Default for Catalogues {
    /// Those that ship.
    fn default() -> Self {
        Self::shipped().unwrap_or_else(|_| Self::none())
    }
}

impl Catalogues {
    /// Those that ship: `2021`, `2022` and `2025`.
    ///
    /// # Errors
    /// None: the file is part of the program, and a test reads it.
    pub fn shipped() -> Result<Self, CatalogueError> {
        let mut catalogues = Self::none();
        catalogues.add(SHIPPED)?;
        Ok(catalogues)
    }

    /// Those that ship and those of an operator's file (the text of it).
    ///
    /// # Errors
    /// See [`CatalogueError`].
    pub fn with(file: &str) -> Result<Self, CatalogueError> {
        let mut catalogues = Self::shipped()?;
        catalogues.add(file)?;
        Ok(catalogues)
    }

    /// The catalogue of this name.
    ///
    /// # Errors
    /// [`CatalogueError::Unknown`], which lists the names there are.
    pub fn get(&self, name: &str) -> Result<Arc<PlanCatalogue>, CatalogueError> {
        self.by_name.get(name).map(Arc::clone).ok_or_else(|| CatalogueError::Unknown {
            name: name.to_owned(),
            known: self.names().collect::<Vec<_>>().join(", "),
        })
    }

    /// Which devices are on a carrier.
    pub fn platforms(&self) -> Arc<Platforms> {
        Arc::clone(&self.platforms)
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    fn none() -> Self {
        Self { by_name: BTreeMap::new(), platforms: Arc::default() }
    }

    fn add(&mut self, file: &str) -> Result<(), CatalogueError> {
        let malformed = |why: toml::de::Error| CatalogueError::Malformed(why.to_string());
        let file: CatalogueFile = toml::from_str(file).map_err(malformed)?;
        for (name, figures) in file.catalogues {
            self.put(name, figures)?;
        }
        let Some(platforms) = file.platforms else { return Ok(()) };
        if let Some(number) = platforms.tracker_without_modem() {
            return Err(CatalogueError::TrackerNotCellular(number));
        }
        self.platforms = Arc::new(platforms);
        Ok(())
    }

    fn put(&mut self, name: String, figures: Figures) -> Result<(), CatalogueError> {
        if !is_name(&name) {
            return Err(CatalogueError::BadName(name));
        }
        if self.by_name.contains_key(&name) {
            return Err(CatalogueError::Taken(name));
        }
        let Figures { ping_operations, event_bytes_per_operation, free, growth } = figures;
        let rules = Rules { ping_operations, event_bytes_per_operation };
        let catalogue = PlanCatalogue { name: name.clone(), rules, free, growth };
        self.by_name.insert(name, Arc::new(catalogue));
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogue;

    fn own(replaced: &str, by: &str) -> Result<Catalogues, CatalogueError> {
        let text = "[catalogues.own]\nping_operations = 2\n\
            [catalogues.own.free]\ndevices = 3\noperations = 40\ncellular_bytes = 5\ntracker_bytes = 6\n\
            [catalogues.own.growth]\ndevices = 7\noperations = 80\ncellular_bytes = 9\ntracker_bytes = 10\n";
        assert!(text.contains(replaced));
        Catalogues::with(&text.replace(replaced, by))
    }

    #[test]
    fn the_figures_of_the_rules_ship() {
        let shipped = Catalogues::shipped().expect("the shipped file");
        assert_eq!(shipped.names().collect::<Vec<_>>(), ["2021", "2022", "2025"]);
        for (name, figures) in [
            ("2021", [100, 85_000, 45_000_000, 45_000_000, 100, 250_000, 125_000_000, 125_000_000]),
            ("2022", FIGURES_OF_2022),
            ("2025", FIGURES_OF_2022),
        ] {
            let catalogue = shipped.get(name).expect("it ships");
            let [free, growth] = [&catalogue.free, &catalogue.growth].map(|of| {
                [of.devices, of.operations, of.cellular_bytes, of.tracker_bytes].map(|n| n.get())
            });
            assert_eq!([free, growth].concat(), figures, "{name}");
            let rules = Catalogue::by_name(name).map(Rules::of);
            assert_eq!(Some(catalogue.rules), rules, "{name}");
        }
    }

    const FIGURES_OF_2022: [u64; 8] =
        [100, 100_000, 100_000_000, 100_000_000, 100, 720_000, 540_000_000, 1_500_000_000];

    #[test]
    fn an_operator_adds_catalogues_beside_those_that_ship() {
        let all = own("40", "41").expect("a catalogue");
        assert_eq!(all.names().collect::<Vec<_>>(), ["2021", "2022", "2025", "own"]);
        let own = all.get("own").expect("added");
        assert_eq!((own.free.operations.get(), own.growth.operations.get()), (41, 80));
        assert_eq!(own.rules.ping_operations, 2);
    }

    #[test]
    fn an_error_names_what_is_wrong() {
        for (replaced, by, named) in [
            ("operations = 40\n", "", "missing field `operations`"),
            ("[catalogues.own.growth]", "[catalogues.own.grow]", "grow"),
            ("devices = 3", "devices = 0", "nonzero"),
            ("devices = 3", "devices = -1", "-1"),
            ("devices = 3", "devices = \"three\"", "three"),
            ("devices = 3", "devises = 3", "devises"),
            ("ping_operations = 2", "ping_operations = 2\nprice = 5", "price"),
            ("[catalogues.own]", "[catalogues.own", "line 1"),
            ("catalogues.own", "catalogues.\"o w n\"", "o w n"),
            ("catalogues.own", "catalogues.2022", "2022"),
            (
                "[catalogues.own.free]",
                "[platforms]\ncellular = []\n[catalogues.own.free]",
                "cellular_with_modem",
            ),
            (
                "[catalogues.own.free]",
                "[platforms]\ncellular = []\ncellular_with_modem = []\ntracker = [26]\n[catalogues.own.free]",
                "platform 26",
            ),
        ] {
            let why = own(replaced, by).expect_err(by).to_string();
            assert!(why.contains(named), "{by}: {why}");
        }
    }

    #[test]
    fn a_missing_catalogue_is_told_with_those_there_are() {
        let why = Catalogues::shipped().expect("ships").get("1999").expect_err("none").to_string();
        assert_eq!(why, "there is no plan catalogue \"1999\": there are 2021, 2022, 2025");
    }
}
