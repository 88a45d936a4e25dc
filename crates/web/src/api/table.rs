//! The routes of accounts and devices, and of the server itself.

use super::{
    agreements, calls, claims, clients, devices, diagnostics, events, mfa, oauth, provisioning,
    server, tokens, user, users,
};
use crate::routes::shapes as shape;
use crate::routes::{Routes, delete, get, post, put};

const PREFIX: &str = "Names of events begin with it; it may hold slashes.";

pub(super) fn sign_in() -> Routes {
    Routes::about("Tokens and clients")
        .add(
            post(
                "/oauth/token",
                "Makes a token: of a password, a refresh token, a client, a one-time password.",
            )
            .takes::<shape::Grant>()
            .gives::<shape::Granted>(),
            oauth::token,
        )
        .add(
            get(
                "/v1/access_tokens",
                "Lists the caller's tokens. HTTP Basic does in place of a token.",
            )
            .needs("tokens:list")
            .query("otp", "A one-time password, with HTTP Basic.")
            .lists::<shape::ListedToken>(),
            tokens::list,
        )
        .add(
            delete("/v1/access_tokens", "Revokes all tokens of the caller.")
                .needs("tokens:remove")
                .gives::<shape::Done>(),
            tokens::delete_all,
        )
        .add(
            get("/v1/access_tokens/current", "Shows the caller's token.")
                .needs("tokens:get")
                .of_token()
                .gives::<shape::CurrentToken>(),
            tokens::current,
        )
        .add(
            delete("/v1/access_tokens/current", "Revokes the caller's token.")
                .needs("tokens:remove")
                .of_token()
                .gives::<shape::Done>(),
            tokens::delete_current,
        )
        .add(
            delete(
                "/v1/access_tokens/{token}",
                "Revokes the token in the path, which is proof enough.",
            )
            .gives::<shape::Done>(),
            tokens::delete,
        )
        .add(
            get("/v1/clients", "Lists the caller's OAuth clients.")
                .needs("clients:list")
                .gives::<shape::Clients>(),
            clients::list,
        )
        .add(
            post("/v1/clients", "Registers an OAuth client; its secret is told this once.")
                .needs("clients:create")
                .takes::<shape::NewClient>()
                .gives::<shape::OneClient>(),
            clients::create,
        )
        .add(
            put("/v1/clients/{client}", "Changes an OAuth client.")
                .needs("clients:update")
                .takes::<shape::ClientChange>()
                .gives::<shape::OneClient>(),
            clients::change,
        )
        .add(
            delete("/v1/clients/{client}", "Removes an OAuth client.").needs("clients:remove"),
            clients::delete,
        )
}

pub(super) fn users() -> Routes {
    Routes::about("Users")
        .add(
            post("/v1/users", "Creates an account, where the operator lets people register.")
                .takes::<shape::NewUser>()
                .gives::<shape::Done>(),
            users::create,
        )
        .add(
            get("/v1/user", "Shows the caller's account.")
                .needs("user:get")
                .of_token()
                .gives::<shape::User>(),
            user::show,
        )
        .add(
            put("/v1/user", "Changes the caller's account.")
                .needs("user:update")
                .takes::<shape::UserChange>()
                .gives::<shape::Done>(),
            users::change,
        )
        .add(
            delete("/v1/user", "Deletes the caller's account.")
                .needs("user:remove")
                .takes::<shape::PasswordProof>()
                .gives::<shape::Done>(),
            users::delete,
        )
        .add(
            get("/v1/user/identify", "Tells who the caller is.")
                .needs("user:get")
                .of_token()
                .query("tracking", "1: the id alone.")
                .gives::<shape::Identity>(),
            user::identify,
        )
        .add(
            post(
                "/v1/user/password-reset",
                "Mails a way to set a new password, if there is such an account.",
            )
            .takes::<shape::ResetRequest>()
            .gives::<shape::Done>(),
            users::ask_for_reset,
        )
        .add(
            put("/v1/user/password-reset", "Sets a new password.")
                .takes::<shape::Reset>()
                .gives::<shape::Done>(),
            users::reset,
        )
        .add(
            get("/v1/user/mfa-enable", "Begins to enrol a second factor.")
                .needs("user:update")
                .gives::<shape::Enrolment>(),
            mfa::begin,
        )
        .add(
            post("/v1/user/mfa-enable", "Confirms the second factor.")
                .needs("user:update")
                .takes::<shape::EnrolmentProof>()
                .gives::<shape::Enrolled>(),
            mfa::confirm,
        )
        .add(
            put("/v1/user/mfa-disable", "Ends the second factor.")
                .needs("user:update")
                .takes::<shape::CurrentPassword>()
                .gives::<shape::Done>(),
            mfa::disable,
        )
        .add(
            get("/v1/user/service_agreements", "Shows plan, usage and limits.")
                .needs("service_agreements:list")
                .gives::<shape::Resources>(),
            agreements::list,
        )
        .add(
            get(
                "/v1/user/service_agreements/{id}/notifications",
                "Lists what the account was told of its limits.",
            )
            .needs("service_agreements:list")
            .gives::<shape::Resources>(),
            agreements::notifications,
        )
}

pub(super) fn devices() -> Routes {
    Routes::about("Devices")
        .add(
            get("/v1/devices", "Lists the caller's devices, newest handshake first.")
                .needs("devices:list")
                .lists::<shape::Device>(),
            devices::list,
        )
        .add(
            post("/v1/devices", "Claims a device that nobody owns, or makes a new one.")
                .needs("devices:claim")
                .takes::<shape::Claim>()
                .gives::<shape::Claimed>(),
            devices::claim,
        )
        .add(
            get("/v1/devices/{device}", "Shows a device, by id or name.")
                .needs("devices:get")
                .gives::<shape::Device>(),
            devices::show,
        )
        .add(
            put(
                "/v1/devices/{device}",
                "Renames a device, notes something, has it signal, or flashes a firmware binary.",
            )
            .needs("devices:update")
            .takes_or_file::<shape::DeviceChange>(super::flash::FLASH_BYTES_MAX)
            .gives::<shape::DeviceChanged>(),
            devices::change,
        )
        .add(
            delete("/v1/devices/{device}", "Gives a device up.")
                .needs("devices:release")
                .gives::<shape::Done>(),
            devices::unclaim,
        )
        .add(
            put("/v1/devices/{device}/ping", "Asks a device for a sign of life.")
                .needs("devices:ping")
                .gives::<shape::Pinged>(),
            devices::ping,
        )
        .add(
            post("/v1/device_claims", "Makes a code by which a device joins the account.")
                .needs("device_claims:create")
                .gives::<shape::ClaimCode>(),
            claims::create,
        )
        .add(
            post("/v1/provisioning/{device}", "Registers a device's public key.")
                .needs("devices:provision")
                .takes::<shape::DeviceKey>()
                .gives::<shape::Provisioned>(),
            provisioning::provision,
        )
        .add(
            get(
                "/v1/serial_numbers/{serial}",
                "Finds a device of the caller by its serial number.",
            )
            .needs("serial_numbers:get")
            .gives::<shape::SerialNumber>(),
            server::serial_number,
        )
        .add(
            get("/v1/diagnostics/{device}", "Lists the vital signs a device told, newest first.")
                .needs("devices.diagnostics:get")
                .query("start_date", "`YYYY-MM-DD` or a time; from then on.")
                .query("end_date", "A day, which is in it as a whole, or a time, which is not.")
                .gives::<shape::DiagnosticsHistory>(),
            diagnostics::history,
        )
        .add(
            get("/v1/diagnostics/{device}/last", "Shows the newest vital signs of a device.")
                .needs("devices.diagnostics:get")
                .gives::<shape::LastDiagnostics>(),
            diagnostics::last,
        )
        .add(
            post("/v1/diagnostics/{device}/update", "Asks a device for its vital signs.")
                .needs("devices.diagnostics:update")
                .gives::<shape::Done>(),
            diagnostics::update,
        )
}

pub(super) fn calls() -> Routes {
    Routes::about("Functions and variables")
        .add(
            get("/v1/devices/{device}/{name}", "Reads a variable.")
                .needs("devices.variable:get")
                .query("format", "raw: the value alone, as text.")
                .gives::<shape::Variable>(),
            calls::variable,
        )
        .add(
            post("/v1/devices/{device}/{name}", "Calls a function.")
                .needs("devices.function:call")
                .takes::<shape::Argument>()
                .gives::<shape::Returned>(),
            calls::function,
        )
}

pub(super) fn events() -> Routes {
    Routes::about("Events")
        .add(
            get("/v1/devices/events", "Streams the account's events.")
                .needs("events:get")
                .alias("/v1/devices/events/")
                .query("last_event_id", "Asks for ids, and for what came behind this one.")
                .streams(),
            events::stream_all,
        )
        .add(
            post("/v1/devices/events", "Publishes an event.")
                .needs("events:send")
                .takes::<shape::NewEvent>()
                .gives::<shape::Done>(),
            events::publish,
        )
        .add(
            get("/v1/devices/events/{*prefix}", PREFIX).needs("events:get").streams(),
            events::stream_all,
        )
        .add(
            get("/v1/events", "Streams the account's events.")
                .needs("events:get")
                .alias("/v1/events/")
                .streams(),
            events::stream_all,
        )
        .add(
            post("/v1/events", "Publishes an event.")
                .needs("events:send")
                .takes::<shape::NewEvent>()
                .gives::<shape::Done>(),
            events::publish,
        )
        .add(get("/v1/events/{*prefix}", PREFIX).needs("events:get").streams(), events::stream_all)
        .add(
            get("/v1/devices/{device}/events", "Streams a device's events.")
                .needs("events:get")
                .alias("/v1/devices/{device}/events/")
                .streams(),
            events::stream_device,
        )
        .add(
            get("/v1/devices/{device}/events/{*prefix}", PREFIX).needs("events:get").streams(),
            events::stream_device,
        )
}

pub(super) fn server() -> Routes {
    Routes::about("Server")
        .add(
            get("/v1/build_targets", "Tells that nothing can be built here.")
                .gives::<shape::BuildTargets>(),
            server::build_targets,
        )
        .add(
            get("/health", "Tells whether all is well; 503 if not.").gives::<shape::Health>(),
            server::health,
        )
        .add(
            get("/metrics", "Figures in the text format of Prometheus.").gives_raw("text/plain"),
            server::metrics,
        )
}
