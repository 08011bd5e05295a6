//! What object stores answer, in our words.

use object_store::Error as ObjectError;

use crate::StoreError;

/// Maps an error of `what` in `store`.
pub(super) fn map(store: &str, what: String, error: ObjectError) -> StoreError {
    let store = store.to_owned();
    match error {
        // S3 answers 404 for both; only its code tells a missing object from a missing bucket.
        ObjectError::NotFound { source, .. } if says_no_bucket(&*source) => StoreError::Refused {
            store,
            reason: "there is no such bucket".to_owned(),
        },
        ObjectError::NotFound { .. } => StoreError::Missing { what, store },
        ObjectError::PermissionDenied { source, .. } | ObjectError::Unauthenticated { source, .. } => {
            StoreError::Refused {
                store,
                reason: format!("access to {what} is denied ({})", innermost(&*source)),
            }
        }
        ObjectError::NotSupported { .. } | ObjectError::NotImplemented { .. } => {
            StoreError::Unsupported(format!("{store} cannot do what a store needs: {error}"))
        }
        _ => StoreError::Unavailable {
            store,
            source: Box::new(error),
        },
    }
}

/// For writes: there is nothing to be missing but the place to write to.
pub(super) fn not_found_is_refused(error: StoreError) -> StoreError {
    match error {
        StoreError::Missing { store, .. } => StoreError::Refused {
            store,
            reason: "the bucket or container to write to is not there".to_owned(),
        },
        other => other,
    }
}

fn says_no_bucket(source: &(dyn std::error::Error + 'static)) -> bool {
    ["NoSuchBucket", "ContainerNotFound"]
        .iter()
        .any(|code| innermost(source).contains(code) || source.to_string().contains(code))
}

fn innermost(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
