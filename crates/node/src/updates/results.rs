//! What the end of an update means for a release.

use model::update::UpdateFailure;
use router::rollout::Outcome;

/// A device that will not have or will not run an image speaks against it; one that could not be reached
/// does not, until it was tried often.
pub(super) fn outcome_of(failure: &UpdateFailure) -> Outcome {
    let text = failure.to_string();
    match failure {
        UpdateFailure::Refused { .. }
        | UpdateFailure::TooLarge { .. }
        | UpdateFailure::Invalid(_)
        | UpdateFailure::NotBack
        | UpdateFailure::NotApplied(_) => Outcome::Rejected(text),
        UpdateFailure::Disabled | UpdateFailure::NoProgress { .. } => Outcome::Undelivered(text),
        UpdateFailure::Removed => Outcome::Withdrawn,
    }
}
