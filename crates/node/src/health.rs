//! Whether the device side works as it should.

/// An answer for `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// What is wrong, for the operator; absent when all is well. The server still answers.
    pub degraded: Option<String>,
}
