//! What a token is good for, beside belonging to an account.
//!
//! A token without scopes is good for all that its account may do. Those of API users and of
//! products' clients carry scopes: names such as `devices:list`, and `product=N`, which keeps it to
//! the routes of that product. `customer=N` is a customer's of the product: own devices, no more.

use axum::http::{Extensions, StatusCode};
use model::ProductId;
use store::Token;

use crate::error::ApiError;
use crate::routes::{Needs, Reach};

/// Begins the scope that keeps a token to a product.
const PRODUCT: &str = "product=";
/// Begins the scope of a customer's token.
const CUSTOMER: &str = "customer=";
/// What gives rights to others. Tokens of a product's client act for the product's owner, whoever
/// holds the client's secret: with these they would raise their holder's rights, and outlive them.
const GIVES_RIGHTS: [&str; 2] = ["clients", "team"];
/// What customers may do.
const OF_CUSTOMERS: [&str; 12] = [
    "device_claims:create",
    "devices.function:call",
    "devices.variable:get",
    "devices:claim",
    "devices:get",
    "devices:list",
    "devices:ping",
    "devices:release",
    "devices:update",
    "events:get",
    "events:send",
    "serial_numbers:get",
];

/// What the route of a request needs; routes outside the description need nothing.
pub(crate) fn needs(extensions: &Extensions) -> Needs {
    let none = Needs { scope: None, reach: Reach::Token };
    extensions.get::<Needs>().copied().unwrap_or(none)
}

/// Whether a token is good for what a route needs.
pub(crate) fn check(token: &Token, needs: Needs) -> Result<(), ApiError> {
    let Some(scope) = needs.scope.filter(|_| needs.reach != Reach::Token) else { return Ok(()) };
    if token.scopes.is_empty() || allows(token, scope, needs.reach) {
        return Ok(());
    }
    Err(too_small(scope))
}

/// The product that a token is kept to.
pub(crate) fn product_of(token: &Token) -> Option<ProductId> {
    numbered(token, PRODUCT)
}

/// The product whose customer a token is of.
pub(crate) fn customer_of(token: &Token) -> Option<ProductId> {
    numbered(token, CUSTOMER)
}

/// The scopes of a token that is kept to a product; of `names` none: all that may be done there
/// but to give rights to others.
pub(crate) fn of_product(product: ProductId, names: &[String]) -> Vec<String> {
    let kept = std::iter::once(format!("{PRODUCT}{product}"));
    kept.chain(names.iter().cloned()).collect()
}

/// The scopes of a customer's token.
pub(crate) fn of_customer(product: ProductId) -> Vec<String> {
    vec![format!("{CUSTOMER}{product}")]
}

/// The refusal of a token that is good for less; it does not speak of tokens, which would make the
/// command-line client forget its own.
pub(crate) fn too_small(scope: &str) -> ApiError {
    let text = format!("This needs the scope {scope}, which the caller does not have");
    ApiError::oauth(StatusCode::FORBIDDEN, "unauthorized", &text)
}

/// The part of a member in a product's team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything that the owner may.
    Administrator,
    /// Everything but changing the team and the OAuth clients.
    Developer,
    /// An API user: the same, as far as its scopes go.
    Program,
    /// Looks, and helps customers with their devices.
    Support,
    /// Looks.
    ViewOnly,
}

impl Role {
    /// As the vendor's console names them.
    const NAMES: [(Self, &str); 5] = [
        (Self::Administrator, "Administrator"),
        (Self::Developer, "Developer"),
        (Self::Program, "Programmatic"),
        (Self::Support, "Support"),
        (Self::ViewOnly, "View-only"),
    ];

    /// The role of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(role, _)| *role)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(role, _)| *role == self).map_or("", |(_, name)| name)
    }

    /// Whether it is enough for what a route of the product needs.
    pub(crate) fn allows(self, scope: &str) -> bool {
        let (thing, verb) = parts(scope);
        let looks = matches!(verb, "get" | "list");
        match self {
            Self::Administrator => true,
            Self::Developer => looks || !GIVES_RIGHTS.contains(&thing),
            Self::Program => thing != "team" && Self::Developer.allows(scope),
            Self::Support => looks || OF_SUPPORT.contains(&scope),
            Self::ViewOnly => looks,
        }
    }
}

/// What support may do beside looking.
const OF_SUPPORT: [&str; 5] = [
    "devices.diagnostics:update",
    "devices.function:call",
    "devices:ping",
    "devices:release",
    "devices:update",
];

fn allows(token: &Token, scope: &str, reach: Reach) -> bool {
    if customer_of(token).is_some() {
        let claims = scope == "device_claims:create";
        return OF_CUSTOMERS.contains(&scope) && (reach == Reach::Account || claims);
    }
    if product_of(token).is_some() && reach != Reach::Product {
        return false;
    }
    let mut names = token.scopes.iter().filter(|name| !name.starts_with(PRODUCT)).peekable();
    match names.peek() {
        None => !GIVES_RIGHTS.contains(&parts(scope).0),
        Some(_) => names.any(|name| name == scope),
    }
}

/// What a scope is about, and what it does to that.
fn parts(scope: &str) -> (&str, &str) {
    scope.split_once(':').unwrap_or((scope, ""))
}

fn numbered(token: &Token, word: &str) -> Option<ProductId> {
    let number = token.scopes.iter().find_map(|scope| scope.strip_prefix(word))?;
    number.parse().ok().map(ProductId)
}

#[cfg(test)]
mod tests {
    use model::{AccountId, Timestamp};
    use store::TokenHash;

    use super::*;

    fn token(scopes: &[&str]) -> Token {
        Token {
            hash: TokenHash([0; 32]),
            prefix: String::new(),
            account: AccountId(1),
            client: String::new(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            created_at: Timestamp(0),
            expires_at: None,
        }
    }

    fn is_good(scopes: &[&str], scope: &'static str, reach: Reach) -> bool {
        check(&token(scopes), Needs { scope: Some(scope), reach }).is_ok()
    }

    #[test]
    fn a_token_without_scopes_is_good_for_everything() {
        assert!(is_good(&[], "devices:list", Reach::Account));
        assert!(is_good(&[], "team:create", Reach::Product));
    }

    #[test]
    fn a_token_with_scopes_is_good_for_those_and_to_show_itself() {
        assert!(is_good(&["devices:list"], "devices:list", Reach::Account));
        assert!(!is_good(&["devices:list"], "devices:get", Reach::Account));
        assert!(is_good(&["devices:list"], "tokens:get", Reach::Token));
    }

    #[test]
    fn a_token_kept_to_a_product_does_nothing_for_the_account() {
        let kept = ["product=10000"];
        assert!(is_good(&kept, "devices:list", Reach::Product));
        assert!(!is_good(&kept, "devices:list", Reach::Account));
        let both = ["product=10000", "devices:list"];
        assert!(is_good(&both, "devices:list", Reach::Product));
        assert!(!is_good(&both, "devices:update", Reach::Product));
        assert_eq!(product_of(&token(&both)), Some(ProductId(10000)));
        for scope in ["team:list", "team:create", "clients:list", "clients:create"] {
            assert!(!is_good(&kept, scope, Reach::Product), "{scope}");
        }
    }

    #[test]
    fn a_customer_has_own_devices_and_nothing_of_the_product() {
        let customer = ["customer=10000"];
        assert!(is_good(&customer, "devices:list", Reach::Account));
        assert!(!is_good(&customer, "devices:list", Reach::Product));
        assert!(is_good(&customer, "device_claims:create", Reach::Product));
        assert!(!is_good(&customer, "products:create", Reach::Account));
        assert!(!is_good(&customer, "integrations:create", Reach::Account));
    }

    #[test]
    fn roles_are_as_large_as_their_names_say() {
        for (role, good, bad) in [
            (Role::Administrator, &["team:create", "devices:update"][..], &[][..]),
            (
                Role::Developer,
                &["team:list", "clients:list", "integrations:create"],
                &["team:create", "clients:create", "clients:update"],
            ),
            (
                Role::Program,
                &["devices:import", "clients:list"],
                &["team:list", "team:remove", "clients:create"],
            ),
            (Role::Support, &["devices:list", "devices:ping"], &["devices:remove", "events:send"]),
            (Role::ViewOnly, &["devices:list", "events:get"], &["devices:ping", "devices:update"]),
        ] {
            assert!(good.iter().all(|scope| role.allows(scope)), "{role:?}");
            assert!(!bad.iter().any(|scope| role.allows(scope)), "{role:?}");
            assert_eq!(Role::parse(role.name()), Some(role));
        }
    }

    #[test]
    fn the_refusal_does_not_make_clients_forget_their_token() {
        assert!(!too_small("x").body.to_string().to_lowercase().contains("access token"));
        assert_eq!(too_small("x").status, StatusCode::FORBIDDEN);
    }
}
