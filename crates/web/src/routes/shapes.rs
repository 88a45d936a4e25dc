//! The objects of the API as the description tells them. Handlers write JSON; the access table
//! compares every answer of theirs with these.
#![allow(dead_code, reason = "read by the derive macro alone")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// A refusal.
#[derive(ToSchema)]
pub(crate) struct Refused {
    /// A code in OAuth and token errors, else the text.
    error: String,
    /// The text, beside a code.
    #[schema(required = false)]
    error_description: String,
    /// The text once more, where clients look for a list.
    #[schema(required = false)]
    errors: Vec<String>,
    /// A hint.
    #[schema(required = false)]
    info: String,
}

/// Done.
#[derive(ToSchema)]
pub(crate) struct Done {
    ok: bool,
}

/// Any object.
#[derive(ToSchema)]
pub(crate) struct Object {
    #[serde(flatten)]
    fields: BTreeMap<String, Value>,
}

/// A grant.
#[derive(ToSchema)]
pub(crate) struct Grant {
    /// `password`, `refresh_token`, `client_credentials` or `urn:custom:mfa-otp`.
    #[schema(required = true)]
    grant_type: String,
    username: Option<String>,
    password: Option<String>,
    refresh_token: Option<String>,
    /// From the answer `mfa_required`.
    mfa_token: Option<String>,
    /// A one-time password.
    otp: Option<String>,
    /// Registered clients prove themselves; HTTP Basic does as well.
    client_id: Option<String>,
    client_secret: Option<String>,
    /// `customer=EMAIL` for a token of a product's customer.
    scope: Option<String>,
    /// Life in seconds; 0: for ever.
    expires_in: Option<u64>,
    /// End of life: `YYYY-MM-DD` or ISO 8601.
    expires_at: Option<String>,
}

/// A token, told this once.
#[derive(ToSchema)]
pub(crate) struct Granted {
    /// `bearer`
    token_type: String,
    access_token: String,
    /// Life in seconds; 0: for ever.
    expires_in: u64,
    refresh_token: String,
}

/// A token in a list.
#[derive(ToSchema)]
pub(crate) struct ListedToken {
    /// Its first characters: the whole is not kept.
    token: String,
    #[schema(required = true)]
    expires_at: Option<String>,
    client: String,
}

/// The caller's token.
#[derive(ToSchema)]
pub(crate) struct CurrentToken {
    #[schema(required = true)]
    expires_at: Option<String>,
    client_id: String,
    /// Empty: good for everything.
    scopes: Vec<String>,
    orgs: Vec<Value>,
}

/// An OAuth client.
#[derive(ToSchema)]
pub(crate) struct NewClient {
    name: String,
    /// `installed` or `web`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Of web clients.
    redirect_uri: Option<String>,
    scope: Option<String>,
}

/// Changes of an OAuth client.
#[derive(ToSchema)]
pub(crate) struct ClientChange {
    name: Option<String>,
    scope: Option<String>,
}

/// An OAuth client.
#[derive(ToSchema)]
pub(crate) struct OauthClient {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    /// Told once, when it is made.
    #[schema(required = false)]
    secret: String,
    #[schema(required = false)]
    redirect_uri: String,
    #[schema(required = false)]
    scope: String,
}

/// One OAuth client.
#[derive(ToSchema)]
pub(crate) struct OneClient {
    ok: bool,
    client: OauthClient,
}

/// OAuth clients.
#[derive(ToSchema)]
pub(crate) struct Clients {
    ok: bool,
    clients: Vec<OauthClient>,
}

/// A new user.
#[derive(ToSchema)]
pub(crate) struct NewUser {
    /// An e-mail address.
    username: String,
    password: String,
    /// The code of an invitation, where registration asks for one.
    invitation: Option<String>,
    account_info: Option<BTreeMap<String, Value>>,
}

/// Changes of the caller's account.
#[derive(ToSchema)]
pub(crate) struct UserChange {
    account_info: Option<BTreeMap<String, Value>>,
    username: Option<String>,
    password: Option<String>,
    /// Needed for a new name or password.
    current_password: Option<String>,
    invalidate_tokens: Option<bool>,
}

/// The caller's account.
#[derive(ToSchema)]
pub(crate) struct User {
    username: String,
    account_info: BTreeMap<String, Value>,
    mfa: Mfa,
    memberships: Vec<Value>,
    wifi_device_count: u64,
    cellular_device_count: u64,
    no_password: bool,
    scim_provisioned: bool,
}

/// Whether sign-ins need a one-time password.
#[derive(ToSchema)]
pub(crate) struct Mfa {
    enabled: bool,
}

/// The caller.
#[derive(ToSchema)]
pub(crate) struct Identity {
    id: String,
    /// Absent with `tracking=1`.
    #[schema(required = false)]
    email: String,
}

/// The password that must come with what cannot be undone.
#[derive(ToSchema)]
pub(crate) struct PasswordProof {
    password: String,
}

/// Whose password.
#[derive(ToSchema)]
pub(crate) struct ResetRequest {
    username: String,
}

/// A new password.
#[derive(ToSchema)]
pub(crate) struct Reset {
    /// From the mail.
    token: String,
    password: String,
}

/// An enrolment of a second factor.
#[derive(ToSchema)]
pub(crate) struct Enrolment {
    mfa_token: String,
    qr_url: String,
    secret: String,
}

/// The proof that an enrolment succeeded.
#[derive(ToSchema)]
pub(crate) struct EnrolmentProof {
    mfa_token: String,
    otp: String,
    invalidate_tokens: Option<bool>,
}

/// A second factor is in force.
#[derive(ToSchema)]
pub(crate) struct Enrolled {
    enrolled: bool,
}

/// The caller's password.
#[derive(ToSchema)]
pub(crate) struct CurrentPassword {
    current_password: String,
}

/// A device.
#[derive(ToSchema)]
pub(crate) struct Device {
    /// 24 hex digits.
    id: String,
    #[schema(required = true)]
    name: Option<String>,
    #[schema(required = true)]
    last_ip_address: Option<String>,
    #[schema(required = true)]
    last_heard: Option<String>,
    #[schema(required = true)]
    last_handshake_at: Option<String>,
    /// Its product, else its platform.
    product_id: u32,
    online: bool,
    connected: bool,
    platform_id: u16,
    cellular: bool,
    #[schema(required = true)]
    notes: Option<String>,
    /// Absent in lists and when never described.
    #[schema(required = true)]
    functions: Option<Vec<String>>,
    /// Names and types; absent in lists and when never described.
    #[schema(required = true)]
    variables: Option<BTreeMap<String, String>>,
    status: String,
    #[schema(required = true)]
    firmware_version: Option<u16>,
    /// Device OS release.
    #[schema(required = true)]
    system_firmware_version: Option<String>,
    firmware_updates_enabled: bool,
    firmware_updates_forced: bool,
    safe_mode: bool,
    /// Whether a product denies it: it cannot connect. Absent in lists.
    #[schema(required = false)]
    denied: bool,
    /// Of a product's device: whether it is left out of releases.
    #[schema(required = false)]
    development: bool,
    /// Of a product's device: its groups.
    #[schema(required = false)]
    groups: Vec<String>,
    /// Of a product's device: the version it is locked to.
    #[schema(required = false, nullable = true)]
    desired_firmware_version: u16,
    /// Of a product's device: the version that releases have for it.
    #[schema(required = false, nullable = true)]
    targeted_firmware_release_version: u16,
    /// The product that its firmware names.
    #[schema(required = false, nullable = true)]
    firmware_product_id: u32,
    /// The update under way, or the last one; shown for single devices.
    #[schema(required = false, nullable = true)]
    firmware_update: Value,
}

/// A device to claim, or with `product_id` alone a new one.
#[derive(ToSchema)]
pub(crate) struct Claim {
    id: Option<String>,
    product_id: Option<u32>,
    request_transfer: Option<bool>,
}

/// The caller's device.
#[derive(ToSchema)]
pub(crate) struct Claimed {
    ok: bool,
    id: String,
    user_id: String,
    #[schema(required = false)]
    connected: bool,
}

/// One change of a device.
#[derive(ToSchema)]
pub(crate) struct DeviceChange {
    name: Option<String>,
    notes: Option<String>,
    /// 1 or 0: the device shows where it is.
    signal: Option<String>,
    /// With `version`: the firmware to flash; a file does as well.
    product_id: Option<u32>,
    version: Option<u16>,
    /// Flash although the application does not allow updates.
    force: Option<bool>,
    /// Of a product's device: the version it is locked to; null unlocks it.
    desired_firmware_version: Option<u16>,
    /// Of a product's device: whether it is left out of releases.
    development: Option<bool>,
    /// Of a product's device: its groups.
    groups: Option<Vec<String>>,
}

/// A changed device, with what changed.
#[derive(ToSchema)]
pub(crate) struct DeviceChanged {
    id: String,
}

/// Whether a device answers.
#[derive(ToSchema)]
pub(crate) struct Pinged {
    ok: bool,
    online: bool,
}

/// A value read from a device.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Variable {
    /// `VarReturn`
    cmd: String,
    name: String,
    /// A boolean, number or text.
    result: Value,
    core_info: BTreeMap<String, Value>,
}

/// A function's argument.
#[derive(ToSchema)]
pub(crate) struct Argument {
    args: Option<String>,
    /// The same.
    arg: Option<String>,
    /// `raw`: the number alone is answered.
    format: Option<String>,
}

/// What a function returned.
#[derive(ToSchema)]
pub(crate) struct Returned {
    id: String,
    #[schema(required = true)]
    name: Option<String>,
    connected: bool,
    return_value: i32,
}

/// A code by which a device joins the account.
#[derive(ToSchema)]
pub(crate) struct ClaimCode {
    /// 63 characters, valid for 24 h, used once.
    claim_code: String,
    device_ids: Vec<String>,
}

/// A device's public key.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceKey {
    /// PEM: P-256 or RSA.
    public_key: String,
    #[serde(rename = "product_id")]
    product_id: Option<u32>,
}

/// A device that has its key.
#[derive(ToSchema)]
pub(crate) struct Provisioned {
    ok: bool,
    id: String,
}

/// A device found by its serial number.
#[derive(ToSchema)]
pub(crate) struct SerialNumber {
    ok: bool,
    device_id: String,
    platform_id: u16,
    serial_number: String,
}

/// What can be built: nothing, this server has no compiler.
#[derive(ToSchema)]
pub(crate) struct BuildTargets {
    targets: Vec<Value>,
    platforms: BTreeMap<String, Value>,
    default_versions: BTreeMap<String, Value>,
}

/// The newest vital signs.
#[derive(ToSchema)]
pub(crate) struct LastDiagnostics {
    diagnostics: Diagnostics,
}

/// Vital signs over time.
#[derive(ToSchema)]
pub(crate) struct DiagnosticsHistory {
    diagnostics: Vec<Diagnostics>,
}

/// Vital signs of a device at a time.
#[derive(ToSchema)]
pub(crate) struct Diagnostics {
    #[serde(rename = "deviceID")]
    device_id: String,
    updated_at: String,
    payload: DiagnosticsPayload,
}

/// What a device told, and what the cloud knows beside it.
#[derive(ToSchema)]
pub(crate) struct DiagnosticsPayload {
    device: BTreeMap<String, Value>,
    service: BTreeMap<String, Value>,
}

/// An event to publish.
#[derive(ToSchema)]
pub(crate) struct NewEvent {
    /// 1 to 64 bytes.
    name: String,
    /// At most 16,384 bytes.
    data: Option<String>,
    /// Seconds; 60 unless given.
    ttl: Option<u32>,
    /// Events are private, whatever this says.
    private: Option<bool>,
}

/// A list as JSON:API has it.
#[derive(ToSchema)]
pub(crate) struct Resources {
    data: Vec<Resource>,
}

/// One thing as JSON:API has it.
#[derive(ToSchema)]
pub(crate) struct Agreement {
    data: Resource,
}

/// Another plan, or other blocks of growth.
#[derive(ToSchema)]
pub(crate) struct NewAgreement {
    /// `free` or `growth`; the plan that there is if it is not told.
    #[schema(required = false)]
    plan: String,
    /// Blocks of growth from here on.
    #[schema(required = false)]
    blocks: u32,
    /// Instead: so many more; fewer if it is negative.
    #[schema(required = false)]
    add_blocks: i32,
}

/// A report of usage to make.
#[derive(ToSchema)]
pub(crate) struct NewUsageReport {
    /// `devices` or `products`: what a line is about.
    report_type: String,
    /// First day in UTC, as 2026-01-31.
    date_period_start: String,
    /// Last day.
    date_period_end: String,
    /// Only these devices, by id.
    #[schema(required = false)]
    devices: Vec<String>,
    /// Only these products, by number.
    #[schema(required = false)]
    products: Vec<u32>,
}

/// A report: `pending`, then `available` at its `download_url`.
#[derive(ToSchema)]
pub(crate) struct UsageReport {
    data: Resource,
}

/// What was counted lately.
#[derive(ToSchema)]
pub(crate) struct Why {
    data: Window,
}

/// Single operations, newest first.
#[derive(ToSchema)]
pub(crate) struct Window {
    /// Of the time before this only sums are known; null before anything was written down.
    window_start: Option<String>,
    /// How many more there are in the window, older than those listed.
    left_out: u64,
    operations: Vec<Operation>,
}

/// One thing that was counted.
#[derive(ToSchema)]
pub(crate) struct Operation {
    at: String,
    device_id: String,
    product_id: Option<u32>,
    /// The number of the counting rule.
    rule: u8,
    kind: String,
    /// Of the event, function or variable.
    name: String,
    /// Which transmission to the device; null for what a device sent.
    attempt: Option<u8>,
    data_operations: u32,
    payload_bytes: u32,
}

/// What devices used by day.
#[derive(ToSchema)]
pub(crate) struct DeviceDays {
    data: Vec<DeviceDay>,
}

/// What a device used on a day.
#[derive(ToSchema)]
pub(crate) struct DeviceDay {
    date: String,
    /// `day`, or `month` for what is summed up and begins with the day.
    span: String,
    device_id: String,
    data_operations: u64,
    data_operations_by_kind: BTreeMap<String, u64>,
    messages: u64,
    payload_bytes: u64,
    /// Over the carrier, with headers.
    bytes_received: u64,
    bytes_sent: u64,
    /// Whether they are limited.
    cellular: bool,
}

/// What a fleet would use.
#[derive(ToSchema)]
pub(crate) struct Estimated {
    data: Estimate,
}

/// For a month of 30.4375 days.
#[derive(ToSchema)]
pub(crate) struct Estimate {
    catalogue: String,
    operations_per_month: u64,
    cellular_bytes_per_month: u64,
    plan: String,
    free_exceeded_by: Option<String>,
    growth_blocks: u32,
    blocks_forced_by: Option<String>,
}

/// A thing as JSON:API has it.
#[derive(ToSchema)]
pub(crate) struct Resource {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    attributes: BTreeMap<String, Value>,
}

/// A webhook's definition; the texts are templates.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewWebhook {
    /// Prefix of the events that cause it.
    event: String,
    url: String,
    /// `Webhook`: the only kind there is.
    #[serde(rename = "integration_type")]
    integration_type: Option<String>,
    name: Option<String>,
    /// GET, POST, PUT or DELETE.
    request_type: Option<String>,
    json: Option<Value>,
    form: Option<BTreeMap<String, Value>>,
    body: Option<String>,
    query: Option<BTreeMap<String, Value>>,
    headers: Option<BTreeMap<String, Value>>,
    auth: Option<BTreeMap<String, Value>>,
    no_defaults: Option<bool>,
    reject_unauthorized: Option<bool>,
    response_template: Option<Value>,
    response_topic: Option<String>,
    error_response_topic: Option<String>,
    unchunked: Option<bool>,
    data_url_response_event: Option<bool>,
    #[serde(rename = "deviceID")]
    device_id: Option<String>,
    disabled: Option<bool>,
}

/// A webhook, with its definition.
#[derive(ToSchema)]
pub(crate) struct Webhook {
    id: String,
    event: String,
    url: String,
    #[schema(required = true)]
    name: Option<String>,
    disabled: bool,
    integration_type: String,
    created_at: String,
    updated_at: String,
    #[serde(rename = "hookUrl")]
    hook_url: String,
}

/// A webhook with its last requests.
#[derive(ToSchema)]
pub(crate) struct OneWebhook {
    webhook: ReportedWebhook,
}

/// The same under the name of integrations.
#[derive(ToSchema)]
pub(crate) struct OneIntegration {
    integration: ReportedWebhook,
}

/// A webhook, its last requests and failures, and its counts by day.
#[derive(ToSchema)]
pub(crate) struct ReportedWebhook {
    id: String,
    logs: Vec<BTreeMap<String, Value>>,
    errors: Vec<BTreeMap<String, Value>>,
    counters: Vec<BTreeMap<String, Value>>,
}

/// What the event of a test shall say.
#[derive(ToSchema)]
pub(crate) struct WebhookTest {
    data: Option<String>,
    /// Whose event it shall be; absent: the API's.
    device_id: Option<String>,
}

/// A new product; the object around the fields may be left out.
#[derive(ToSchema)]
pub(crate) struct NewProduct {
    product: ProductFields,
}

/// What its owner says of a product.
#[derive(ToSchema)]
pub(crate) struct ProductFields {
    name: String,
    description: Option<String>,
    platform_id: u16,
    settings: Option<Value>,
}

/// What changes about a product.
#[derive(ToSchema)]
pub(crate) struct ChangedProduct {
    #[schema(required = false)]
    name: String,
    #[schema(required = false)]
    description: String,
    /// `{"location": {"opt_in": true}}`: whether locations that its devices tell are stored.
    #[schema(required = false)]
    settings: BTreeMap<String, Value>,
}

/// A product.
#[derive(ToSchema)]
pub(crate) struct Product {
    id: u32,
    platform_id: u16,
    name: String,
    slug: String,
    description: String,
    groups: Vec<Value>,
    settings: Value,
}

/// Products.
#[derive(ToSchema)]
pub(crate) struct Products {
    products: Vec<Product>,
}

/// One product.
#[derive(ToSchema)]
pub(crate) struct OneProduct {
    product: Product,
}

/// A page of a product's devices.
#[derive(ToSchema)]
pub(crate) struct ProductDevices {
    devices: Vec<Device>,
    customers: Vec<Value>,
    meta: Page,
}

/// Which part of a list this is.
#[derive(ToSchema)]
pub(crate) struct Page {
    page: u64,
    per_page: u64,
    total_pages: u64,
    total: u64,
    total_records: u64,
}

/// Devices to add; or a file with one in each line.
#[derive(ToSchema)]
pub(crate) struct DevicesToAdd {
    id: Option<String>,
    ids: Option<Vec<String>>,
}

/// What became of devices to add.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DevicesAdded {
    updated: u64,
    updated_device_ids: Vec<String>,
    nonmember_device_ids: Vec<String>,
    invalid_device_ids: Vec<String>,
    protected_device_ids: Vec<String>,
}

/// How a device leaves its product.
#[derive(ToSchema)]
pub(crate) struct Removal {
    /// It may not come back by itself, and is disconnected.
    deny: Option<bool>,
}

/// How the server is.
#[derive(ToSchema)]
pub(crate) struct Health {
    ok: bool,
    status: String,
}

/// A team.
#[derive(ToSchema)]
pub(crate) struct Team {
    ok: bool,
    team: Vec<TeamMember>,
}

/// Somebody who works on a product.
#[derive(ToSchema)]
pub(crate) struct TeamMember {
    _id: String,
    username: String,
    /// `Administrator`, `Developer`, `Support`, `View-only`; of API users `Programmatic`.
    role: String,
    is_programmatic: bool,
}

/// A person by `username`, or a program by `friendly_name` and `scopes`.
#[derive(ToSchema)]
pub(crate) struct NewMember {
    username: Option<String>,
    /// `Developer` unless given.
    role: Option<String>,
    friendly_name: Option<String>,
    scopes: Option<Vec<String>>,
}

/// Another role.
#[derive(ToSchema)]
pub(crate) struct RoleChange {
    role: String,
}

/// A page of customers.
#[derive(ToSchema)]
pub(crate) struct Customers {
    customers: Vec<Customer>,
    devices: Vec<Value>,
    meta: Page,
}

/// Somebody who uses devices of a product.
#[derive(ToSchema)]
pub(crate) struct Customer {
    id: String,
    email: String,
    username: String,
    created_at: String,
    /// Ids of devices.
    devices: Vec<String>,
}

/// A customer to make.
#[derive(ToSchema)]
pub(crate) struct NewCustomer {
    email: String,
    /// Absent: the customer signs in elsewhere.
    password: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// A new password.
#[derive(ToSchema)]
pub(crate) struct NewPassword {
    password: String,
}

/// What a webhook sent and got, newest first.
#[derive(ToSchema)]
pub(crate) struct DeliveryHistory {
    deliveries: Vec<Delivery>,
}

/// One attempt of a webhook, or an event it gave up.
#[derive(ToSchema)]
pub(crate) struct Delivery {
    /// Names it in `replay` and `before`.
    id: String,
    time: String,
    /// `success`, `error`, `skipped` or `discarded`.
    outcome: String,
    /// Name of the event.
    event: String,
    /// A device's id, or `api`.
    coreid: String,
    /// Request, response and error, as far as there were any.
    details: BTreeMap<String, Value>,
}
