//! The settings of an endpoint.

use std::time::Duration;

use model::limits;

/// Settings of one endpoint. [`EndpointConfig::new`] gives the defaults of `model::limits`.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// This endpoint's number; byte 0 of its connection ids.
    pub shard: u8,
    /// How many endpoints there are; connection ids of others are forwarded.
    pub shards: u8,
    /// Seed of the generator. Fresh randomness in production: connection ids and the handshakes'
    /// secrets come from it.
    pub seed: [u8; 32],
    /// Key of the stateless cookies, the same for all shards.
    pub cookie_secret: [u8; 32],
    /// Whether a key that nobody registered may be bound to the id of its first Hello.
    pub trust_on_first_use: bool,
    /// Open handshakes, in total.
    pub handshakes_max: usize,
    /// Open handshakes from one IPv4 address or one IPv6 network of 64 bits.
    pub handshakes_per_address_max: usize,
    /// Life of a handshake, its Hello included.
    pub handshake_life: Duration,
    /// Bytes of chunks of updates that are sent in a second, repetitions included; 0: no bound.
    pub update_bandwidth: u64,
}

impl EndpointConfig {
    /// Defaults for endpoint `shard` of `shards`.
    pub fn new(shard: u8, shards: u8, seed: [u8; 32], cookie_secret: [u8; 32]) -> Self {
        Self {
            shard,
            shards,
            seed,
            cookie_secret,
            trust_on_first_use: false,
            handshakes_max: limits::HANDSHAKES_OPEN_MAX,
            handshakes_per_address_max: limits::HANDSHAKES_OPEN_PER_ADDRESS_MAX,
            handshake_life: limits::HANDSHAKE_LIFE,
            update_bandwidth: limits::UPDATE_BANDWIDTH / u64::from(shards.max(1)),
        }
    }
}
